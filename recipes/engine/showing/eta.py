"""How long a grid still takes, from the updates that are left and the speed they are made at."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from ..cells.cell import Cell
from ..cells.grid import Grid
from ..cells.records import Score, Status
from .phases import Phase, updates_of


class Eta:
    """Seconds to go, asked again and again while a grid runs.

    A cell takes its updates at the speed it logs, before its first line at that of its init, else
    of any other; beside them the seconds that its init's ended cells gave to GradInit and decoding.
    """

    def __init__(self, grid: Grid, cells: list[Cell]) -> None:
        self._grid = grid
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
        known = self._speeds(phases)
        left = [self._left(name, phases.get(name), known) for name in [*phases, *waiting]]
        if any(seconds is None for seconds in left):
            return None
        found = [seconds for seconds in left if seconds is not None]
        # The slots stay full while cells wait; then the slowest of those that run decides.
        return max(sum(found) / max(1, len(phases)), max(found, default=0.0))

    def _speeds(self, phases: Mapping[str, Phase]) -> dict[str, list[float]]:
        """Updates a second that were seen, by init."""
        seen: dict[str, list[float]] = {}
        for name, score in self._scores.items():
            if score.updates_per_second:
                seen.setdefault(self._cells[name].init, []).append(score.updates_per_second)
        for name, phase in phases.items():
            if phase.speed:
                seen.setdefault(self._cells[name].init, []).append(phase.speed)
        return seen

    def _left(self, name: str, phase: Phase | None, known: dict[str, list[float]]) -> float | None:
        init, total = self._cells[name].init, self._updates[name]
        speeds = known.get(init) or [speed for some in known.values() for speed in some]
        speed = phase.speed if phase and phase.speed else None
        if speed is None and speeds:
            speed = statistics.median(speeds)
        if total is None or speed is None:
            return None
        done = phase.update if phase else 0
        scores = [s for at, s in self._scores.items() if self._cells[at].init == init]
        others = [s.seconds.decode or 0.0 for s in scores or self._scores.values()]
        seconds = max(0, total - done) / speed + (statistics.fmean(others) if others else 0.0)
        if done == 0 and scores:
            seconds += statistics.fmean(s.seconds.gradinit or 0.0 for s in scores)
        return seconds
