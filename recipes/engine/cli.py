"""What the engine's commands do: run, status, report."""

from __future__ import annotations

import argparse
import shlex
import statistics
import sys
from pathlib import Path

from rich.console import Console

from .arguments import grid_of, parse
from .cells.cell import FAILED, RESULTS, cell_of, status, train_command
from .cells.errors import CellInterrupted, GridError
from .cells.files import read_json
from .cells.grid import Grid, Point, claim, load, points
from .running.cluster import Cluster
from .running.engine import run_grid
from .showing import live
from .steps import flags


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code. Bad input is one line on stderr."""
    try:
        args = parse(arguments)
        if args.command == "run":
            return _run(args)
        if args.command == "status":
            return _status(args.out)
        # matplotlib takes seconds to import: only what draws does.
        from .showing import report

        return report.report(args.out, args.to, Console())
    except (GridError, CellInterrupted, OSError) as error:
        # An OSError here is the disk's: full, gone, read-only; its text names the file.
        print(f"recipes.engine: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the same command continues", file=sys.stderr)
        return 130


def _run(args: argparse.Namespace) -> int:
    grid = grid_of(args)
    cells = points(grid)
    flags.check(grid, cells)
    if args.dry_run:
        return _dry_run(grid, cells, args)
    _check_inputs(grid)
    claim(grid, args.out)
    cluster = Cluster(
        args.cluster, args.jobs, args.gpus, args.partition, args.minutes, args.cpus, args.setup
    )
    with live.shown(args.out, Console()) as show:
        progress = run_grid(grid, args.out, cluster, show, args.early_stop, args.keep_checkpoints)
    failed = {name: reason for name, (state, reason) in progress.states.items() if state == FAILED}
    for name, reason in failed.items():
        print(f"recipes.engine: {name} failed: {reason}", file=sys.stderr)
    return 1 if failed else 0


def _check_inputs(grid: Grid) -> None:
    """Raise GridError for data that every cell would trip over."""
    dictionary = grid.data_bin / f"dict.{grid.target}.txt"
    if not dictionary.exists():
        raise GridError(f"--data {grid.data}: {dictionary} is missing; run data_prep first")
    if not grid.reference_path.exists():
        raise GridError(f"{grid.reference_path}: reference missing; give --reference FILE")


def _dry_run(grid: Grid, cells: list[Point], args: argparse.Namespace) -> int:
    """Print every cell, its status and its command, and how long the missing ones may take."""
    seconds: dict[str, list[float]] = {}
    missing = []
    for point in cells:
        cell = cell_of(args.out, point)
        state = status(cell)[0]
        print(f"{point.name}: {state}\n  {shlex.join(train_command(grid, point, cell))}")
        if state in RESULTS:
            spent = read_json(cell.score)["seconds"]
            total = (spent["train"] or 0) + (spent["decode"] or 0)
            seconds.setdefault(point.values.get("init", ""), []).append(total)
        else:
            missing.append(point)
    known = [value for values in seconds.values() for value in values] or [args.cell_seconds]
    total = sum(statistics.fmean(seconds.get(p.values.get("init", ""), known)) for p in missing)
    text = f"about {total / args.jobs / 60:.0f} min with --jobs {args.jobs}"
    if not any(known):
        text = "time unknown: give --cell-seconds, or run a cell first"
    print(f"{len(cells)} cells, {len(missing)} to run; {text if missing else 'nothing to do'}")
    return 0


def _status(folder: Path) -> int:
    for point in points(load(folder)):
        state, reason = status(cell_of(folder, point))
        print(f"{point.name}\t{state}\t{reason}".rstrip())
    return 0
