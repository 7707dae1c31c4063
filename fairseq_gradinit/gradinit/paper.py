"""Algorithm 1 of Zhu et al. 2021 (arXiv 2102.08098), from top to bottom.

    θ_m = α_m·θ_m⁰, α = 1
    for t = 1 … T:
        draw S and S̃, which share half of their sentences
        g = ∇_θ L(S; θ)
        if ‖g‖_p > γ:  one step on α that lowers ‖g‖_p
        else:          one step on α that lowers L(S̃; θ − η·A(g)), the step held constant
        project α on its bounds

p = 1 and A(g) = sign(g) for Adam, p = 2 and A(g) = g or g/‖g‖₂ for SGD. With θ = α∘θ⁰ the
derivative of anything is ∂/∂α_m = ⟨∂/∂θ_m, θ_m⁰⟩.

Where the released Transformer code differs from this text: it lowers L(S̃; ·)/η, which only Adam's
ε and a clip can tell from L; its default clips every ∂L/∂α to ±1, which its IWSLT script lifts, and
so nothing is clipped here; a bias whose α reaches 0 stays there, as here; its defaults other than
the script's are η 5e-4, scale lr 1e-3, β₂ 0.999; it tells LayerNorms by name and so misses
`layernorm_embedding`, which is found here. α has an Adam, with its own step count, for each of the
two kinds of step, as there.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn

from .blocks import Blocks
from .constraint import norm_by_scale
from .gradient import LossFn, MakeOptimizer, Steps, detached, gradient_of, norm_of
from .iteration import BEGINNING, LOWER_LOSS, LOWER_NORM, After, Iteration, checked, draw, fetched
from .scales import Scales
from .settings import Settings


def paper(
    blocks: Blocks,
    scales: Scales,
    loss_fn: LossFn,
    supply: Iterator[Any],
    settings: Settings,
    make_optimizer: MakeOptimizer,
    after: After = BEGINNING,
) -> Iterator[Iteration]:
    """Algorithm 1; yields a record an iteration, with θ = α∘θ⁰ in force.

    Args:
        supply: S, S̃, S, S̃, …
        make_optimizer: whose first step is η·A(g), `FirstStep` unless something else is wanted.
        after: the iterations done before, by `scales` as they are.
    """
    gamma, p = settings.norm_bound, settings.norm_order
    eta = settings.lookahead_lr * settings.eta
    # A guess that spares the exact derivative a second first-order pass.
    lowers_norm = after.step == LOWER_NORM
    for t in range(after.done, settings.iters):
        started = time.monotonic()
        s, s_tilde = draw(supply, 2, t)
        loss, g = gradient_of(loss_fn, blocks, s, settings.constraint == "exact" and lowers_norm)
        norm = norm_of(g, p)
        lowers_norm = gamma is not None and bool(norm > gamma)  # waits for the device
        lookahead_loss, step = torch.full_like(loss, torch.nan), LOWER_NORM
        if lowers_norm:
            by_alpha = norm_by_scale(loss_fn, blocks, s, g, scales.values, settings)
        else:
            g, step = detached(g), LOWER_LOSS  # no longer on its graph, which goes
            Steps(blocks, make_optimizer, settings.clip_norm, eta).step(g)
            lookahead_loss, derivative = gradient_of(loss_fn, blocks, s_tilde)
            by_alpha = blocks.dot(derivative)
        found, by_alpha = fetched((loss, lookahead_loss, norm.detach()), by_alpha)  # waits
        record = checked(blocks, t, step, found, by_alpha, started)
        scales.step(by_alpha, step)
        blocks.write(scales.values)  # back from θ − η·A(g) too
        yield record


TINY = 1e-30  # in place of the norm of a gradient that is 0 everywhere


class FirstStep(torch.optim.Optimizer):
    """θ ← θ − η·A(g), the first step that Adam or SGD takes; decoupled weight decay for Adam
    (η·λ·θ, A(g) = sign(g) since m̂/√v̂ = g/|g| at t = 1), A(g) = g + λθ for SGD."""

    def __init__(self, params: Iterable[nn.Parameter], settings: Settings) -> None:
        super().__init__(params, {"lr": settings.eta})
        self.settings = settings

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """In place; a parameter without a gradient stays."""
        adam, decay = self.settings.algorithm == "adam", self.settings.weight_decay
        for group in self.param_groups:
            stepped = [p for p in group["params"] if p.grad is not None]
            direction = [p.grad.sign() if adam else p.grad for p in stepped]
            if decay:
                direction = [a + decay * p for a, p in zip(direction, stepped)]
            if not adam and self.settings.normalize_gradient:
                norm = torch.stack([a.norm() for a in direction]).norm().clamp_min(TINY)
                direction = [a / norm for a in direction]
            if stepped:
                torch._foreach_add_(stepped, direction, alpha=-group["lr"])
