"""`python -m recipes.no_warmup`: from a grid of ways to do without warmup to one table of them.

    seeds GRID [--want best,worst,highest]   what has to run for its seeds to be complete, a line a
                                             setting, as the engine's --only takes it
    table GRID --to DIR                      no_warmup.md and no_warmup.json
    insert TABLE PAGE                        TABLE between PAGE's two `<!-- no_warmup -->` marks

Every init is a row. Its best setting has the lowest validation loss, mean over the seeds that have
run, of those that read their source with each of them (of those that train, where none reads).
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from fairseq_gradinit.files import FileError, read_bytes, write_json, write_text

from .engine.cells.cell import Cell
from .engine.cells.errors import GridError, nearest
from .engine.cells.grid import load
from .engine.cells.verdict import SMALL_WORTH
from .engine.showing.results import Results, at, best, coordinates, inits_of, read
from .engine.showing.tables import Table, measured_by, number, setting_text

FACTOR = 4.0  # how far from the best learning rate a user may be
WANTED = ("best", "worst", "highest")
PARAMETERS = re.compile(r"num\. shared model params: ([\d,]+)")
MARK = "<!-- no_warmup -->"


def with_reading(results: Results) -> pd.DataFrame:
    """The grid's settings, and whether with every seed the model `reads`: it trains, and its source
    was worth SMALL_WORTH when last looked at (watch.jsonl)."""
    cells = {cell.name: cell for cell in results.cells}
    states = results.frame.set_index("cell")["status"]
    reads = {
        name: states[name].trains and _worth(cell) >= SMALL_WORTH for name, cell in cells.items()
    }
    return results.groups.assign(
        reads=[all(reads[name] for name in names) for names in results.groups["cells"]]
    )


def _worth(cell: Cell) -> float:
    looks = [look.source_worth for look in cell.read_watch() if look.source_worth is not None]
    return looks[-1] if looks else math.nan


def chosen(groups: pd.DataFrame, axes: list[str]) -> dict[str, pd.Series]:
    """The settings of one row's table line, those of WANTED that there are.

    Args:
        groups: the row's settings, as `with_reading` gives them.
        axes: its coordinates, lr first.

    Returns:
        best, see above; worst: within a factor FACTOR of the best's lr what does not train, else
        what does not read, else the highest validation loss; highest: of those that read, the one
        with the highest lr. {} when nothing trains.
    """
    reading = groups[groups["reads"]]
    top = best(reading if len(reading) else groups)
    if top is None:
        return {}
    found = {"best": top}
    rate = groups["lr"].astype(float) / float(top["lr"])
    same = (groups[axes[1:]] == top[axes[1:]]).all(axis=1)
    near = groups[same & groups["complete"] & rate.between(0.99 / FACTOR, 1.01 * FACTOR)]
    order = near.assign(loss=near["valid_nll"].fillna(math.inf))
    by, ascending = ["trains", "reads", "loss"], [True, True, False]
    found["worst"] = order.sort_values(by, ascending=ascending, kind="stable").iloc[0]
    if len(reading):
        order = reading.assign(rate=reading["lr"].astype(float))
        found["highest"] = order.sort_values(["rate", "valid_nll"], ascending=[False, True]).iloc[0]
    return found


def missing(results: Results, want: list[str]) -> list[str]:
    """The settings of WANTED whose cells are not all in the grid yet, as --only takes them."""
    groups, axes, seeds = (
        with_reading(results),
        coordinates(results.grid),
        results.grid.axes["seed"],
    )
    parts = []
    for init in inits_of(results.grid):
        settings = chosen(groups[groups["init"] == init], axes)
        for one in (settings[name] for name in want if name in settings):
            if one["seeds"] < len(seeds):
                place = " ".join(f"{axis}={one[axis]}" for axis in axes)
                parts.append(f"init={init} {place} seed={','.join(seeds)}")
    return list(dict.fromkeys(parts))


def lines_of(results: Results, baseline: str, inference: dict[str, str]) -> list[dict[str, Any]]:
    """What the table says, a line a row that has results, in grid order.

    Args:
        baseline: the row whose time and parameters the others' are held against.
        inference: what a row's checkpoints need to decode, where that is not stock fairseq alone.
    """
    groups, axes = with_reading(results), coordinates(results.grid)
    costs = {init: _cost(results, init) for init in inits_of(results.grid)}
    base = costs.get(baseline, (math.nan, math.nan))
    lines = []
    for init, (seconds, parameters) in costs.items():
        mine = groups[groups["init"] == init]
        if not mine["complete"].any():
            continue
        found = chosen(mine, axes)
        rates = sorted(set(mine["lr"]), key=float)
        top = found.get("best")
        lines.append({
            "row": init,
            "best": _told(top, axes),
            "worst": _told(found.get("worst"), axes),
            "highest_lr": found["highest"]["lr"] if "highest" in found else None,
            "reads": bool(top is not None and top["reads"]),
            "edge": bool(top is not None and top["lr"] in (rates[0], rates[-1])),
            "time": seconds / base[0],
            "extra_parameters": parameters - base[1],
            "inference": inference.get(init, "stock"),
        })  # fmt: skip
    return lines


def _told(setting: pd.Series | None, axes: list[str]) -> dict[str, Any] | None:
    if setting is None:
        return None
    numbers = ("bleu", "bleu_spread", "chrf", "valid_nll", "valid_nll_spread")
    told = {name: float(setting[name]) for name in numbers}
    shown = [axis for axis in axes if axis == "lr" or setting[axis] != "0"]
    return {
        "at": at(setting, shown),
        "text": setting_text(setting),
        "seeds": int(setting["seeds"]),
        **told,
    }


def _cost(results: Results, init: str) -> tuple[float, float]:
    """Median seconds of the row's runs that went to the last update, and its parameters."""
    frame = results.frame
    whole = frame[(frame["init"] == init) & (frame["updates"] == frame["updates"].max())]
    named = set(whole["cell"])
    cells = [cell for cell in results.cells if cell.name in named]
    found = PARAMETERS.search(cells[0].train_log.read_text(errors="replace")) if cells else None
    parameters = float(found[1].replace(",", "")) if found else math.nan
    return float(whole["train_seconds"].median()), parameters


HEADER = [
    "", "BLEU", "at", f"BLEU at the worst lr within × {FACTOR:g}", "at", "highest lr that trains "
    "and reads", "time", "parameters", "to decode",
]  # fmt: skip


def table_of(lines: list[dict[str, Any]]) -> Table:
    """The lines for reading; the highest BLEU is bold."""
    texts = []
    for one in lines:
        top, worst = one["best"], one["worst"]
        texts.append([
            one["row"],
            (top["text"] + ("" if one["reads"] else " ‡")) if top else "nothing trains",
            (top["at"] + (" †" if one["edge"] else "")) if top else "",
            worst["text"] if worst else "",
            worst["at"] if worst else "",
            one["highest_lr"] or "none",
            f"× {number(one['time'])}" if not math.isnan(one["time"]) else "",
            "" if math.isnan(one["extra_parameters"]) else f"{one['extra_parameters']:+,.0f}",
            one["inference"],
        ])  # fmt: skip
    scores = [one["best"]["bleu"] if one["best"] else -math.inf for one in lines]
    bold = frozenset({(scores.index(max(scores)), 1)}) if lines else frozenset[tuple[int, int]]()
    return Table("", HEADER, texts, (0, 2, 4, 8), bold)


def note(results: Results, baseline: str) -> str:
    """What the table's numbers are."""
    grid = results.grid
    return (
        f"{measured_by(grid, results.frame)}; mean ± sample standard deviation over seeds "
        f"{', '.join(grid.axes['seed'])}. Learning rate and warmup have the lowest validation loss "
        "of those tried; † at the end of the rates tried, ‡ reads its source at none of them. "
        f"Time and parameters: of the whole training, beside {baseline}'s, as the machine was. "
        f"Reads: its source is worth at least {SMALL_WORTH:g} nats per token with every seed run."
    )


def insert(table: Path, page: Path) -> None:
    """Puts the text of `table` between the marks of `page`. Raises: GridError."""
    parts = _text(page).split(MARK)
    if len(parts) != 3:
        raise GridError(f"{page}: found {len(parts) - 1} lines {MARK}; it needs two")
    text = _text(table).strip()
    write_text(page, f"{parts[0]}{MARK}\n\n{text}\n\n{MARK}{parts[2]}")


def _text(path: Path) -> str:
    try:
        return read_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: not UTF-8 ({error.reason}); give a Markdown file") from error


def _compared(folder: Path) -> Results:
    """The results of a grid over ways to start, rates and seeds. Raises: GridError, FileError."""
    axes = load(folder).axes
    missing = [axis for axis in ("init", "lr", "seed") if axis not in axes]
    if missing:
        raise GridError(f"{folder}: has no axis {missing[0]}; give a grid of no_warmup_table.sh")
    return read(folder)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns the exit code. An error is one line."""
    parser = argparse.ArgumentParser(prog="recipes.no_warmup", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    seeds = commands.add_parser("seeds")
    table = commands.add_parser("table")
    for command in (seeds, table):
        command.add_argument("grid", type=Path)
    seeds.add_argument("--want", default=",".join(WANTED))
    table.add_argument("--to", type=Path, required=True)
    table.add_argument("--baseline", default="none")
    table.add_argument("--inference", action="append", default=[], metavar="ROW=TEXT")
    inserting = commands.add_parser("insert")
    inserting.add_argument("table", type=Path)
    inserting.add_argument("page", type=Path)
    args = parser.parse_args(arguments)
    try:
        if args.command == "insert":
            insert(args.table, args.page)
            return 0
        results = _compared(args.grid)
        if args.command == "seeds":
            want = args.want.split(",")
            if not set(want) <= set(WANTED):
                raise GridError(f"--want {args.want}: give some of {','.join(WANTED)}")
            print("\n".join(missing(results, want)))
            return 0
        rows = results.grid.axes["init"]
        if args.baseline not in rows:
            raise GridError(f"--baseline {args.baseline}: no row{nearest(args.baseline, rows)}")
        if not all("=" in text for text in args.inference):
            raise GridError("--inference: write ROW=TEXT")
        inference = dict(text.split("=", 1) for text in args.inference)
        lines = lines_of(results, args.baseline, inference)
        text = f"{table_of(lines).markdown()}\n{note(results, args.baseline)}\n"
        write_json(args.to / "no_warmup.json", lines)
        write_text(args.to / "no_warmup.md", text)
        print(args.to / "no_warmup.md")
    except (GridError, FileError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
