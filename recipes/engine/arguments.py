"""The engine's command line, and the grid that it or a grid file describes."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
from pathlib import Path
from typing import Any, NoReturn

from .errors import GridError, nearest
from .grid import Grid


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise GridError(f"{message}; see --help")


# fmt: off
RUN = [
    ("--out", dict(type=Path, required=True, help="folder of the grid")),
    ("--grid", dict(type=Path, metavar="FILE", help="YAML or JSON with data, axes, inits, flags, "
        "generate_flags, …; this command line has the last word")),
    ("--data", dict(help="folder with data-bin/ and raw/, as data_prep leaves it")),
    ("--axis", dict(action="append", default=[], metavar="NAME=V1,V2", help="lr, beta1, beta2, "
        "momentum, init, warmup (updates), seed, depth (layers), or any fairseq-train flag")),
    ("--init", dict(action="append", default=[], metavar="NAME=FLAGS",
        help="fairseq-train flags that a value of the axis init stands for")),
    ("--generate-flags", dict(metavar="FLAGS", help="of fairseq-generate (default: --beam 5)")),
    ("--average", dict(type=int, metavar="N", help="average the last N checkpoints")),
    ("--checkpoint", dict(choices=("last", "best"), help="what to decode without --average")),
    ("--subset", dict(help="split to decode and score (default: test)")),
    ("--reference", dict(metavar="FILE", help="default: DATA/raw/SUBSET.TARGET")),
    ("--tokenized", dict(action="store_true", default=None,
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
    "overview": ("a table on the terminal and one picture", [
        FOLDER, ("--to", dict(type=Path, help="the PNG (default: OUT/overview.png)"))]),
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
    """The grid that the command line describes, over what the grid file says."""
    given: dict[str, Any] = _grid_file(args.grid) if args.grid else {}
    axes = {name: values.split(",") for name, values in _pairs("--axis", args.axis).items()}
    inits = {name: _words("--init", text) for name, text in _pairs("--init", args.init).items()}
    given["axes"] = {**given.get("axes", {}), **axes}
    given["inits"] = {**given.get("inits", {}), **inits}
    given["flags"] = [*given.get("flags", []), *args.flags]
    if args.generate_flags is not None:
        given["generate_flags"] = _words("--generate-flags", args.generate_flags)
    for name in ("data", "average", "checkpoint", "subset", "reference", "tokenized"):
        if getattr(args, name) is not None:
            given[name] = getattr(args, name)
    if not given.get("data"):
        raise GridError("--data is missing; give the folder data_prep wrote")
    given.setdefault("generate_flags", ["--beam", "5"])
    if given.get("checkpoint", "last") not in ("last", "best"):
        raise GridError(f"checkpoint: {given['checkpoint']} is not last or best")
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


def _grid_file(file: Path) -> dict[str, Any]:
    """The fields of Grid in a YAML or JSON file; flags may be one text or a list."""
    import yaml  # comes with fairseq's omegaconf

    try:
        # BaseLoader leaves every value text: 1e-3 is passed on as it was written.
        content = yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    except OSError as error:
        raise GridError(f"--grid {file}: cannot read ({error.strerror})") from error
    except yaml.YAMLError as error:
        raise GridError(f"--grid {file}: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise GridError(f"--grid {file}: found {type(content).__name__}; write key: value lines")
    known = [field.name for field in dataclasses.fields(Grid)]
    for key, value in content.items():
        if key not in known:
            raise GridError(f"--grid {file}: unknown key {key}{nearest(key, known)}")
        if key in ("axes", "inits") and not isinstance(value, dict):
            raise GridError(f"--grid {file}: {key} must be NAME: VALUE lines")
    for key in ("flags", "generate_flags"):
        if isinstance(content.get(key), str):
            content[key] = _words(key, content[key])
    content["axes"] = {
        name: values if isinstance(values, list) else values.split(",")
        for name, values in content.get("axes", {}).items()
    }
    content["inits"] = {
        name: flags if isinstance(flags, list) else _words(name, flags)
        for name, flags in content.get("inits", {}).items()
    }
    if "average" in content:
        if not content["average"].isdigit():
            raise GridError(f"--grid {file}: average: {content['average']} is not a number")
        content["average"] = int(content["average"])
    if "tokenized" in content:
        content["tokenized"] = content["tokenized"].lower() == "true"
    return content
