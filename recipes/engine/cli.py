"""Command line of the engine: run, status, report."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from . import live
from .cell import FAILED, cell_of, status, train_command
from .engine import run_grid
from .errors import CellInterrupted, GridError, nearest
from .grid import Grid, claim, load, points
from .launch import Cluster


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line and name the nearest flag."""

    def error(self, message: str) -> NoReturn:
        if message.startswith("unrecognized arguments: "):
            flag = message.split(": ", 1)[1].split()[0]
            message = f"unknown {flag}{nearest(flag, self._option_string_actions)}; see --help"
        raise GridError(message)


def parser() -> Parser:
    top = Parser(
        prog="python -m recipes.engine",
        description="Run a grid of fairseq trainings, stop it, continue it, look at it.",
        allow_abbrev=False,
    )
    commands = top.add_subparsers(dest="command", required=True, parser_class=Parser)
    run = commands.add_parser(
        "run",
        help="run what is missing of a grid",
        description="Run every cell of a grid that has no result yet. "
        "fairseq-train flags shared by all cells follow after --.",
        allow_abbrev=False,
    )
    add = run.add_argument
    add("--out", type=Path, required=True, help="folder of the grid")
    add("--data", help="folder with data-bin/ and raw/, as data_prep leaves it")
    add(
        "--axis",
        action="append",
        default=[],
        metavar="NAME=V1,V2",
        help="lr, beta1, beta2, "
        "momentum, init, warmup (updates), seed, depth (layers), or any fairseq-train flag",
    )
    add(
        "--init",
        action="append",
        default=[],
        metavar="NAME=FLAGS",
        help="fairseq-train flags that a value of the axis init stands for",
    )
    add("--generate-flags", default="--beam 5", metavar="FLAGS", help="of fairseq-generate")
    add("--average", type=int, default=0, metavar="N", help="average the last N checkpoints")
    add(
        "--checkpoint",
        choices=("last", "best"),
        default="last",
        help="which one to decode without --average",
    )
    add("--subset", default="test", help="split to decode and score (default: test)")
    add("--reference", default="", metavar="FILE", help="default: DATA/raw/SUBSET.TARGET")
    add("--tokenized", action="store_true", help="also tokenized lower-cased BLEU")
    add("--cluster", choices=("local", "slurm", "debug"), default="local")
    add("--jobs", type=int, default=1, metavar="N", help="cells at a time (default: 1)")
    add(
        "--gpus",
        type=int,
        default=0,
        metavar="N",
        help="local: GPUs shared out over the jobs; slurm: GPUs of a job",
    )
    add("--partition", default="", help="slurm")
    add("--minutes", type=int, default=60, help="slurm: time limit of a cell")
    add("--cpus", type=int, default=1, help="slurm: cores of a cell")
    add(
        "--setup",
        action="append",
        default=[],
        metavar="LINE",
        help="slurm: shell line to run before the job, such as the activation of an environment",
    )
    add(
        "--early-stop",
        type=int,
        default=0,
        metavar="UPDATE",
        help="from this update on, end a "
        "run whose valid loss is not below the unigram plateau (default: never)",
    )
    add("--keep-checkpoints", action="store_true", help="do not delete them after scoring")
    add(
        "--cell-seconds",
        type=float,
        default=0.0,
        metavar="S",
        help="for the estimate of --dry-run, until a cell has finished",
    )
    add("--dry-run", action="store_true", help="print cells, commands and an estimate; run nothing")
    add("flags", nargs="*", metavar="-- FAIRSEQ-TRAIN FLAGS", help="shared by all cells")
    show = commands.add_parser("status", help="one line per cell", allow_abbrev=False)
    show.add_argument("out", type=Path, help="folder of the grid")
    overview = commands.add_parser(
        "overview", help="a table on the terminal and one picture", allow_abbrev=False
    )
    overview.add_argument("out", type=Path, help="folder of the grid")
    overview.add_argument("--to", type=Path, help="the PNG (default: OUT/overview.png)")
    report = commands.add_parser("report", help="tables, figures, report.html", allow_abbrev=False)
    report.add_argument("out", type=Path, help="folder of the grid")
    report.add_argument("--to", type=Path, help="folder of the report (default: OUT/report)")
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code. Bad input is one line on stderr."""
    try:
        args = parser().parse_args(arguments)
        if args.command == "run":
            return _run(args)
        if args.command == "status":
            return _status(args.out)
        # matplotlib takes seconds to import: only what draws does.
        from . import report

        draw = report.overview if args.command == "overview" else report.report
        return draw(args.out, args.to, Console())
    except (GridError, CellInterrupted) as error:
        print(f"recipes.engine: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the same command continues", file=sys.stderr)
        return 130


def grid_of(args: argparse.Namespace) -> Grid:
    """The grid a command line describes; GridError for what cannot be read."""
    if not args.data:
        raise GridError("--data is missing; give the folder data_prep wrote")
    return Grid(
        data=args.data,
        axes={name: values.split(",") for name, values in _pairs("--axis", args.axis).items()},
        inits={name: shlex.split(flags) for name, flags in _pairs("--init", args.init).items()},
        flags=args.flags,
        generate_flags=shlex.split(args.generate_flags),
        average=args.average,
        checkpoint=args.checkpoint,
        subset=args.subset,
        reference=args.reference,
        tokenized=args.tokenized,
    )


def _pairs(flag: str, texts: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise GridError(f"{flag} {text}: no NAME=...; write {flag} NAME=VALUE")
        if name in found:
            raise GridError(f"{flag} {name}: given twice; put all its values into one {flag}")
        found[name] = value
    return found


def _run(args: argparse.Namespace) -> int:
    grid = grid_of(args)
    cells = points(grid)
    if args.dry_run:
        for point in cells:
            print(f"{point.name}: {status(cell_of(args.out, point))[0]}")
            print("  " + shlex.join(train_command(grid, point, cell_of(args.out, point))))
        return 0
    claim(grid, args.out)
    cluster = Cluster(
        args.cluster, args.jobs, args.gpus, args.partition, args.minutes, args.cpus, args.setup
    )
    console = Console()
    with live.shown(args.out, console) as show:
        progress = run_grid(grid, args.out, cluster, show, args.early_stop, args.keep_checkpoints)
    failed = {name: reason for name, (state, reason) in progress.states.items() if state == FAILED}
    for name, reason in failed.items():
        print(f"recipes.engine: {name} failed: {reason}", file=sys.stderr)
    return 1 if failed else 0


def _status(folder: Path) -> int:
    for point in points(load(folder)):
        state, reason = status(cell_of(folder, point))
        print(f"{point.name}\t{state}\t{reason}".rstrip())
    return 0
