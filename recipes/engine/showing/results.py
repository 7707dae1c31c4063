"""A grid's results as data frames: a line a cell, a line for the seeds of one setting."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd

from fairseq_gradinit.files import FileError, read_json

from ..cells.cell import Cell, cells_of, status
from ..cells.grid import Grid, combinations, load
from ..cells.records import Score

# Axes that say what is compared or repeated, not where in the grid a cell lies.
NOT_COORDINATES = ("init", "seed")
ALL = "all"  # the init of a grid that has no such axis

NUMBERS = [
    "bleu", "chrf", "tokenized_bleu", "valid_nll", "updates", "plateau", "train_seconds",
    "gradinit_seconds", "decode_seconds", "updates_per_second",
]  # fmt: skip


@dataclass(frozen=True)
class Results:
    """What a grid's folder holds, read once.

    Attributes:
        cells: the folders, in grid order.
        frame: a line a cell (`frame_of`).
        groups: a line for the seeds of one setting (`over_seeds`).
    """

    grid: Grid
    cells: list[Cell]
    frame: pd.DataFrame
    groups: pd.DataFrame


def read(folder: Path) -> Results:
    """The results of the grid in `folder`. Raises: GridError, FileError."""
    grid = load(folder)
    cells = cells_of(grid, folder)
    frame = frame_of(cells)
    return Results(grid, cells, frame, over_seeds(grid, frame))


class Card(msgspec.Struct, frozen=True):
    """The part of data_prep's card.json that is shown."""

    corpus: str = ""
    version: str = ""


def corpus_of(grid: Grid) -> str:
    """The name of the corpus and its version, as its data card has them; "" without a card."""
    file = Path(grid.data) / "card.json"
    try:
        card = read_json(file, Card) if file.exists() else Card()
    except FileError:
        return ""  # a file of this name that is not ours: the numbers are no worse for it
    return " ".join(part for part in (card.corpus, card.version) if part)


def coordinates(grid: Grid) -> list[str]:
    """The axes along which cells lie: lr first, then the rest in grid order."""
    axes = [axis for axis in grid.axes if axis not in NOT_COORDINATES]
    return sorted(axes, key=lambda axis: axis != "lr")


def inits_of(grid: Grid) -> list[str]:
    """The inits that have a cell, in grid order."""
    if not grid.only:
        return grid.axes.get("init", [ALL])
    held = {values.get("init", ALL) for values in combinations(grid).values()}
    return [init for init in grid.axes.get("init", [ALL]) if init in held]


def frame_of(cells: Iterable[Cell]) -> pd.DataFrame:
    """The cells, in their order.

    Returns:
        A line a cell: its axes (text, as given; `init` always), cell (its name), status (a Status),
        reason, and of its score: bleu, chrf, tokenized_bleu, valid_nll (of the last validation,
        bits per token), updates (of that validation), plateau (bits per token), signature
        (sacreBLEU's of BLEU), train_seconds, gradinit_seconds, decode_seconds, updates_per_second.
        A number that there is not is NaN; so is a loss that was not finite.
    """
    lines = []
    for cell in cells:
        state, reason = status(cell)
        named = {"cell": cell.name, "status": state, "reason": reason}
        score = measured(cell.read_score()) if state.is_result else measured(None)
        lines.append({"init": ALL, **cell.values, **named, **score})
    return pd.DataFrame(lines)


def measured(score: Score | None) -> dict[str, Any]:
    """The numbers of a score, NaN each for None."""
    if score is None:
        return {**dict.fromkeys(NUMBERS, math.nan), "signature": ""}
    last, seconds, tokenized = score.curves.last, score.seconds, score.tokenized_bleu
    found: list[Any] = [
        score.bleu.score, score.chrf.score, tokenized and tokenized.score, last and last.nll,
        last and last.update, score.plateau, seconds.train, seconds.gradinit, seconds.decode,
        score.updates_per_second,
    ]  # fmt: skip
    numbers = [math.nan if value is None else float(value) for value in found]
    return {**dict(zip(NUMBERS, numbers, strict=True)), "signature": score.bleu.signature}


def over_seeds(grid: Grid, frame: pd.DataFrame) -> pd.DataFrame:
    """The cells that differ by seed only, in grid order.

    Returns:
        A line a setting: init, the coordinates, and
        cells, states: names and statuses, a list each, in the order of the seeds;
        seeds: how many; complete: whether each has a result; trains: whether each trains;
        bleu, chrf: mean over the seeds, NaN until complete; a diverged one counts with what it got;
        valid_nll: mean over the seeds whose loss is finite, bits per token;
        bleu_spread, chrf_spread, valid_nll_spread: sample standard deviation, NaN below two seeds.
    """
    axes = coordinates(grid)
    lines = []
    for key, group in frame.groupby(["init", *axes], sort=False):
        states = list(group["status"])
        complete = all(state.is_result for state in states)
        line: dict[Any, Any] = dict(zip(["init", *axes], key))
        line |= {
            "cells": list(group["cell"]),
            "states": states,
            "seeds": len(group),
            "complete": complete,
            "trains": all(state.trains for state in states),
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


def signatures(frame: pd.DataFrame) -> list[str]:
    """sacreBLEU's signatures of all results: one, unless versions were mixed."""
    return sorted(set(frame["signature"]) - {""})


def at(setting: pd.Series, axes: list[str]) -> str:
    """Where a setting lies, such as "lr 4e-3, beta2 0.98"; "" without coordinates."""
    return ", ".join(f"{axis} {setting[axis]}" for axis in axes)
