"""How long a grid still takes, from the updates that are left and the speed they are made at."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

from ..cells.cell import Cell
from ..cells.grid import Grid
from ..cells.records import Score, Status
from .phases import Phase, updates_of

WATCHED = 60.0  # seconds after which the speed seen counts, and not the speed logged


class Eta:
    """Seconds to go, asked again and again while a grid runs.

    A cell takes its updates at the speed it was seen to make them, validation and saving included
    (for its first WATCHED seconds as it logs them), before its first at that of its init, else of
    any other; beside them the seconds that its init's ended cells gave to GradInit and decoding.

    clock: seconds, as time.monotonic tells them.
    """

    def __init__(
        self, grid: Grid, cells: list[Cell], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._seen: dict[str, tuple[float, int]] = {}  # when each was first seen, at which update
        self._cells = {cell.name: cell for cell in cells}
        self._updates = {cell.name: updates_of(grid, cell) for cell in cells}
        self._scores: dict[str, Score] = {}

    def seconds(
        self, states: Mapping[str, tuple[Status, str]], phases: Mapping[str, Phase]
    ) -> float | None:
        """Seconds until the last cell ends, None while no speed is known.

        Args:
            states: status of every cell by name.
            phases: of the cells that run.
        """
        for name, (state, _) in states.items():
            if state.is_result and name not in self._scores:
                score = self._cells[name].read_score()
                if score is not None:
                    self._scores[name] = score
        waiting = [name for name, (state, _) in states.items() if state is Status.MISSING]
        own = {name: self._speed(name, phase) for name, phase in phases.items()}
        known = self._speeds(own)
        left = [
            self._left(name, phases.get(name), own.get(name), known) for name in [*phases, *waiting]
        ]
        if any(seconds is None for seconds in left):
            return None
        found = [seconds for seconds in left if seconds is not None]
        # The slots stay full while cells wait; then the slowest of those that run decides.
        return max(sum(found) / max(1, len(phases)), max(found, default=0.0))

    def _speed(self, name: str, phase: Phase) -> float | None:
        """Updates a second of a running cell, None before its first."""
        if not phase.update:
            return phase.speed
        now = self._clock()
        since, first = self._seen.setdefault(name, (now, phase.update))
        made = phase.update - first
        return made / (now - since) if made > 0 and now - since > WATCHED else phase.speed

    def _speeds(self, own: Mapping[str, float | None]) -> dict[str, list[float]]:
        """Updates a second of the cells that ended or run, by init."""
        found: dict[str, list[float]] = {}
        for name, score in self._scores.items():
            seconds = (score.seconds.train or 0.0) - (score.seconds.gradinit or 0.0)
            total = self._updates[name]
            if total and score.status.trains and seconds > 0:
                found.setdefault(self._cells[name].init, []).append(total / seconds)
        for name, speed in own.items():
            if speed:
                found.setdefault(self._cells[name].init, []).append(speed)
        return found

    def _left(
        self, name: str, phase: Phase | None, speed: float | None, known: dict[str, list[float]]
    ) -> float | None:
        init, total = self._cells[name].init, self._updates[name]
        speeds = known.get(init) or [speed for some in known.values() for speed in some]
        if not speed and speeds:
            speed = statistics.median(speeds)
        if total is None or not speed:
            return None
        done = phase.update if phase else 0
        scores = [s for at, s in self._scores.items() if self._cells[at].init == init]
        others = [s.seconds.decode or 0.0 for s in scores or self._scores.values()]
        seconds = max(0, total - done) / speed + (statistics.fmean(others) if others else 0.0)
        if done == 0 and scores:
            seconds += statistics.fmean(s.seconds.gradinit or 0.0 for s in scores)
        return seconds
