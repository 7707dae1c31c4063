"""What came out of a grid, in sentences: who is ahead, by how much, and how far to believe it."""

from __future__ import annotations

import math

import pandas as pd

from ..cells.cell import DONE, RESULTS
from ..cells.grid import Grid
from .results import at, best_of, coordinates, inits_of
from .significance import Comparison
from .tables import spread

LEVEL = 0.05  # of a p-value: above it two inits are called level


def sentences(
    grid: Grid, cells: pd.DataFrame, groups: pd.DataFrame, comparisons: list[Comparison]
) -> list[str]:
    """The finding first, then what limits it."""
    chosen = best_of(groups)
    ranked = sorted(chosen.values(), key=lambda one: -one["bleu"])
    found = [_headline(grid, ranked, comparisons)]
    found += [_not_trained(groups, init) for init in inits_of(grid) if init not in chosen]
    return [*found, *_limits(grid, cells, ranked)]


def _headline(grid: Grid, ranked: list[pd.Series], comparisons: list[Comparison]) -> str:
    """Who is ahead, of the inits in order of BLEU, and what each has."""
    measure = f"BLEU on {grid.subset}"
    if not ranked:
        return "No run of this grid trains."
    if len(ranked) == 1:
        return f"{_named(grid, ranked[0])} {measure}."
    (first, second), gap = ranked[:2], ranked[0]["bleu"] - ranked[1]["bleu"]
    p, over = _p(first["init"], second["init"], comparisons)
    if p > LEVEL:
        verdict = (
            f"{first['init']} and {second['init']} are level in {measure} (p = {p:.2f} {over})"
        )
    else:
        tested = f"p = {p:.3f} {over}" if p >= 0.001 else f"p < 0.001 {over}"
        verdict = f"{first['init']} leads {second['init']} by {gap:.2f} {measure} "
        verdict += f"({'untested' if math.isnan(p) else tested})"
    named = ", ".join(_named(grid, one) for one in ranked)
    return f"{verdict}, each at its lowest validation loss: {named}."


def _named(grid: Grid, one: pd.Series) -> str:
    text = f"{one['init']} {spread(one['bleu'], one['bleu_spread'])}"
    notes = [at(one, coordinates(grid))] if coordinates(grid) else []
    notes += [state for state in dict.fromkeys(one["states"]) if state != DONE]
    return f"{text} ({'; '.join(notes)})" if notes else text


def _p(first: str, second: str, comparisons: list[Comparison]) -> tuple[float, str]:
    """p-value of the two at their best: over seeds where there are some, else over sentences."""
    for one in comparisons:
        if one.what == "best cells" and {one.first, one.second} == {first, second}:
            if not math.isnan(one.p_seeds):
                return one.p_seeds, f"over {one.seeds} seeds"
            return one.p, "over sentences, one seed"
    return math.nan, ""


def _not_trained(groups: pd.DataFrame, init: str) -> str:
    states = [state for states in groups.loc[groups["init"] == init, "states"] for state in states]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    return f"{init} trains with every seed at no setting of this grid ({counts})."


def _limits(grid: Grid, cells: pd.DataFrame, ranked: list[pd.Series]) -> list[str]:
    found = []
    missing = int((~cells["status"].isin(RESULTS)).sum())
    if missing:
        found.append(f"{missing} of {len(cells)} cells have no result.")
    if len(grid.axes.get("seed", [""])) == 1:
        found.append("One seed: nothing here says how much another seed would change.")
    rates = grid.axes.get("lr", [])
    if len(rates) < 2:
        found.append("Each init has one learning rate here: none is tuned.")
        return found
    ends = {min(rates, key=float): "lowest", max(rates, key=float): "highest"}
    for one in ranked:
        if one["lr"] in ends:
            found.append(
                f"{one['init']} is best at the {ends[one['lr']]} learning rate tried: "
                "a better one may lie beyond."
            )
    return found
