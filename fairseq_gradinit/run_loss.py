"""The run's loss and gradient as functions of the weights: nothing of the run is touched.

In fp32 whatever the model's precision, reduced over ranks, in the units in which fairseq's Trainer
hands a gradient to the optimizer: the sum over all ranks and micro-batches over their sample size.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import numpy as np
import torch
from fairseq import utils
from fairseq.distributed import utils as distributed_utils
from torch import Tensor, nn

HALF = (torch.float16, torch.bfloat16)
Measure = Callable[[nn.Module, nn.Module, Any], Any]  # of a model, a criterion and a sample


class RunLoss:
    """Loss, gradient and other measures of a run at given weights.

    Attributes:
        parameters: those that are trained, in the order in which Trainer gives them to the
            optimizer; `weights` below are fp32 tensors of the same shapes.
        forward_passes: how often the model has been called, on this rank.
    """

    def __init__(self, model: nn.Module, criterion: nn.Module) -> None:
        self._pair = nn.ModuleList([unwrapped(model), unwrapped(criterion)])
        self.parameters = [p for p in self._pair.parameters() if p.requires_grad]
        self.forward_passes = 0

    def loss(self, weights: Sequence[Tensor], samples: Sequence[Any]) -> float:
        """L(samples; weights), nats per unit of sample size (a token), without dropout."""
        totals = torch.zeros(2, dtype=torch.float64)
        with undisturbed(self._pair, training=False), torch.no_grad():
            for sample in samples:
                loss, size, *_ = self.at(weights, _loss, sample)
                totals += torch.tensor([float(loss), float(size)], dtype=torch.float64)
        loss, size = self._summed([totals])[0].tolist()
        return loss / (size or 1.0)

    def gradient(
        self, weights: Sequence[Tensor], samples: Sequence[Any], dropout: bool = False
    ) -> tuple[float, list[Tensor]]:
        """L and ∇L at `weights`, fp32; zeros for a parameter that no sample uses.

        dropout: as in training, with random numbers of its own, or none.
        """
        leaves = [w.detach().clone().requires_grad_() for w in weights]
        sums = [torch.zeros_like(leaf) for leaf in leaves]
        totals = torch.zeros(2, dtype=torch.float64)
        with undisturbed(self._pair, training=dropout), torch.enable_grad():
            for sample in samples:
                loss, size, *_ = self.at(leaves, _loss, sample)
                for total, g in zip(sums, torch.autograd.grad(loss, leaves, allow_unused=True)):
                    if g is not None:
                        total += g
                totals += torch.tensor([float(loss.detach()), float(size)], dtype=torch.float64)
        totals, *sums = self._summed([totals, *sums])
        loss, size = totals.tolist()
        return loss / (size or 1.0), [total / (size or 1.0) for total in sums]

    def mean(
        self, weights: Sequence[Tensor], measure: Measure, samples: Sequence[Any]
    ) -> float | None:
        """The mean over samples and ranks of a number measured without dropout.

        measure: gives a number, or None for a sample on which it cannot be measured; None comes
            back when that is all of them.
        """
        totals = torch.zeros(2, dtype=torch.float64)
        with undisturbed(self._pair, training=False), torch.no_grad():
            for sample in samples:
                value = self.at(weights, measure, sample)
                if value is not None:
                    totals += torch.tensor([float(value), 1.0], dtype=torch.float64)
        value, count = self._summed([totals])[0].tolist()
        return value / count if count else None

    def anywhere(self, count: int) -> int:
        """`count` summed over ranks."""
        return int(self._summed([torch.tensor(float(count))])[0])

    def at(self, weights: Sequence[Tensor], measure: Measure, sample: Any) -> Any:
        """`measure(model, criterion, sample)` with `weights` in place of the model's own."""
        self.forward_passes += 1
        tensors = [*self._pair.parameters(), *self._pair.buffers()]
        values = {id(t): t.detach().float() for t in tensors if t.dtype in HALF}
        values.update((id(p), weight) for p, weight in zip(self.parameters, weights))
        with _in_place_of(self._pair, values):
            return measure(self._pair[0], self._pair[1], self._placed(sample))

    def _placed(self, sample: Any) -> Any:
        device = self.parameters[0].device
        if device.type == "cuda":
            sample = utils.move_to_cuda(sample, device=device)
        return utils.apply_to_sample(lambda t: t.float() if t.dtype in HALF else t, sample)

    def _summed(self, tensors: list[Tensor]) -> list[Tensor]:
        """Each summed over the ranks."""
        if ranks()[1] == 1:
            return tensors
        group, device = distributed_utils.get_data_parallel_group(), self.parameters[0].device
        placed = [t.to(device) for t in tensors]
        for tensor in placed:
            distributed_utils.all_reduce(tensor, group=group)
        return placed


@contextlib.contextmanager
def _in_place_of(module: nn.Module, values: dict[int, Tensor]) -> Iterator[None]:
    """Within, each tensor of `module` whose id is in `values` is that value.

    torch.func.functional_call would do, but it leaves a module that is in two places, as fairseq's
    shared embedding is, with the value for good.
    """
    tables: list[dict[str, Any]] = []
    for part in module.modules():  # each once
        tables += [part._parameters, part._buffers]
    own = [(table, name, t) for table in tables for name, t in table.items() if id(t) in values]
    try:
        for table, name, tensor in own:
            table[name] = values[id(tensor)]
        yield
    finally:
        for table, name, tensor in own:
            table[name] = tensor


def _loss(model: nn.Module, criterion: nn.Module, sample: Any) -> Any:
    return criterion(model, sample)


def ranks() -> tuple[int, int]:
    """This process's data-parallel rank, and how many there are."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return 0, 1
    return (
        distributed_utils.get_data_parallel_rank(),
        distributed_utils.get_data_parallel_world_size(),
    )


def unwrapped(model: nn.Module) -> nn.Module:
    """The model itself, out of fairseq's and torch's wrappers for several processes."""
    wrappers = {"ModuleProxyWrapper", "DistributedTimeoutWrapper", "DistributedDataParallel"}
    wrappers |= {"LegacyDistributedDataParallel", "SlowMoDistributedDataParallel"}
    while type(model).__name__ in wrappers:
        model = cast(nn.Module, model.module)
    return model


@contextlib.contextmanager
def undisturbed(module: nn.Module, training: bool) -> Iterator[None]:
    """`module` in train or eval mode within; modes and random states as before after."""
    modes = [(part, part.training) for part in module.modules()]
    python, numpy = random.getstate(), np.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    try:
        with torch.random.fork_rng(devices=devices):
            module.train(training)
            yield
    finally:
        for part, mode in modes:
            part.training = mode
        random.setstate(python)
        np.random.set_state(numpy)
