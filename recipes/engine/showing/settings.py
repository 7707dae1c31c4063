"""Settings of a grid beside its first axis: which can be chosen, and which is the best of them."""

from __future__ import annotations

import math

import altair as alt
import pandas as pd

from ..cells.grid import Grid
from ..cells.records import Status
from .charts import BEST, chosen, mark_of
from .results import at, coordinates, inits_of


def settings_of(grid: Grid) -> list[str]:
    """What the axes beside the first can be set to: BEST, then each combination ([] of none)."""
    axes = coordinates(grid)[1:]
    if not any(len(grid.axes[axis]) > 1 for axis in axes):
        return []
    found = [""]
    for axis in axes:
        found = [f"{text}, {axis} {value}" for text in found for value in grid.axes[axis]]
    return [BEST, *(text.removeprefix(", ") for text in found)]


def with_settings(grid: Grid, groups: pd.DataFrame) -> pd.DataFrame:
    """The groups with what a chart over the first coordinate says of them.

    Returns:
        `groups` with x (the first coordinate, "" without one), setting (the other coordinates),
        where (all), mark, runs (how many of each status), and best: whether of its init and x it
        has the lowest validation loss. What does not train is that only where all else does not.
    """
    axes = coordinates(grid)
    groups = groups.assign(
        x=groups[axes[0]] if axes else "",
        setting=[at(one, axes[1:]) for _, one in groups.iterrows()],
        where=[at(one, axes) for _, one in groups.iterrows()],
        mark=groups["states"].map(mark_of),
        runs=groups["states"].map(counted),
    )
    order = groups.sort_values(["trains", "valid_nll"], ascending=[False, True], kind="stable")
    first = order.groupby(["init", "x"], sort=False).head(1).index
    return groups.assign(best=groups.index.isin(first))


def counted(states: list[Status]) -> str:
    """Such as "2 done, 1 diverged"."""
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))


def picked(grid: Grid, chart: alt.Chart) -> alt.Chart:
    """The chart with the inits and the setting that the page's controls choose."""
    setting = {"setting": BEST} if settings_of(grid) else {}
    return chosen(chart, init=inits_of(grid), **setting)


def ceiling(losses: pd.Series, plateau: float) -> float:
    """Bits up to which a loss axis goes: all of the runs that train, and the unigram plateau."""
    highest = max([plateau, *losses.dropna()], default=12.0)
    return 1.02 * (12.0 if math.isnan(highest) else highest)
