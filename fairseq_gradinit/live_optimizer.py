"""The run's own optimizer: which of its tensors are which parameters, and steps that are undone."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from fairseq.optim import FairseqOptimizer
from torch import Tensor, nn

# What fairseq's wrappers (16 bits, automatic mixed precision, BMUF) call the optimizer in them.
WRAPPED = ("fp32_optimizer", "wrapped_optimizer", "_optimizer")


def innermost(optimizer: FairseqOptimizer) -> FairseqOptimizer:
    """The optimizer that --optimizer names, out of fairseq's wrappers."""
    return _chain(optimizer)[-1]


def _chain(optimizer: FairseqOptimizer) -> list[FairseqOptimizer]:
    for name in WRAPPED:
        inner = vars(optimizer).get(name)
        if isinstance(inner, FairseqOptimizer):
            return [optimizer, *_chain(inner)]
    return [optimizer]


class Layout:
    """Where each parameter of the model is in the tensors that the optimizer steps.

    Those are the parameters themselves, their fp32 masters (16 bits) or one flat master of all
    (16 bits by default).

    Args:
        optimizer: as Trainer holds it, wrappers included.
        parameters: the trained parameters in Trainer's order.
    """

    def __init__(self, optimizer: FairseqOptimizer, parameters: Sequence[nn.Parameter]) -> None:
        self.stepped: list[nn.Parameter] = list(innermost(optimizer).params)
        at = {id(p): index for index, p in enumerate(self.stepped)}
        chain = _chain(optimizer)
        masters = next((w.fp32_params for w in chain if hasattr(w, "fp32_params")), None)
        self._shapes = [p.shape for p in parameters]
        if isinstance(masters, dict):  # a flat one per device
            ends = [0]
            for p in parameters:
                ends.append(ends[-1] + p.numel())
            if len(masters) > 1:
                raise NotImplementedError("flat masters on several devices")
            (flat,) = masters.values()
            self._places = [(at[id(flat)], slice(*ends)) for ends in pairwise(ends)]
        else:
            own = parameters if masters is None else masters
            self._places = [(at[id(p)], slice(0, p.numel())) for p in own]

    def gather(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """One tensor per parameter, as one fp32 tensor per stepped one."""
        gathered = [torch.zeros_like(p, dtype=torch.float32) for p in self.stepped]
        for (index, place), tensor in zip(self._places, tensors):
            gathered[index].view(-1)[place] = tensor.reshape(-1)
        return gathered

    def weights(self) -> list[Tensor]:
        """The stepped tensors' values, fp32, one tensor per parameter of the model."""
        return [
            self.stepped[index].detach().reshape(-1)[place].float().view(shape)
            for (index, place), shape in zip(self._places, self._shapes)
        ]


@contextlib.contextmanager
def undone(optimizer: FairseqOptimizer) -> Iterator[None]:
    """Within, the innermost optimizer may step; after, it and what it steps are as before to the
    bit.

    Weights, `.grad` (the same tensors), state and the groups' settings are put back.
    """
    torch_optimizer: torch.optim.Optimizer = innermost(optimizer).optimizer
    stepped = [p for group in torch_optimizer.param_groups for p in group["params"]]
    weights, grads = [p.detach().clone() for p in stepped], [p.grad for p in stepped]
    state = {p: copy.deepcopy(values) for p, values in torch_optimizer.state.items()}
    groups = [_settings(group) for group in torch_optimizer.param_groups]
    try:
        yield
    finally:
        with torch.no_grad():
            for p, weight, grad in zip(stepped, weights, grads):
                p.copy_(weight)
                p.grad = grad
        torch_optimizer.state.clear()
        torch_optimizer.state.update(state)
        for group, settings in zip(torch_optimizer.param_groups, groups):
            for name in set(group) - set(settings) - {"params"}:
                del group[name]
            group.update(settings)


def step(
    optimizer: FairseqOptimizer, layout: Layout, gradient: Sequence[Tensor], learning_rate: float
) -> None:
    """One step of the innermost optimizer along `gradient`, one fp32 tensor per parameter."""
    inner = innermost(optimizer)
    for p, g in zip(layout.stepped, layout.gather(gradient)):
        p.grad = g.to(p.dtype)
    inner.set_lr(learning_rate)
    inner.step()


def clipped(gradient: Sequence[Tensor], max_norm: float) -> list[Tensor]:
    """The gradient scaled to at most `max_norm` as fairseq's --clip-norm does; 0: as it is."""
    if max_norm <= 0:
        return list(gradient)
    norm = torch.stack([g.norm() for g in gradient]).norm()
    return [g * (max_norm / (norm + 1e-6)).clamp(max=1) for g in gradient]


def _settings(group: dict[str, Any]) -> dict[str, Any]:
    return {name: copy.deepcopy(value) for name, value in group.items() if name != "params"}
