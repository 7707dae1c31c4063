"""How often an iteration waits for the device: each time the CPU reads a number from it."""

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from toy_models import ToyTransformer, random_batches

from fairseq_gradinit.gradinit import Search, Settings
from fairseq_gradinit.gradinit.iteration import LOWER_LOSS, LOWER_NORM

READS = (Tensor.__bool__, Tensor.__float__, Tensor.item, Tensor.tolist, Tensor.cpu, Tensor.numpy)


class Reads(TorchFunctionMode):
    """Counts what is read of the model's numbers, fp32; what is on the CPU is float64."""

    count = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        ours = any(isinstance(a, Tensor) and of_the_model(a) for a in args)
        self.count += function in READS and ours
        result = function(*args, **(kwargs or {}))
        if ours and isinstance(result, Tensor) and result.dtype is torch.bool:
            result.compared = True
        return result


def of_the_model(tensor):
    return tensor.dtype is torch.float32 or getattr(tensor, "compared", False)


@pytest.mark.parametrize(
    "preset, gamma, eta, kind, most",
    [
        # Which pass comes after the first depends on the norm, so it is read before the rest.
        ("paper", 1e9, 1e-3, LOWER_LOSS, 2),
        ("paper", 1e-9, 1e-3, LOWER_NORM, 2),
        ("multistep", 1e9, 1e-3, LOWER_LOSS, 2),
        ("multistep", None, 1e-4, LOWER_LOSS, 1),
        ("multistep", None, 3.0, LOWER_NORM, 2),
    ],
)
def test_waits_of_an_iteration(preset, gamma, eta, kind, most):
    settings = Settings.of(
        preset, gamma=gamma, eta=eta, iters=1, start="none", lookahead=1 if gamma else 3
    )
    model, batches = ToyTransformer(seed=1).float(), random_batches(settings.lookahead + 1)
    with Search(model, model, batches, settings, sgd_of(eta)) as search:
        iterations = iter(search)
        with Reads() as reads:
            record = next(iterations)
    assert record.step == kind
    assert reads.count == most


def sgd_of(eta):
    return lambda parameters: torch.optim.SGD(parameters, lr=eta)
