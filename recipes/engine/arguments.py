"""The engine's command line, and the grid that it describes."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any, NoReturn

from .cells.errors import GridError, nearest
from .cells.grid import Grid


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise GridError(f"{message}; see --help")


# fmt: off
RUN = [
    ("--out", dict(type=Path, required=True, help="folder of the grid")),
    ("--data", dict(help="folder with data-bin/ and raw/, as data_prep leaves it")),
    ("--axis", dict(action="append", default=[], metavar="NAME=V1,V2", help="lr, beta1, beta2, "
        "momentum, init, warmup (updates), seed, depth (layers), or any fairseq-train flag")),
    ("--init", dict(action="append", default=[], metavar="NAME=FLAGS",
        help="fairseq-train flags that a value of the axis init stands for")),
    ("--generate-flags", dict(metavar="FLAGS", default="--beam 5",
        help="of fairseq-generate (default: --beam 5)")),
    ("--average", dict(type=int, default=0, metavar="N", help="average the last N checkpoints")),
    ("--checkpoint", dict(choices=("last", "best"), default="last",
        help="what to decode without --average")),
    ("--subset", dict(default="test", help="split to decode and score (default: test)")),
    ("--reference", dict(metavar="FILE", default="", help="default: DATA/raw/SUBSET.TARGET")),
    ("--tokenized", dict(action="store_true",
        help="also tokenized lower-cased BLEU")),
    ("--cluster", dict(choices=("local", "slurm", "debug"), default="local")),
    ("--jobs", dict(type=int, default=1, metavar="N", help="cells at a time (default: 1)")),
    ("--gpus", dict(type=int, default=0, metavar="N",
        help="local: GPUs shared out over the jobs; slurm: GPUs of a job")),
    ("--partition", dict(default="", help="slurm")),
    ("--minutes", dict(type=int, default=60, help="slurm: time limit of a cell, then requeued")),
    ("--cpus", dict(type=int, default=1, help="slurm: cores of a cell")),
    ("--setup", dict(action="append", default=[], metavar="LINE",
        help="slurm: shell line before the job, such as the activation of an environment")),
    ("--early-stop", dict(type=int, default=0, metavar="UPDATE", help="from this update on, end "
        "runs whose valid loss is not below the unigram plateau (default: never)")),
    ("--keep-checkpoints", dict(action="store_true", help="do not delete them after scoring")),
    ("--cell-seconds", dict(type=float, default=0.0, metavar="S",
        help="for the estimate of --dry-run, until a cell has finished")),
    ("--dry-run", dict(action="store_true", help="print cells, commands and an estimate")),
    ("flags", dict(nargs="*", metavar="-- FAIRSEQ-TRAIN FLAGS", help="shared by all cells")),
]
FOLDER = ("out", dict(type=Path, help="folder of the grid"))
COMMANDS: dict[str, tuple[str, list[tuple[str, dict[str, Any]]]]] = {
    "run": ("run every cell that has no result yet; fairseq-train flags follow after --", RUN),
    "status": ("a line per cell", [FOLDER]),
    "report": ("tables, figures, report.html", [
        FOLDER, ("--to", dict(type=Path, help="folder (default: OUT/report)"))]),
}
# fmt: on


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line; GridError, with the nearest flag, for what is not known."""
    top = Parser(
        prog="python -m recipes.engine",
        description="Run a grid of fairseq trainings, stop it, continue it, look at it.",
        allow_abbrev=False,
    )
    commands = top.add_subparsers(dest="command", required=True, parser_class=Parser)
    by_name = {}
    for name, (text, options) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        for option, settings in options:
            command.add_argument(option, **settings)
        by_name[name] = command
    args, unknown = top.parse_known_args(arguments)
    if unknown:
        known = by_name[args.command]._option_string_actions
        raise GridError(f"unknown {unknown[0]}{nearest(unknown[0], known)}; see --help")
    for name in ("jobs", "minutes", "cpus"):
        if getattr(args, name, 1) < 1:
            raise GridError(f"--{name} {getattr(args, name)}: give 1 or more")
    for name in ("gpus", "early_stop", "average"):
        if (getattr(args, name, 0) or 0) < 0:
            raise GridError(f"--{name.replace('_', '-')} {getattr(args, name)}: give 0 or more")
    return args


def grid_of(args: argparse.Namespace) -> Grid:
    """The grid that the command line describes."""
    if not args.data:
        raise GridError("--data is missing; give the folder data_prep wrote")
    given: dict[str, Any] = {
        "axes": {name: text.split(",") for name, text in _pairs("--axis", args.axis).items()},
        "inits": {
            name: _words("--init", text) for name, text in _pairs("--init", args.init).items()
        },
        "flags": args.flags,
        "generate_flags": _words("--generate-flags", args.generate_flags),
    }
    for name in ("data", "average", "checkpoint", "subset", "reference", "tokenized"):
        given[name] = getattr(args, name)
    return Grid(**given)


def _words(flag: str, text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise GridError(f"{flag} {text}: {error}; mend the quotes") from error


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
