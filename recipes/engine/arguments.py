"""The engine's command line, and the grid and the cluster that it describes.

The defaults are those of the fields of Grid, Cluster and Worker, which the options are named after.
"""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path
from typing import Any, NoReturn

from .cells import flags as line
from .cells.errors import GridError, nearest
from .cells.grid import Grid
from .running.cluster import Cluster

CORES = len(os.sched_getaffinity(0))


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise GridError(f"{message}; see --help")


def at_least(least: int) -> Any:
    """The type of a whole number from `least` on."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least:
            raise argparse.ArgumentTypeError(f"found {text}; give a whole number from {least} on")
        return number

    return read


# fmt: off
RUN: list[tuple[str, dict[str, Any]]] = [
    ("--out", dict(type=Path, required=True, help="folder of the grid")),
    ("--data", dict(help="folder with data-bin/ and raw/, as data_prep leaves it")),
    ("--axis", dict(action="append", default=[], metavar="NAME=V1,V2", help="lr, beta1, beta2, "
        "momentum, init, warmup (updates), seed, depth (layers), or any fairseq-train flag")),
    ("--init", dict(action="append", default=[], metavar="NAME=FLAGS",
        help="fairseq-train flags that a value of the axis init stands for")),
    ("--only", dict(action="append", default=[], metavar="NAME=V1,V2 ...",
        help="run this part of the product of the axes, as 'init=none lr=1e-3,2e-3'; may be given "
        "again for further parts")),
    ("--generate-flags", dict(metavar="FLAGS", default="--beam 5", help="of fairseq-generate "
        "(default: --beam 5); what DATA's own files say is added: --remove-bpe, --tokenizer")),
    ("--average", dict(type=at_least(0), metavar="N", help="average the last N checkpoints")),
    ("--checkpoint", dict(choices=("last", "best"), help="what to decode without --average")),
    ("--subset", dict(help="split to decode and score (default: test)")),
    ("--reference", dict(metavar="FILE", help="default: DATA/raw/SUBSET.TARGET")),
    ("--tokenized", dict(action="store_true", help="also tokenized lower-cased BLEU")),
    ("--cluster", dict(dest="kind", choices=("local", "slurm", "debug"), default="local")),
    ("--jobs", dict(type=at_least(1), default=CORES, metavar="N",
        help="cells at a time (default: the cores there are)")),
    ("--gpus", dict(type=at_least(0), metavar="N",
        help="local: GPUs shared out over the jobs; slurm: GPUs of a job")),
    ("--partition", dict(help="slurm")),
    ("--minutes", dict(type=at_least(1), help="slurm: time limit of a cell, then requeued")),
    ("--cpus", dict(type=at_least(1), help="slurm: cores of a cell")),
    ("--setup", dict(action="append", metavar="LINE",
        help="slurm: shell line before the job, such as the activation of an environment")),
    ("--early-stop", dict(type=at_least(0), metavar="UPDATE", help="from this update on, end "
        "runs whose valid loss is not below the unigram plateau (default: never)")),
    ("--keep-checkpoints", dict(action="store_true", help="do not delete them after scoring")),
    ("--cell-seconds", dict(type=float, default=0.0, metavar="S",
        help="for the estimate of --dry-run, until a cell has finished")),
    ("--dry-run", dict(action="store_true", default=False,
        help="print cells, commands, an estimate and, for slurm, what would be submitted")),
    ("--trial-seconds", dict(type=at_least(0), default=0, metavar="S",
        help="with --dry-run: train a cell of each init on this machine for so long, to know what "
        "each costs (default: 0, not at all)")),
    ("flags", dict(nargs="*", default=[], metavar="-- FAIRSEQ-TRAIN FLAGS",
        help="shared by all cells")),
]
FOLDER: tuple[str, dict[str, Any]] = ("out", dict(type=Path, help="folder of the grid"))
COMMANDS: dict[str, tuple[str, list[tuple[str, dict[str, Any]]]]] = {
    "run": ("run every cell that has no result yet; fairseq-train flags follow after --", RUN),
    "status": ("a line per cell", [FOLDER]),
    "report": ("tables, figures, report.html", [
        FOLDER, ("--to", dict(type=Path, default=None, help="folder (default: OUT/report)"))]),
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
        command = commands.add_parser(
            name, help=text, description=text, allow_abbrev=False,
            argument_default=argparse.SUPPRESS,
        )  # fmt: skip
        for option, settings in options:
            command.add_argument(option, **settings)
        by_name[name] = command
    args, unknown = top.parse_known_args(arguments)
    if unknown:
        known = by_name[args.command]._option_string_actions
        raise GridError(f"unknown {unknown[0]}{nearest(unknown[0], known)}; see --help")
    return args


def cluster_of(args: argparse.Namespace) -> Cluster:
    """Where the command line wants the cells to run."""
    names = ("kind", "jobs", "gpus", "partition", "minutes", "cpus", "setup")
    return Cluster(**{name: getattr(args, name) for name in names if hasattr(args, name)})


def grid_of(args: argparse.Namespace) -> Grid:
    """The grid that the command line describes."""
    if not hasattr(args, "data"):
        raise GridError("--data is missing; give the folder data_prep wrote")
    names = ("data", "average", "checkpoint", "subset", "reference", "tokenized", "flags")
    grid = Grid(
        axes=_values("--axis", args.axis),
        inits={name: _words("--init", text) for name, text in _pairs("--init", args.init).items()},
        generate_flags=_words("--generate-flags", args.generate_flags),
        only=[_values("--only", text.split()) for text in args.only],
        **{name: getattr(args, name) for name in names if hasattr(args, name)},
    )
    if grid.inits and "init" not in grid.axes:
        name = next(iter(grid.inits))
        raise GridError(f"--init {name}: used by no cell; add --axis init={','.join(grid.inits)}")
    grid.generate_flags.extend(_undoing(grid))
    return grid


def _undoing(grid: Grid) -> list[str]:
    """The fairseq-generate flags that turn tokens into text, as DATA's own files say."""
    data, flags = Path(grid.data), list[str]()
    if not line.given(grid.generate_flags, "--post-process"):
        if (data / "sentencepiece.model").exists():
            flags += ["--remove-bpe", "sentencepiece"]
        elif (data / "bpe.codes").exists():
            flags += ["--remove-bpe"]
    tokenized = (data / "bpe.codes").exists() and (data / "tokenized").is_dir()
    if tokenized and not line.given(grid.generate_flags, "--tokenizer"):
        flags += ["--tokenizer", "moses"]
        flags += ["--source-lang", grid.source, "--target-lang", grid.target]
    return flags


def _words(flag: str, text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise GridError(f"{flag} {text}: {error}; mend the quotes") from error


def _values(flag: str, texts: list[str]) -> dict[str, list[str]]:
    return {name: text.split(",") for name, text in _pairs(flag, texts).items()}


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
