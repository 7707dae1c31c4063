"""What came out of a grid, in sentences: who is ahead, by how much, and how far to believe it."""

from __future__ import annotations

import math

import pandas as pd

from ..cells.grid import Grid
from ..cells.records import Status
from .results import Results, at, best_of, coordinates, inits_of
from .significance import Comparison
from .tables import spread

LEVEL = 0.05  # of a p-value: above it a difference may be chance


def sentences(results: Results, comparisons: list[Comparison]) -> list[str]:
    """The finding first, then what limits it."""
    grid, groups = results.grid, results.groups
    chosen = best_of(groups)
    ranked = sorted(chosen.values(), key=lambda one: -one["bleu"])
    found = [_headline(grid, ranked, comparisons)]
    found += [_not_trained(groups, init) for init in inits_of(grid) if init not in chosen]
    return [*found, *_limits(results, ranked)]


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
        verdict = f"{first['init']} is {gap:.2f} {measure} above {second['init']}, which may be "
        verdict += f"chance (p = {p:.2f} {over})"
    else:
        tested = f"p = {p:.3f} {over}" if p >= 0.001 else f"p < 0.001 {over}"
        verdict = f"{first['init']} leads {second['init']} by {gap:.2f} {measure} "
        verdict += f"({'untested' if math.isnan(p) else tested})"
    named = ", ".join(_named(grid, one) for one in ranked)
    return f"{verdict}, each at its lowest validation loss: {named}."


def _named(grid: Grid, one: pd.Series) -> str:
    text = f"{one['init']} {spread(one['bleu'], one['bleu_spread'])}"
    notes = [at(one, coordinates(grid))] if coordinates(grid) else []
    notes += [state for state in dict.fromkeys(one["states"]) if state != Status.DONE]
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


def _limits(results: Results, ranked: list[pd.Series]) -> list[str]:
    found, grid = [], results.grid
    states = list(results.frame["status"])
    missing = sum(not state.is_result for state in states)
    if missing:
        found.append(f"{missing} of {len(states)} cells have no result.")
    if len(grid.axes.get("seed", [""])) == 1:
        found.append("One seed: nothing here says how much another seed would change.")
    rates = grid.axes.get("lr", [])
    if len(rates) < 2:
        found.append("One learning rate an init: whether another is better, this grid cannot say.")
        return found
    ends = {min(rates, key=float): "lowest", max(rates, key=float): "highest"}
    for one in ranked:
        if one["lr"] in ends:
            found.append(
                f"{one['init']} is best at the {ends[one['lr']]} learning rate tried: "
                "a better one may lie beyond."
            )
    return found
