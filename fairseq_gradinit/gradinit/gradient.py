"""The gradient g, ‖g‖_p, the norm's derivative, and an optimizer's step, never through `.grad`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

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


class Others(Protocol):
    """Other processes, which take their parts of a batch in the passes that cost most."""

    @property
    def own(self) -> slice:
        """The parts that are left to this process."""

    def asked(
        self, parameters: Sequence[Tensor], along: Gradient | None = None
    ) -> contextlib.AbstractContextManager[Answer]:
        """They begin on the gradient at `parameters`, or on its derivative along v, H·v. What goes
        wrong within, here or there, ends both here and there. Raises: GradInitError."""


class Answer(Protocol):
    """What the others find."""

    def added(self, loss: Tensor, gradient: Gradient) -> tuple[Tensor, Gradient]:
        """With theirs added to this process's own."""


@dataclass(frozen=True)
class Parts:
    """A batch that does not fit in memory at once, as gradient accumulation has it.

    Attributes:
        batches: its parts, each for the loss function.
        shares: what part of the whole batch's tokens each has; they sum to 1.
        others: the processes that share the passes over it, if there are any.
    """

    batches: Sequence[Any]
    shares: Sequence[float]
    others: Others | None = None

    @property
    def own(self) -> Parts:
        """Those of this process."""
        if self.others is None:
            return self
        return Parts(self.batches[self.others.own], self.shares[self.others.own])

    @property
    def elsewhere(self) -> list[Any]:
        """The batches of the other processes."""
        if self.others is None:
            return []
        own = set(range(len(self.batches))[self.others.own])
        return [batch for at, batch in enumerate(self.batches) if at not in own]


def gradient_of(
    loss_fn: LossFn, blocks: Blocks, batch: Any, create_graph: bool = False
) -> tuple[Tensor, Gradient]:
    """L(batch; θ) and g = ∇_θ L, on a graph that can be differentiated if `create_graph`.

    Of `Parts` the parts' are added up, one after the other, each weighted by its share; those of
    other processes are not on the graph.

    Raises:
        GradInitError: the loss depends on no parameter at all. Of one that it does not depend on,
            the gradient is None: its scale stays where it started.
    """
    parts = batch if isinstance(batch, Parts) else Parts([batch], [1.0])
    with _asked(parts, blocks) as others:
        total, whole = _added_up(loss_fn, blocks, parts.own, create_graph)
        if others is not None:
            total, whole = others.added(total, whole)
    if all(g is None for g in whole):
        raise GradInitError(NO_GRADIENT)
    return total, whole


def _added_up(
    loss_fn: LossFn, blocks: Blocks, parts: Parts, create_graph: bool
) -> tuple[Tensor, Gradient]:
    total = blocks.parameters[0].new_zeros(())
    whole: Gradient = [None] * len(blocks)
    for part, share in zip(parts.batches, parts.shares):
        with _twice_differentiable() if create_graph else contextlib.nullcontext():
            loss = loss_fn(part)
            if share != 1:
                loss = loss * share
            if not loss.requires_grad:
                raise GradInitError(NO_GRADIENT)
            gradient = torch.autograd.grad(
                loss, blocks.parameters, create_graph=create_graph, allow_unused=True
            )
        total = total + loss.detach()
        whole = [_sum(a, g) for a, g in zip(whole, gradient)]
    return total, whole


def _asked(
    parts: Parts, blocks: Blocks, along: Gradient | None = None
) -> contextlib.AbstractContextManager[Answer | None]:
    if parts.others is None:
        return contextlib.nullcontext()
    return parts.others.asked(blocks.parameters, along)


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
    others = batch.others if isinstance(batch, Parts) else None
    if others is None:
        return list(torch.autograd.grad(norm, blocks.parameters, allow_unused=True))
    with others.asked(blocks.parameters, _norm_along(gradient, order)) as answer:
        own = torch.autograd.grad(norm, blocks.parameters, allow_unused=True)
        return answer.added(norm, list(own))[1]


def derivative_along(loss_fn: LossFn, blocks: Blocks, batch: Any, along: Gradient) -> Gradient:
    """H·v with v = `along`, for a block of which v or the loss knows nothing None."""
    _, gradient = gradient_of(loss_fn, blocks, batch, create_graph=True)
    used = [(g, v) for g, v in zip(gradient, along) if g is not None and v is not None]
    found = torch.autograd.grad(
        [g for g, _ in used], blocks.parameters, [v for _, v in used], allow_unused=True
    )
    return list(found)


def central_difference(
    loss_fn: LossFn, blocks: Blocks, batch: Any, gradient: Gradient, order: int
) -> Gradient:
    """∂‖g‖_p/∂θ = H·v with v = ∂‖g‖_p/∂g, as (∇L(θ+εv) − ∇L(θ−εv)) / 2ε.

    Leaves θ at θ − εv: the caller writes it afresh. Zeros where g is 0 everywhere, as the
    exact derivative has it.
    """
    if not any(g is not None and bool(g.any()) for g in gradient):
        return [None if g is None else torch.zeros_like(g) for g in gradient]
    v = _norm_along(gradient, order)
    epsilon = RELATIVE_EPSILON * _rms(blocks.parameters) / _rms(v)
    blocks.shift(v, epsilon)
    _, ahead = gradient_of(loss_fn, blocks, batch)
    blocks.shift(v, -2 * epsilon)
    _, behind = gradient_of(loss_fn, blocks, batch)
    return [
        None if a is None or b is None else (a - b) / (2 * epsilon) for a, b in zip(ahead, behind)
    ]


def _norm_along(gradient: Gradient, order: int) -> Gradient:
    """v = ∂‖g‖_p/∂g."""
    if order == 1:
        return [None if g is None else g.detach().sign() for g in gradient]
    norm = norm_of(gradient, order).detach()
    return [None if g is None else g.detach() / norm for g in gradient]


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
