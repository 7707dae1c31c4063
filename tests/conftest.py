"""What all tests share: one thread, so that results do not depend on the machine."""

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def grammar(tmp_path_factory):
    """The data-bin of a small generated corpus."""
    from corpus import binarise, write_corpus  # loads fairseq, which most tests do without

    folder = tmp_path_factory.mktemp("grammar")
    write_corpus(folder, {"train": 600, "valid": 20, "test": 20})
    return binarise(folder)
