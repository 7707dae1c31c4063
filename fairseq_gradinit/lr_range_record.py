"""What a learning-rate range test found; imports neither torch nor fairseq."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import takewhile

import msgspec


class Rate(msgspec.Struct, frozen=True):
    """One learning rate.

    Attributes:
        learning_rate: η, constant.
        first_loss, last_loss: nats per token before and after the updates, on a batch apart.
        source_worth: nats per token, after the last update; None where there is no source.
        token_spread: ρ of the encoder's output, after the last update; None without encoder.
        trains: the loss fell, and tokens can still be told apart.
    """

    learning_rate: float
    first_loss: float
    last_loss: float
    source_worth: float | None
    token_spread: float | None
    trains: bool

    @property
    def stable(self) -> bool:
        """Did the loss fall?"""
        return math.isfinite(self.last_loss) and self.last_loss < self.first_loss


class EtaInit(msgspec.Struct, frozen=True):
    """A catapult's η_init; `ended` is `cap` where no rate up to it was for the worse."""

    learning_rate: float
    ended: str


class LrRange(msgspec.Struct, frozen=True):
    """The rates of a grid, upwards, and what they say.

    Attributes:
        updates: made at each rate.
        eta_init: by `loss`, `source` and `spread`; None where it cannot be told.
        unstable: the lowest rate at which the loss did not fall; None: it fell at all.
        vouched_for: the highest rate up to which all train; None: not even the lowest does.
    """

    updates: int
    rates: list[Rate]
    eta_init: dict[str, EtaInit | None]
    unstable: float | None
    vouched_for: float | None

    @classmethod
    def of(
        cls, rates: Sequence[Rate], updates: int, eta_init: Mapping[str, EtaInit | None]
    ) -> LrRange:
        """Reads the marks off rates that go upwards."""
        unstable = next((rate.learning_rate for rate in rates if not rate.stable), None)
        training = list(takewhile(lambda rate: rate.trains, rates))
        vouched_for = training[-1].learning_rate if training else None
        return cls(updates, list(rates), dict(eta_init), unstable, vouched_for)

    def marks(self) -> dict[str, float]:
        """What is drawn, by name."""
        marks: dict[str, float | None] = {}
        for by, eta in self.eta_init.items():
            if eta is not None:
                above = " or above" if eta.ended == "cap" else ""
                marks[f"eta_init{above} by {by}"] = eta.learning_rate
        marks |= {"unstable": self.unstable, "vouched for": self.vouched_for}
        return {name: rate for name, rate in marks.items() if rate is not None}

    def summary(self) -> str:
        """One line to read."""
        found = ", ".join(f"{name} {eta:.2g}" for name, eta in self.marks().items())
        if self.vouched_for is None:
            return f"lr_range: no rate tried trains for {self.updates} updates; {found}"
        return f"lr_range: {found}; without a warmup give --lr {self.vouched_for:.2g} at most"
