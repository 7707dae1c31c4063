"""How far a grid is: what the engine keeps and the live view shows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from .records import Status


@dataclass
class Progress:
    """What the live view shows; states: status and reason by cell name."""

    states: dict[str, tuple[Status, str]]

    def counts(self) -> Counter[Status]:
        return Counter(state for state, _ in self.states.values())
