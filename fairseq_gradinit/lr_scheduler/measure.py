"""η_init by the run's own optimizer: its first step tried at many rates, each undone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from ..catapult import Catapult, find_catapult
from ..first_update import AtFirstUpdate
from ..gradinit import GradInitError
from ..live_optimizer import clipped, step, undone
from ..run_readings import source_worth, token_spread

BY = ("loss", "source", "spread")
COLLAPSE = 0.1  # of the token spread before the step
WORTHLESS = 1e-3  # of the loss; what a source is worth below it is noise of the batch


@dataclass(frozen=True)
class Measurement:
    """A catapult, what it cost, and what the loss may hide.

    Attributes:
        catapult: see there.
        passes: forward passes per micro-batch after the one gradient.
        spread: ρ of the encoder's output before and after a step at η_init; None without encoder.
    """

    catapult: Catapult
    passes: int
    spread: tuple[float, float] | None

    @property
    def collapses(self) -> bool:
        """Would a first step at η_init leave the encoder's tokens nearly alike?"""
        return self.spread is not None and self.spread[1] < COLLAPSE * self.spread[0]


def measure(at: AtFirstUpdate, by: str, cap: float, first: float, tolerance: float) -> Measurement:
    """Finds η_init on the batch of the first update, without dropout.

    The steps are those of the run's optimizer from the state that it is in (GI-Adam's v₀
    included), along one gradient, clipped as in training. Weights and optimizer are left as they
    were to the bit.

    Args:
        by: what the step must not spoil. loss: L. source: 1/(what the source is worth), against the
            best of the smaller rates, since before training it is worth nothing. spread: 1/ρ, which
            rises from the smallest rate on, so that the upper half of its bracket is looked for.
        cap, first, tolerance: see `find_catapult`.

    Raises:
        GradInitError: it cannot be measured on this model or batch.
    """
    weights = at.layout.weights()
    loss, gradient = at.loss.gradient(weights, at.samples)
    if not math.isfinite(loss):
        raise GradInitError(
            f"--lr-scheduler catapult: the loss before the first update is {loss}; check the data "
            "and the initial weights"
        )
    gradient = clipped(gradient, at.run.optimization.clip_norm)
    value = _value(at, by, loss)
    before = at.loss.forward_passes

    def value_at(eta: float) -> float:
        with undone(at.optimizer):
            step(at.optimizer, at.layout, gradient, eta)
            return value(at.layout.weights())

    start = loss if by == "loss" else value(weights)
    if by == "spread":
        start, tolerance = start * (1 + tolerance / 2), (1 + tolerance) / (1 + tolerance / 2) - 1
    found = find_catapult(value_at, start, cap, first, tolerance, follow_best=by == "source")
    if not math.isfinite(found.reference):
        raise GradInitError(
            f"--catapult-by source: after one update at rates up to {cap:g} the source is worth "
            f"less than {WORTHLESS:g} of the loss, which does not tell; use --catapult-by loss or "
            "spread"
        )
    spreads = [token_spread(at.loss, weights, at.samples)]
    with undone(at.optimizer):
        step(at.optimizer, at.layout, gradient, found.eta_init)
        spreads.append(token_spread(at.loss, at.layout.weights(), at.samples))
    before_after = [spread for spread in spreads if spread is not None]
    passes = (at.loss.forward_passes - before) // max(1, len(at.samples))
    both = (before_after[0], before_after[1]) if len(before_after) == 2 else None
    return Measurement(found, passes, both)


def _value(at: AtFirstUpdate, by: str, loss: float) -> Callable[[Sequence[Tensor]], float]:
    """What must not rise, of weights."""

    def of_source(weights: Sequence[Tensor]) -> float:
        worth = source_worth(at.loss, weights, at.samples)
        if worth is None:
            raise GradInitError(
                "--catapult-by source: needs a model with a source and several sentences in a "
                "batch; use --catapult-by loss"
            )
        return 1 / worth if worth > WORTHLESS * loss else math.inf

    def of_spread(weights: Sequence[Tensor]) -> float:
        spread = token_spread(at.loss, weights, at.samples)
        if spread is None:
            raise GradInitError(
                "--catapult-by spread: the model has no encoder; use --catapult-by loss"
            )
        return 1 / spread if spread > 0 else math.inf

    if by == "loss":
        return lambda weights: at.loss.loss(weights, at.samples)
    return of_source if by == "source" else of_spread
