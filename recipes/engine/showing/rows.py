"""The results of a grid, read from its cells' folders."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..cells.cell import DONE, RESULTS, Cell, cell_of, status
from ..cells.files import read_json
from ..cells.grid import Grid, points

# Axes that say what is compared or repeated, not where in the grid a cell lies.
NOT_COORDINATES = ("init", "seed")


@dataclass(frozen=True)
class Row:
    """One cell: where it lies, its status, and score.json ({} without a result)."""

    cell: Cell
    values: dict[str, str]
    status: str
    reason: str
    score: dict[str, Any]

    @property
    def bleu(self) -> float:
        """BLEU; NaN without a result."""
        return self.score["bleu"]["score"] if self.score else math.nan

    @property
    def chrf(self) -> float:
        return self.score["chrf"]["score"] if self.score else math.nan

    @property
    def valid_nll(self) -> float:
        """Last validation loss, bits per token; NaN when there is none or it was not finite."""
        points = self.score["curves"]["valid"] if self.score else []
        last = points[-1]["nll"] if points else None
        return math.nan if last is None else last

    @property
    def init(self) -> str:
        return self.values.get("init", "all")

    @property
    def trains(self) -> bool:
        return self.status == DONE

    def at(self, axes: list[str]) -> tuple[str, ...]:
        return tuple(self.values[axis] for axis in axes)


def rows_of(grid: Grid, folder: Path) -> list[Row]:
    """All cells of the grid in `folder`, in grid order."""
    found = []
    for point in points(grid):
        cell = cell_of(folder, point)
        state, reason = status(cell)
        score = read_json(cell.score) if state in RESULTS else {}
        found.append(Row(cell, point.values, state, reason, score))
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
    trained = [group for group in groups if group.trains]
    return min(trained, key=lambda group: group.valid_nll, default=None)
