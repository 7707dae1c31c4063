"""What the engine's commands do: run, status, report."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from fairseq_gradinit.files import FileError

from .arguments import cluster_of, grid_of, parse
from .cells.cell import cells_of, status
from .cells.errors import CellInterrupted, GridError
from .cells.grid import load
from .cells.records import Status
from .running.dry_run import dry_run
from .running.engine import run_grid
from .showing import live
from .steps.checks import check, check_inputs


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code. Bad input is one line on stderr."""
    args = None
    try:
        args = parse(arguments)
        if args.command == "run":
            return _run(args)
        if args.command == "status":
            return _status(args.out)
        # What draws takes seconds to import.
        from .showing import report

        return report.report(args.out, args.to, Console())
    except (GridError, FileError, CellInterrupted, OSError) as error:
        # An OSError here is the disk's: full, gone, read-only; its text names the file.
        print(f"recipes.engine: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        others = "; jobs on Slurm go on" if getattr(args, "kind", "") == "slurm" else ""
        print(f"\nstopped; the same command continues{others}", file=sys.stderr)
        return 130


def _run(args: argparse.Namespace) -> int:
    if args.trial_seconds and not args.dry_run:
        raise GridError("--trial-seconds is for --dry-run; give both or neither")
    grid = grid_of(args)
    cells = cells_of(grid, args.out)
    if not args.dry_run or args.trial_seconds:
        check_inputs(grid)
    check(grid)
    if args.dry_run:
        dry_run(grid, cells, args.out, cluster_of(args), args.cell_seconds, args.trial_seconds)
        return 0
    chosen = {n: getattr(args, n) for n in ("early_stop", "keep_checkpoints") if hasattr(args, n)}
    with live.shown(args.out, Console()) as show:
        progress = run_grid(grid, args.out, cluster_of(args), show, **chosen)
    failed = {name: why for name, (state, why) in progress.states.items() if state is Status.FAILED}
    for name, reason in failed.items():
        print(f"recipes.engine: {name} failed: {reason}", file=sys.stderr)
    return 1 if failed else 0


def _status(folder: Path) -> int:
    for cell in cells_of(load(folder), folder):
        state, reason = status(cell)
        print(f"{cell.name}\t{state}\t{reason}".rstrip())
    return 0
