"""What is read of a model is of its tokens alone, not of padding."""

import copy

import pytest
import torch
from fairseq_runs import build

from fairseq_gradinit.reading import reading


def padded(sample, by):
    """The same sentences with more padding, on the side where fairseq puts it."""
    sample = copy.deepcopy(sample)
    given, pad = sample["net_input"], 1
    rows = len(given["src_tokens"])
    more = torch.full((rows, by), pad)
    given["src_tokens"] = torch.cat([more, given["src_tokens"]], 1)  # sources are left-padded
    given["prev_output_tokens"] = torch.cat([given["prev_output_tokens"], more], 1)
    sample["target"] = torch.cat([sample["target"], more], 1)
    return sample


def test_padding_counts_for_nothing(grammar, tmp_path):
    task, _, trainer = build(grammar, tmp_path)
    dataset = task.datasets["train"]
    sample = dataset.collater([dataset[i] for i in range(6)])
    plain, more = (reading(trainer.model, [one]) for one in (sample, padded(sample, 7)))
    for name in ("loss", "source_worth", "encoder_spread", "decoder_spread"):
        assert getattr(plain, name) == pytest.approx(getattr(more, name), rel=1e-4, abs=1e-5), name
