"""What both algorithms share around an iteration: its batches, its record, its refusals."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .blocks import Blocks
from .errors import GradInitError

LOWER_LOSS, LOWER_NORM = "lower_loss", "lower_norm"


@dataclass(frozen=True)
class Iteration:
    """One line of the record.

    Attributes:
        iteration: from 0.
        step: `lower_loss` or `lower_norm`, what the step on α was to lower.
        loss: L(S; θ), nats per token.
        lookahead_loss: nats per token at the end of the look-ahead; NaN where there was none, or
            where it overflowed.
        gradient_norm: ‖∇L(S; θ)‖_p over all blocks together.
        seconds: that the iteration took.
    """

    iteration: int
    step: str
    loss: float
    lookahead_loss: float
    gradient_norm: float
    seconds: float


@dataclass(frozen=True)
class After:
    """How many iterations are done, and which step the last of them took."""

    done: int
    step: str


BEGINNING = After(0, LOWER_NORM)


def endless(batches: Iterable[Any]) -> Iterator[Any]:
    """The batches, round and round where they can be read more than once (a DataLoader, a list);
    an iterator ends where it ends."""
    while True:
        empty = True
        for batch in batches:
            empty = False
            yield batch
        if empty or isinstance(batches, Iterator):
            return


def draw(supply: Iterator[Any], count: int, iteration: int) -> list[Any]:
    """The next `count` batches. Raises: GradInitError."""
    drawn = list(itertools.islice(supply, count))
    if len(drawn) < count:
        raise GradInitError(
            f"`iters`: the batches ran out in iteration {iteration}, which needs {count}; give "
            "more data, fewer iterations, or a DataLoader or list instead of an iterator"
        )
    return drawn


def fetched(measured: Sequence[Tensor], scale_gradient: Tensor) -> tuple[list[float], Tensor]:
    """Scalars as numbers and ∂/∂α [blocks] on the CPU in float64, for one wait for the device."""
    together = torch.cat([torch.stack(list(measured)), scale_gradient]).cpu().double()
    return together[: len(measured)].tolist(), together[len(measured) :]


def checked(
    blocks: Blocks,
    iteration: int,
    step: str,
    measured: Sequence[float],
    scale_gradient: Tensor,
    started: float,
) -> Iteration:
    """The record of an iteration in which every number that is used is finite.

    Args:
        measured: loss, loss after the look-ahead, gradient norm.
        scale_gradient: ∂/∂α, [blocks], on the CPU.
        started: when the iteration did, by `time.monotonic`.

    Raises:
        GradInitError: one is not; names block, iteration and quantity.
    """
    loss, lookahead_loss, norm = measured
    found = {"loss": loss, "gradient norm": norm}
    if step == LOWER_LOSS:
        found["loss after the look-ahead"] = lookahead_loss
    bad = (~scale_gradient.isfinite()).nonzero().flatten().tolist()
    found[f"∂/∂α in {len(bad)} blocks"] = math.nan if bad else 0.0
    for quantity, value in found.items():
        if not math.isfinite(value):
            where = f"block {blocks.blocks[bad[0]].name}" if bad else "no block alone"
            raise GradInitError(
                f"GradInit iteration {iteration}, {where}: {quantity} is {value}; lower `eta` or "
                "`lookahead`, and check the data"
            )
    return Iteration(iteration, step, loss, lookahead_loss, norm, time.monotonic() - started)
