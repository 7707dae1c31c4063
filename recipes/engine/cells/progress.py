"""How far a grid is: what the engine keeps and the live view shows."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from .records import Status


@dataclass
class Progress:
    """What the live view shows.

    Attributes:
        states: status and reason by cell name.
        started: time.monotonic() of the engine's start.
        before: how many cells had ended by then.
    """

    states: dict[str, tuple[Status, str]]
    started: float = field(default_factory=time.monotonic)
    before: int = 0

    def __post_init__(self) -> None:
        self.before = sum(state.is_result for state, _ in self.states.values())

    def counts(self) -> Counter[Status]:
        return Counter(state for state, _ in self.states.values())
