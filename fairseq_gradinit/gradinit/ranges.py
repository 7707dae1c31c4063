"""What a setting may be, and the words for it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Range:
    """A number from `low` to `high`; `above`: greater than `low`; `finite`: not infinite."""

    low: float
    high: float = math.inf
    above: bool = False
    finite: bool = False

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, (int, float)):
            return False
        big_enough = value > self.low if self.above else value >= self.low
        return big_enough and value <= self.high and (math.isfinite(value) or not self.finite)

    def __str__(self) -> str:
        finite = "finite " if self.finite else ""
        if self.above:
            return f"a {finite}number above {self.low:g}"
        return (
            f"{self.low:g} or more" if self.high == math.inf else f"{self.low:g} to {self.high:g}"
        )


@dataclass(frozen=True)
class Choice:
    """One of some words."""

    words: tuple[str, ...]

    def __contains__(self, value: object) -> bool:
        return value in self.words

    def __str__(self) -> str:
        return f"one of {', '.join(self.words)}"


@dataclass(frozen=True)
class Pair:
    """Two numbers, each in [0, 1)."""

    def __contains__(self, value: Any) -> bool:
        return isinstance(value, (tuple, list)) and len(value) == 2 and all(map(_below_1, value))

    def __str__(self) -> str:
        return "two numbers in [0, 1), as (0.9, 0.98)"


def _below_1(value: object) -> bool:
    return isinstance(value, (int, float)) and 0 <= value < 1
