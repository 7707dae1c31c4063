"""Look-ahead and gradient-norm constraint: from batches to ∂/∂α.

With θ = α∘θ⁰ every derivative with respect to α is a dot product per block:
∂L/∂α_m = ⟨∂L/∂θ_m, θ_m⁰⟩. The look-ahead updates are constants for differentiation, so the
loss after them needs no second derivative.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .blocks import Blocks
from .settings import Settings
from .walk import Gradient, LossFn, MakeOptimizer, Walk

LOOKAHEAD, CONSTRAINT = "lookahead", "constraint"


@dataclass(frozen=True)
class Step:
    """∂/∂α of one iteration and what it was made of; tensors on the model's device.

    Attributes:
        branch: `lookahead` or `constraint`, whichever quantity is to be lowered.
        loss: L(S; θ), nats per token.
        lookahead_loss: the loss after the look-ahead; NaN where there was none.
        gradient_norm: ‖∇L(S; θ)‖_p over all blocks together.
        scale_gradient: [blocks].
    """

    branch: str
    loss: Tensor
    lookahead_loss: Tensor
    gradient_norm: Tensor
    scale_gradient: Tensor


class Objective:
    """What the scales are to lower: the loss after the look-ahead, or the gradient's norm.

    The norm, where it is above its bound γ. Without γ, where the look-ahead climbs: L(S_{K+1})
    is no lower at θ_K than at θ_0. Steps held constant cannot tell how to climb less; smaller
    gradients do.

    Args:
        blocks: the model's parameters; left at the θ they had after each call.
        loss_fn: a batch to its scalar loss, per token.
        settings: see `Settings`.
        make_optimizer: a fresh optimizer over the given parameters; its `step` is the
            look-ahead's, at learning rate m·η. With `FirstStep`, K = 1 and m = 1 this is the
            paper's Algorithm 1.
    """

    def __init__(
        self,
        blocks: Blocks,
        loss_fn: LossFn,
        settings: Settings,
        make_optimizer: MakeOptimizer,
    ) -> None:
        self.blocks = blocks
        self.loss_fn = loss_fn
        self.settings = settings
        self.make_optimizer = make_optimizer
        # A guess that spares the constraint its second first-order pass.
        self._expect_constraint = True

    def __call__(self, scales: Tensor, batches: Sequence[Any]) -> Step:
        """∂/∂α at θ = α∘θ⁰, from K + 1 batches: K to step on, the last to judge by."""
        bound = self.settings.norm_bound
        exact = self.settings.constraint == "exact"
        with_graph = exact and bound is not None and self._expect_constraint
        loss, gradient = self.gradient(batches[0], create_graph=with_graph)
        norm = self.norm(gradient)
        constrained = bound is not None and bool(norm > bound)
        self._expect_constraint = constrained
        lookahead_loss = loss.new_tensor(torch.nan)
        if not constrained:
            before = self.loss(batches[-1]) if bound is None else torch.inf
            lookahead_loss, ahead = self.look_ahead(_detached(gradient), batches[1:])
            self.blocks.write(scales)
            if bound is not None or bool(lookahead_loss < before):
                scale_gradient = self.blocks.dot(ahead)
                return Step(LOOKAHEAD, loss, lookahead_loss, norm.detach(), scale_gradient)
        if exact:
            if not with_graph:
                _, gradient = self.gradient(batches[0], create_graph=True)
            curvature = self.exact_curvature(gradient)
        else:
            curvature = self.central_difference(batches[0], gradient)
            self.blocks.write(scales)
        scale_gradient = self.blocks.dot(curvature)
        return Step(CONSTRAINT, loss, lookahead_loss, norm.detach(), scale_gradient)

    @torch.no_grad()
    def loss(self, batch: Any) -> Tensor:
        """L(batch; θ)."""
        return self.loss_fn(batch)

    def gradient(self, batch: Any, create_graph: bool = False) -> tuple[Tensor, Gradient]:
        """L(batch; θ) and ∇_θ L, never through `.grad`. Unused parameters give None."""
        with _twice_differentiable() if create_graph else contextlib.nullcontext():
            loss = self.loss_fn(batch)
            gradient = torch.autograd.grad(
                loss, self.blocks.parameters, create_graph=create_graph, allow_unused=True
            )
        return loss.detach(), list(gradient)

    def norm(self, gradient: Gradient) -> Tensor:
        """‖g‖_p over all blocks together: p = 1 for Adam, 2 for SGD."""
        order = 1 if self.settings.algorithm == "adam" else 2
        used = [g for g in gradient if g is not None]
        per_block = [torch.linalg.vector_norm(g, order) for g in used]
        return torch.linalg.vector_norm(torch.stack(per_block), order)

    def look_ahead(self, first: Gradient, batches: Sequence[Any]) -> tuple[Tensor, Gradient]:
        """Walk K optimizer steps at m·η, the first along `first`; loss and gradient at the end."""
        settings = self.settings
        learning_rate = settings.margin * settings.eta
        walk = Walk(self.blocks, self.make_optimizer, settings.clip_norm, learning_rate)
        *on_the_way, last = batches
        gradient = first
        for step in range(settings.lookahead):
            if step > 0:
                _, gradient = self.gradient(on_the_way[step - 1])
            walk.step(gradient)
        return self.gradient(last)

    def exact_curvature(self, gradient: Gradient) -> Gradient:
        """∂‖g‖_p/∂θ by double backward; `gradient` must carry its graph."""
        norm = self.norm(gradient)
        return list(torch.autograd.grad(norm, self.blocks.parameters, allow_unused=True))

    def central_difference(self, batch: Any, gradient: Gradient) -> Gradient:
        """∂‖g‖_p/∂θ = H·v with v = ∂‖g‖_p/∂g, as (∇L(θ+εv) − ∇L(θ−εv)) / 2ε.

        ε is `RELATIVE_EPSILON` times the parameters' root mean square over that of v: large
        enough against fp32 rounding, small enough against curvature (bench/constraint.py).
        Leaves θ off by rounding: the caller writes it afresh.
        """
        v = self._norm_direction(gradient)
        epsilon = RELATIVE_EPSILON * _rms(self.blocks.parameters) / _rms(v)
        self.blocks.shift(v, epsilon)
        _, ahead = self.gradient(batch)
        self.blocks.shift(v, -2 * epsilon)
        _, behind = self.gradient(batch)
        return [
            None if a is None or b is None else (a - b) / (2 * epsilon)
            for a, b in zip(ahead, behind)
        ]

    def _norm_direction(self, gradient: Gradient) -> Gradient:
        if self.settings.algorithm == "adam":
            return [None if g is None else g.sign() for g in gradient]
        norm = self.norm(gradient)
        return [None if g is None else g / norm for g in gradient]


RELATIVE_EPSILON = 1e-3


def _rms(tensors: Sequence[Tensor | None]) -> float:
    used = [t.detach() for t in tensors if t is not None]
    square = torch.stack([t.double().pow(2).sum() for t in used]).sum()
    return float((square / sum(t.numel() for t in used)).sqrt())


def _detached(gradient: Gradient) -> Gradient:
    return [None if g is None else g.detach() for g in gradient]


def _twice_differentiable() -> contextlib.AbstractContextManager[None]:
    """Fused attention has no second derivative, on the CPU either."""
    try:
        from torch.nn.attention import SDPBackend, sdpa_kernel
    except ImportError:  # torch < 2.3; before 2.0 there was no fused attention to avoid
        return contextlib.nullcontext()
    return sdpa_kernel(SDPBackend.MATH)
