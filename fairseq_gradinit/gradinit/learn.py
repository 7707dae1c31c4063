"""The loop: learn one scale per parameter tensor (Zhu et al. 2021, Algorithm 1, and its
multi-step extension)."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .blocks import Block, Blocks
from .errors import GradInitError
from .first_step import FirstStep
from .isolation import borrowed
from .objective import LOOKAHEAD, Objective, Step
from .scale_adam import ScaleAdam
from .settings import Settings
from .settled import Settled
from .walk import LossFn, MakeOptimizer


@dataclass(frozen=True)
class Iteration:
    """One line of the record; losses in nats per token, `lookahead_loss` NaN where there was no
    look-ahead or where it overflowed."""

    iteration: int
    branch: str
    loss: float
    lookahead_loss: float
    gradient_norm: float
    seconds: float


@dataclass(frozen=True)
class LearnedScales:
    """The scales now in force in the model, in the order of `blocks`; norms are ‖θ_m‖₂."""

    blocks: list[Block]
    scales: list[float]
    norms_before: list[float]
    norms_after: list[float]
    iterations: int
    stop_reason: str
    seconds: float


def learn_scales(
    model: nn.Module,
    loss_fn: LossFn,
    batches: Iterable[Any],
    settings: Settings,
    make_optimizer: MakeOptimizer | None = None,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
    on_iteration: Callable[[Iteration], None] = lambda iteration: None,
) -> LearnedScales:
    """Scales each parameter tensor of `model` so that training at η starts well.

    The model comes back in the mode, dtype and random state it had, with θ = α∘θ⁰; nothing is
    left in any `.grad`. After an error θ⁰ is back.

    Args:
        model: any module; its trainable floating-point parameters are scaled.
        loss_fn: a batch to its scalar loss per token, as in training, computed with `model`.
        batches: drawn K + 1 an iteration. For the paper's objective S and S̃ in turn.
        settings: see `Settings`.
        make_optimizer: the training optimizer over given parameters, at learning rate η, for
            the multi-step look-ahead. By default `torch.optim.AdamW` or `SGD` with momentum 0.9.
        progress: wraps the iterations, as a progress bar does.
        on_iteration: called with each record.

    Raises:
        GradInitError: a loss, gradient or scale is not finite (which block, which iteration);
            the batches ran out; the model has nothing to scale.
    """
    started = time.monotonic()
    with borrowed(model):
        blocks = Blocks(model)
        norms_before = blocks.norms()
        adam = ScaleAdam(
            blocks.start(settings),
            *blocks.bounds(settings),
            settings.lr,
            settings.betas,
            settings.log_space,
        )
        objective = Objective(
            blocks, loss_fn, settings, make_optimizer or default_optimizer(settings)
        )
        blocks.write(adam.scales)
        supply = iter(batches)
        settled = Settled(settings.min_scale)
        done, stop_reason = 0, "iterations"
        try:
            for index in progress(range(settings.iters)):
                start = time.monotonic()
                step = objective(adam.scales, _draw(supply, settings.lookahead + 1, index))
                record = _record(index, step, start)
                _check_finite(blocks, step, record)
                on_iteration(record)
                adam.step(step.scale_gradient.cpu(), step.branch)
                blocks.write(adam.scales)
                done = index + 1
                if settled.update(adam.scales, record.lookahead_loss) and settings.early_stop:
                    stop_reason = "settled"
                    break
        except BaseException:
            blocks.write(torch.ones_like(adam.scales))
            raise
        return LearnedScales(
            blocks.blocks,
            adam.scales.tolist(),
            norms_before,
            blocks.norms(),
            done,
            stop_reason,
            time.monotonic() - started,
        )


def default_optimizer(settings: Settings) -> MakeOptimizer:
    """The paper's prescribed step, or a plain torch optimizer for the multi-step look-ahead."""
    if settings.preset == "paper":
        return lambda params: FirstStep(params, settings)
    decay = settings.weight_decay
    if settings.algorithm == "adam":
        return lambda params: torch.optim.AdamW(
            params, lr=settings.eta, betas=(0.9, 0.98), weight_decay=decay
        )
    return lambda params: torch.optim.SGD(params, lr=settings.eta, momentum=0.9, weight_decay=decay)


def _draw(supply: Iterator[Any], count: int, index: int) -> list[Any]:
    drawn = list(itertools.islice(supply, count))
    if len(drawn) < count:
        raise GradInitError(
            f"--gradinit-iters: the batches ran out in iteration {index}, which needs {count}; "
            "give more data or fewer iterations"
        )
    return drawn


def _record(index: int, step: Step, start: float) -> Iteration:
    numbers = torch.stack([step.loss, step.lookahead_loss, step.gradient_norm])
    loss, lookahead_loss, norm = numbers.tolist()  # waits for the device
    return Iteration(index, step.branch, loss, lookahead_loss, norm, time.monotonic() - start)


def _check_finite(blocks: Blocks, step: Step, record: Iteration) -> None:
    found = {"loss": record.loss, "gradient norm": record.gradient_norm}
    if step.branch == LOOKAHEAD:
        found["loss after the look-ahead"] = record.lookahead_loss
    bad = (~step.scale_gradient.isfinite()).nonzero().flatten().tolist()
    found[f"∂/∂α in {len(bad)} blocks"] = math.nan if bad else 0.0
    for quantity, value in found.items():
        if not math.isfinite(value):
            where = f"block {blocks.blocks[bad[0]].name}" if bad else "no block alone"
            raise GradInitError(
                f"GradInit iteration {record.iteration}, {where}: {quantity} is {value}; lower "
                "--lr (or --gradinit-eta) or --gradinit-lookahead, and check the data"
            )
