"""The gradient g, ‖g‖_p, the norm's derivative, and an optimizer's step, never through `.grad`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from .blocks import Blocks
from .errors import GradInitError
from .settings import Settings

LossFn = Callable[[Any], Tensor]
Gradient = list[Tensor | None]  # a tensor per block; None where the loss does not use it
MakeOptimizer = Callable[[list[nn.Parameter]], torch.optim.Optimizer]

# The shift of a central difference: its root mean square over that of the parameters, large
# enough against fp32 rounding, small enough against curvature (bench/constraint.py).
RELATIVE_EPSILON = 1e-3

NO_GRADIENT = (
    "the loss does not depend on any parameter of the model; check that it is computed with this "
    "model, and that not all of it is frozen or detached"
)


@dataclass(frozen=True)
class Parts:
    """A batch that does not fit in memory at once, as gradient accumulation has it.

    Attributes:
        batches: its parts, each for the loss function.
        shares: what part of the whole batch's tokens each has; they sum to 1.
    """

    batches: Sequence[Any]
    shares: Sequence[float]


def gradient_of(
    loss_fn: LossFn, blocks: Blocks, batch: Any, create_graph: bool = False
) -> tuple[Tensor, Gradient]:
    """L(batch; θ) and g = ∇_θ L, on a graph that can be differentiated if `create_graph`.

    Of `Parts` the parts' are added up, one after the other, each weighted by its share.

    Raises:
        GradInitError: the loss depends on no parameter at all. Of one that it does not depend on,
            the gradient is None: its scale stays where it started.
    """
    parts = batch if isinstance(batch, Parts) else Parts([batch], [1.0])
    total: Any = 0.0
    whole: Gradient = [None] * len(blocks)
    for part, share in zip(parts.batches, parts.shares):
        with _twice_differentiable() if create_graph else contextlib.nullcontext():
            loss = loss_fn(part)
            if len(parts.batches) > 1:
                loss = loss * share
            if not loss.requires_grad:
                raise GradInitError(NO_GRADIENT)
            gradient = torch.autograd.grad(
                loss, blocks.parameters, create_graph=create_graph, allow_unused=True
            )
        total = loss.detach() + total
        whole = [_sum(a, g) for a, g in zip(whole, gradient)]
    if all(g is None for g in whole):
        raise GradInitError(NO_GRADIENT)
    return total, whole


@torch.no_grad()
def loss_of(loss_fn: LossFn, batch: Any) -> Tensor:
    """L(batch; θ), of `Parts` too."""
    if not isinstance(batch, Parts):
        return loss_fn(batch)
    losses = [loss_fn(part) * share for part, share in zip(batch.batches, batch.shares)]
    return torch.stack(losses).sum()


def norm_of(gradient: Gradient, order: int) -> Tensor:
    """‖g‖_p over all blocks together."""
    per_block = [torch.linalg.vector_norm(g, order) for g in gradient if g is not None]
    return torch.linalg.vector_norm(torch.stack(per_block), order)


def norm_derivative(
    loss_fn: LossFn, blocks: Blocks, batch: Any, gradient: Gradient, settings: Settings
) -> Gradient:
    """∂‖g‖_p/∂θ as `settings.constraint` has it; the caller then writes θ afresh.

    gradient: g of the batch at θ; on its graph, or exact takes one more pass.
    """
    order = settings.norm_order
    if settings.constraint != "exact":
        return central_difference(loss_fn, blocks, batch, gradient, order)
    if not any(g is not None and g.requires_grad for g in gradient):
        _, gradient = gradient_of(loss_fn, blocks, batch, create_graph=True)
    norm = norm_of(gradient, order)
    return list(torch.autograd.grad(norm, blocks.parameters, allow_unused=True))


def central_difference(
    loss_fn: LossFn, blocks: Blocks, batch: Any, gradient: Gradient, order: int
) -> Gradient:
    """∂‖g‖_p/∂θ = H·v with v = ∂‖g‖_p/∂g, as (∇L(θ+εv) − ∇L(θ−εv)) / 2ε.

    Leaves θ off by rounding: the caller writes it afresh. Zeros where g is 0 everywhere, as the
    exact derivative has it.
    """
    if not any(g is not None and bool(g.any()) for g in gradient):
        return [None if g is None else torch.zeros_like(g) for g in gradient]
    if order == 1:
        v: Gradient = [None if g is None else g.sign() for g in gradient]
    else:
        norm = norm_of(gradient, order)
        v = [None if g is None else g / norm for g in gradient]
    epsilon = RELATIVE_EPSILON * _rms(blocks.parameters) / _rms(v)
    blocks.shift(v, epsilon)
    _, ahead = gradient_of(loss_fn, blocks, batch)
    blocks.shift(v, -2 * epsilon)
    _, behind = gradient_of(loss_fn, blocks, batch)
    return [
        None if a is None or b is None else (a - b) / (2 * epsilon) for a, b in zip(ahead, behind)
    ]


def detached(gradient: Gradient) -> Gradient:
    """The same numbers without their graph."""
    return [None if g is None else g.detach() for g in gradient]


class Steps:
    """A fresh optimizer that steps the model's parameters away from θ = α∘θ⁰, which the caller
    writes back.

    Args:
        blocks: the model's parameters.
        make_optimizer: the optimizer over the given parameters.
        clip_norm: gradient clipping of the training run; 0: none.
        learning_rate: of the steps.
    """

    def __init__(
        self,
        blocks: Blocks,
        make_optimizer: MakeOptimizer,
        clip_norm: float,
        learning_rate: float,
    ) -> None:
        self._shadows = blocks.shadows()
        self.optimizer = make_optimizer(self._shadows)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self._clip_norm = clip_norm

    def step(self, gradient: Sequence[Tensor | None]) -> None:
        """θ ← θ − u, with the optimizer's own update u for `gradient` (one tensor a block)."""
        for shadow, g in zip(self._shadows, gradient):
            shadow.grad = g
        if self._clip_norm > 0:
            torch.nn.utils.clip_grad_norm_(self._shadows, self._clip_norm)
        self.optimizer.step()
        for shadow in self._shadows:
            shadow.grad = None  # it would stand beside the next gradient


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    if a is None or b is None:
        return b if a is None else a
    return a + b


def _rms(tensors: Sequence[Tensor | None]) -> float:
    used = [t.detach() for t in tensors if t is not None]
    square = torch.stack([t.double().pow(2).sum() for t in used]).sum()
    return float((square / sum(t.numel() for t in used)).sqrt())


def _twice_differentiable() -> contextlib.AbstractContextManager[None]:
    """Fused attention has no second derivative, on the CPU either."""
    return sdpa_kernel(SDPBackend.MATH)
