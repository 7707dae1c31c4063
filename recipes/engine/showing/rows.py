"""The results of a grid, read from its cells' folders."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from pathlib import Path

from ..cells.cell import Cell, cells_of, status
from ..cells.grid import Grid
from ..cells.records import Score, Status

# Axes that say what is compared or repeated, not where in the grid a cell lies.
NOT_COORDINATES = ("init", "seed")


@dataclass(frozen=True)
class Row:
    """One cell: where it lies, its status, and score.json (None without a result)."""

    cell: Cell
    values: dict[str, str]
    status: Status
    reason: str
    score: Score | None

    @property
    def bleu(self) -> float:
        """BLEU; NaN without a result."""
        return self.score.bleu.score if self.score else math.nan

    @property
    def chrf(self) -> float:
        return self.score.chrf.score if self.score else math.nan

    @property
    def valid_nll(self) -> float:
        """Last validation loss, bits per token; NaN when there is none or it was not finite."""
        last = self.score.curves.last if self.score else None
        return math.nan if last is None or last.nll is None else last.nll

    @property
    def init(self) -> str:
        return self.values.get("init", "all")

    @property
    def trains(self) -> bool:
        return self.status.trains

    def at(self, axes: list[str]) -> tuple[str, ...]:
        return tuple(self.values[axis] for axis in axes)


def rows_of(grid: Grid, folder: Path) -> list[Row]:
    """All cells of the grid in `folder`, in grid order."""
    found = []
    for cell in cells_of(grid, folder):
        state, reason = status(cell)
        found.append(Row(cell, cell.values, state, reason, cell.read_score()))
    return found


def coordinates(grid: Grid) -> list[str]:
    """The axes along which cells lie: lr first, then the rest in grid order."""
    axes = [axis for axis in grid.axes if axis not in NOT_COORDINATES]
    return sorted(axes, key=lambda axis: axis != "lr")


@dataclass(frozen=True)
class Group:
    """Cells that differ by seed only."""

    init: str
    at: tuple[str, ...]
    rows: list[Row]

    @property
    def complete(self) -> bool:
        return all(row.score for row in self.rows)

    @property
    def trains(self) -> bool:
        """Whether every seed trained."""
        return all(row.trains for row in self.rows)

    @property
    def bleu(self) -> float:
        """Mean over the seeds; diverged seeds count with the BLEU they got."""
        return statistics.fmean(row.bleu for row in self.rows) if self.complete else math.nan

    @property
    def spread(self) -> float:
        """Sample standard deviation over the seeds; NaN with fewer than two."""
        return statistics.stdev(row.bleu for row in self.rows) if len(self.rows) > 1 else math.nan

    @property
    def valid_nll(self) -> float:
        return statistics.fmean(row.valid_nll for row in self.rows)


def groups_of(grid: Grid, rows: list[Row]) -> dict[tuple[str, tuple[str, ...]], Group]:
    """Rows grouped over seeds, keyed by (init, coordinates), in grid order."""
    axes = coordinates(grid)
    found: dict[tuple[str, tuple[str, ...]], Group] = {}
    for row in rows:
        key = (row.init, row.at(axes))
        found.setdefault(key, Group(*key, [])).rows.append(row)
    return found


def inits_of(grid: Grid) -> list[str]:
    return grid.axes.get("init", ["all"])


def best(groups: list[Group]) -> Group | None:
    """The group with the lowest validation loss among those that train: never chosen on test."""
    trained = [group for group in groups if group.trains and not math.isnan(group.valid_nll)]
    return min(trained, key=lambda group: group.valid_nll, default=None)
