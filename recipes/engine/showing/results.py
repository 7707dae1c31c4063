"""A grid's results as data frames: a line a cell, a line for the seeds of one setting."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd

from ..cells.cell import DIVERGED, RESULTS, cell_of, status
from ..cells.files import read_json
from ..cells.grid import Grid, points

# Axes that say what is compared or repeated, not where in the grid a cell lies.
NOT_COORDINATES = ("init", "seed")
ALL = "all"  # the init of a grid that has no such axis


def coordinates(grid: Grid) -> list[str]:
    """The axes along which cells lie: lr first, then the rest in grid order."""
    axes = [axis for axis in grid.axes if axis not in NOT_COORDINATES]
    return sorted(axes, key=lambda axis: axis != "lr")


def inits_of(grid: Grid) -> list[str]:
    """The inits in grid order."""
    return grid.axes.get("init", [ALL])


def cells_of(grid: Grid, folder: Path) -> pd.DataFrame:
    """All cells of the grid in `folder`, in grid order.

    Returns:
        A line a cell: its axes (text, as given; `init` always), cell (its name), status, reason,
        and of its score: bleu, chrf, tokenized_bleu, valid_nll (of the last validation, bits per
        token), updates (of that validation), plateau (bits per token), signature (sacreBLEU's of
        BLEU), train_seconds, gradinit_seconds, decode_seconds, updates_per_second. A number that
        there is not is NaN; so is a loss that was not finite.
    """
    lines = []
    for point in points(grid):
        cell = cell_of(folder, point)
        state, reason = status(cell)
        score = read_json(cell.score) if state in RESULTS else {}
        lines.append(
            {
                "init": ALL,
                **point.values,
                "cell": point.name,
                "status": state,
                "reason": reason,
                **measured(score),
            }
        )
    return pd.DataFrame(lines)


def measured(score: dict[str, Any]) -> dict[str, Any]:
    """The numbers of a score.json ({}: of a cell without a result)."""
    valid = score["curves"]["valid"] if score else []
    last = valid[-1] if valid else {}
    seconds = score.get("seconds", {})
    return {
        "bleu": _number(score.get("bleu", {}).get("score")),
        "chrf": _number(score.get("chrf", {}).get("score")),
        "tokenized_bleu": _number(score.get("tokenized_bleu", {}).get("score")),
        "valid_nll": _number(last.get("nll")),
        "updates": _number(last.get("update")),
        "plateau": _number(score.get("plateau")),
        "signature": score.get("bleu", {}).get("signature", ""),
        **{f"{name}_seconds": _number(seconds.get(name)) for name in ("train", "gradinit")},
        "decode_seconds": _number(seconds.get("decode")),
        "updates_per_second": _number(score.get("updates_per_second")),
    }


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def over_seeds(grid: Grid, cells: pd.DataFrame) -> pd.DataFrame:
    """The cells that differ by seed only, in grid order.

    Returns:
        A line a setting: init, the coordinates, and
        cells, states: names and statuses, a list each, in the order of the seeds;
        seeds: how many; complete: whether each has a result; trains: whether none diverged;
        bleu, chrf: mean over the seeds, NaN until complete; a diverged one counts with what it got;
        valid_nll: mean over the seeds whose loss is finite, bits per token;
        bleu_spread, chrf_spread, valid_nll_spread: sample standard deviation, NaN below two seeds.
    """
    axes = coordinates(grid)
    lines = []
    for key, group in cells.groupby(["init", *axes], sort=False):
        scored = group["status"].isin(RESULTS)
        line: dict[Any, Any] = dict(zip(["init", *axes], key))
        line |= {
            "cells": list(group["cell"]),
            "states": list(group["status"]),
            "seeds": len(group),
            "complete": bool(scored.all()),
            "trains": bool(scored.all() and (group["status"] != DIVERGED).all()),
        }
        for name in ("bleu", "chrf"):
            line[name] = group[name].mean(skipna=False)
            line[f"{name}_spread"] = group[name].std(ddof=1, skipna=False)
        line["valid_nll"] = group["valid_nll"].mean()
        line["valid_nll_spread"] = group["valid_nll"].std(ddof=1)
        lines.append(line)
    return pd.DataFrame(lines)


def best(groups: pd.DataFrame) -> pd.Series | None:
    """The setting with the lowest validation loss of those that train: never chosen on test.

    Whatever trains is eligible, however low its BLEU. None when nothing trains.
    """
    trained = groups[groups["trains"] & groups["valid_nll"].notna()]
    return None if trained.empty else trained.sort_values("valid_nll", kind="stable").iloc[0]


def best_of(groups: pd.DataFrame) -> dict[str, pd.Series]:
    """The `best` of each init that has one, in grid order."""
    found = {init: best(mine) for init, mine in groups.groupby("init", sort=False)}
    return {str(init): one for init, one in found.items() if one is not None}


def highest_rate(groups: pd.DataFrame) -> str:
    """The highest lr, as the grid spells it, at which every seed trains; "" when there is none."""
    rates = list(groups.loc[groups["trains"], "lr"]) if "lr" in groups else []
    return max(rates, key=float, default="")


def signatures(cells: pd.DataFrame) -> list[str]:
    """sacreBLEU's signatures of all results: one, unless versions were mixed."""
    return sorted(set(cells["signature"]) - {""})


def at(setting: pd.Series, axes: list[str]) -> str:
    """Where a setting lies, such as "lr 4e-3, beta2 0.98"; "" without coordinates."""
    return ", ".join(f"{axis} {setting[axis]}" for axis in axes)
