"""Algorithm 1 with K steps of the run's own optimizer in place of one prescribed step.

    θ_0 = α∘θ⁰, α at its start
    for t = 1 … T:
        draw S_1 … S_{K+1}
        for k = 1 … K:  θ_k = θ_{k−1} − u_k, u_k the optimizer's update for ∇L(S_k; θ_{k−1})
        if L(S_{K+1}; θ_K) < L(S_{K+1}; θ_0):
              one step on α that lowers L(S_{K+1}; θ_K), every u_k held constant
        else: one step on α that lowers ‖∇L(S_1; θ_0)‖_p
        project α on its bounds

Steps held constant cannot tell how to climb less; smaller gradients do. Where a bound γ is given it
decides instead, as in the paper. The u_k are taken at m·η.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import torch

from .blocks import Blocks
from .gradient import (
    LossFn,
    MakeOptimizer,
    Steps,
    detached,
    gradient_of,
    loss_of,
    norm_derivative,
    norm_of,
)
from .iteration import BEGINNING, LOWER_LOSS, LOWER_NORM, After, Iteration, checked, draw
from .scales import Scales
from .settings import Settings


def multistep(
    blocks: Blocks,
    scales: Scales,
    loss_fn: LossFn,
    supply: Iterator[Any],
    settings: Settings,
    make_optimizer: MakeOptimizer,
    after: After = BEGINNING,
) -> Iterator[Iteration]:
    """The algorithm above; yields a record an iteration, with θ = α∘θ⁰ in force.

    Args:
        supply: batches, K + 1 an iteration: K to step on, the last to judge by.
        make_optimizer: a fresh optimizer over the given parameters.
        after: the iterations done before, by `scales` as they are.
    """
    gamma, p = settings.norm_bound, settings.norm_order
    # A guess that spares the exact derivative a second first-order pass.
    above = after.step == LOWER_NORM
    for t in range(after.done, settings.iters):
        started = time.monotonic()
        batches = draw(supply, settings.lookahead + 1, t)
        with_graph = settings.constraint == "exact" and gamma is not None and above
        loss, g = gradient_of(loss_fn, blocks, batches[0], with_graph)
        norm = norm_of(g, p)
        above = gamma is not None and bool(norm > gamma)
        lookahead_loss, step = torch.full_like(loss, torch.nan), LOWER_NORM
        if not above:
            before = loss_of(loss_fn, batches[-1]) if gamma is None else torch.inf
            held = detached(g)
            lookahead_loss, derivative = look_ahead(
                blocks, loss_fn, held, batches[1:], settings, make_optimizer
            )
            blocks.write(scales.values)
            if gamma is not None or bool(lookahead_loss < before):
                step = LOWER_LOSS
        if step == LOWER_NORM:
            derivative = norm_derivative(loss_fn, blocks, batches[0], g, settings)
            blocks.write(scales.values)
        by_alpha, measured = blocks.dot(derivative), (loss, lookahead_loss, norm.detach())
        record = checked(blocks, t, step, measured, by_alpha, time.monotonic() - started)
        scales.step(by_alpha.cpu(), step)
        blocks.write(scales.values)
        yield record


def look_ahead(
    blocks: Blocks,
    loss_fn: LossFn,
    first: list[torch.Tensor | None],
    batches: list[Any],
    settings: Settings,
    make_optimizer: MakeOptimizer,
) -> tuple[torch.Tensor, list[torch.Tensor | None]]:
    """K optimizer steps at m·η, the first along `first`; loss and gradient on the last of the K
    batches, θ left where the steps end."""
    steps = Steps(blocks, make_optimizer, settings.clip_norm, settings.lookahead_lr * settings.eta)
    steps.step(first)
    for batch in batches[:-1]:
        steps.step(gradient_of(loss_fn, blocks, batch)[1])
    return gradient_of(loss_fn, blocks, batches[-1])
