"""The learning rate at which the first step no longer lowers the loss (Kalra & Barkeshli, NeurIPS
2024, arXiv 2406.09405): where a warmup can start, measured by forward passes alone.

No code of it was released; this is the search of the paper's text: doubling, then bisection, until
L₀ < L(η) ≤ (1 + ε)·L₀. L need not be monotone, so which η of that bracket is found depends on where
the doubling starts, and the bracket itself does not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .gradinit import GradInitError

MOST_HALVINGS = 60  # of the first rate tried, and of the interval: beyond, floats have no room


@dataclass
class Catapult:
    """What was found, in terms of a value that a good step does not raise.

    Attributes:
        start: the value before any step, L₀.
        reference: what counts as raised; L₀, or the lowest value met where the best is followed.
        tried: (η, value), in the order of trying.
        lower, upper: η with value ≤ reference and η with reference < value ≤ (1 + ε)·reference;
            None where there is none.
        ended: `bracket`; `cap`: no rate up to the cap raised the value; `jump`: it rises to above
            the bracket between two rates that floats hardly tell apart.
    """

    start: float
    reference: float
    tried: list[tuple[float, float]] = field(default_factory=list)
    lower: float | None = None
    upper: float | None = None
    ended: str = "bracket"

    @property
    def eta_init(self) -> float:
        """The upper end of the bracket; without one, the highest rate that raised nothing."""
        found = self.lower if self.upper is None else self.upper
        assert found is not None
        return found


def find_catapult(
    value_at: Callable[[float], float],
    start: float,
    cap: float,
    first: float = 1e-4,
    tolerance: float = 0.1,
    follow_best: bool = False,
) -> Catapult:
    """Doubles η from `first` while the value is no higher than at the start, then bisects.

    A first rate that is too high already is halved instead (the paper does not say).

    Args:
        value_at: η to the value after one step at η; above 0, and not finite where it diverged.
        start: the value before any step, above 0; infinite where only steps give it one.
        cap: the highest η tried; the last doubling ends there.
        first: the first η tried, or `cap` if that is lower.
        tolerance: ε.
        follow_best: compare with the lowest value met so far and not with the start (ours).

    Raises:
        GradInitError: every rate raises the value.
    """
    found = Catapult(start, start)

    def raised(eta: float) -> bool:
        value = value_at(eta)
        found.tried.append((eta, value))
        higher = not value <= found.reference  # true of NaN
        if follow_best and not higher:
            found.reference = value
        return higher

    def within() -> bool:
        values = dict(found.tried)
        ceiling = (1 + tolerance) * found.reference
        return upper in values and found.reference < values[upper] <= ceiling

    lower, upper = 0.0, min(first, cap)
    while not raised(upper):
        if upper >= cap:
            found.lower, found.ended = upper, "cap"
            return found
        lower, upper = upper, min(2 * upper, cap)
    halvings = 0
    while not within():
        halvings += 1
        if halvings > MOST_HALVINGS:
            found.ended = "jump"
            break
        middle = (lower + upper) / 2
        if raised(middle):
            upper = middle
        else:
            lower = middle
    found.upper = upper if found.ended == "bracket" else None
    found.lower = lower or None
    if found.upper is None and found.lower is None:
        raise GradInitError(
            f"--lr-scheduler catapult: the first step is for the worse at every learning rate from "
            f"{first:g} down to {upper:g}; check the data, or use another schedule"
        )
    return found
