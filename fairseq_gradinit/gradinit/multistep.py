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
from .constraint import norm_by_scale
from .gradient import (
    Gradient,
    LossFn,
    MakeOptimizer,
    Steps,
    detached,
    gradient_of,
    loss_of,
    norm_of,
)
from .iteration import BEGINNING, LOWER_LOSS, LOWER_NORM, After, Iteration, checked, draw, fetched
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
        above = gamma is not None and bool(norm > gamma)  # waits for the device
        lookahead_loss, step = torch.full_like(loss, torch.nan), LOWER_NORM
        if not above:
            g, first = detached(g), detached(g)
            if settings.constraint == "exact":
                g = []  # which takes a pass of its own: one gradient less in memory
            unmoved = torch.full_like(loss, torch.inf)
            before = loss_of(loss_fn, batches[-1]) if gamma is None else unmoved
            lookahead_loss, derivative = look_ahead(
                blocks, loss_fn, first, batches[1:], settings, make_optimizer
            )
            by_alpha = blocks.dot(derivative)
            measured = (loss, lookahead_loss, norm.detach(), before)
            (*found, loss_before), by_alpha = fetched(measured, by_alpha)  # waits
            if gamma is not None or found[1] < loss_before:
                step = LOWER_LOSS
            else:
                blocks.write(scales.values)  # back from θ_K
        if step == LOWER_NORM:
            by_alpha = norm_by_scale(loss_fn, blocks, batches[0], g, scales.values, settings)
            found, by_alpha = fetched((loss, lookahead_loss, norm.detach()), by_alpha)  # waits
        record = checked(blocks, t, step, found, by_alpha, started)
        scales.step(by_alpha, step)
        blocks.write(scales.values)
        yield record


def look_ahead(
    blocks: Blocks,
    loss_fn: LossFn,
    first: Gradient,
    batches: list[Any],
    settings: Settings,
    make_optimizer: MakeOptimizer,
) -> tuple[torch.Tensor, Gradient]:
    """K optimizer steps at m·η, the first along `first`, which is then emptied; loss and gradient
    on the last of the K batches, θ left where the steps end."""
    steps = Steps(blocks, make_optimizer, settings.clip_norm, settings.lookahead_lr * settings.eta)
    steps.step(first)
    first.clear()
    for batch in batches[:-1]:
        steps.step(gradient_of(loss_fn, blocks, batch)[1])
    return gradient_of(loss_fn, blocks, batches[-1])
