"""The options of a recipe, read once and printed as variables for its shell.

`python -m recipes.options RECIPE "NAME=DEFAULT …" OPTION…`: the second argument holds the recipe's
own options, `NAME=A|B` where only A (the default) and B will do. Needs no package, so that it can
say which are missing.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).parents[1]
# The engine reads and checks these itself; only what is given is passed on.
ENGINE = ("jobs", "cluster", "gpus", "partition", "minutes", "cpus", "early-stop", "trial-seconds")
NEEDED = ("fairseq", "msgspec", "rich")


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        sys.exit(f"error: {message}; see --help")


def main(recipe: str, own: str, *arguments: str) -> str:
    """The shell text that sets what the recipe was given. Exits with one line for bad options."""
    parser = Parser(prog=recipe, add_help=False, allow_abbrev=False, usage=argparse.SUPPRESS)
    parser.add_argument("-h", "--help", action="store_true")
    for name in ("out", "data", "raw-dir"):
        parser.add_argument(f"--{name}", default="")
    grid = "grid" in own.split()
    for name in ENGINE if grid else ():
        parser.add_argument(f"--{name}")
    if grid:
        parser.add_argument("--dry-run", action="store_const", const="yes", default="")
    for word in own.split():
        name, equals, values = word.partition("=")
        if equals:
            choices = values.split("|") if "|" in values else None
            default = choices[0] if choices else values
            parser.add_argument(f"--{name}", choices=choices, default=default)
    args = parser.parse_args(arguments)
    if args.help:
        return f"sed -n '2,/^$/s/^# \\{{0,1\\}}//p' {shlex.quote(recipe)}; exit 0"
    _check(args)
    given = {key.upper(): value for key, value in vars(args).items() if key != "help"}
    passed = []
    for name in ENGINE if grid else ():
        value = given.pop(name.replace("-", "_").upper())
        passed += [f"--{name}", value] if value is not None else []
    given["OUT"], given["OWN_DATA"] = _folder(args.out), "" if args.data else "yes"
    given["DATA"] = _folder(args.data or f"{args.out}/data")
    given["RAW_DIR"] = args.raw_dir and str(Path(args.raw_dir).resolve())
    lines = [f"{name}={shlex.quote(value)}" for name, value in given.items()]
    return "\n".join([*lines, f"PASSED=({shlex.join(passed)})"])


def _check(args: argparse.Namespace) -> None:
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        sys.exit(
            f"error: PYTHON={sys.executable}: lacks {', '.join(missing)}; run make install, or "
            "give PYTHON=/path/to/python"
        )
    if not args.out:
        sys.exit("error: --out DIR is missing: where should the result go?")
    if getattr(args, "trial_seconds", None) and not args.dry_run:
        sys.exit("error: --trial-seconds is for --dry-run; give both or neither")
    if args.data and args.raw_dir:
        sys.exit("error: --raw-dir is for a corpus still to be prepared; drop it or --data")
    if args.data and not Path(args.data, "data-bin").is_dir():
        sys.exit(f"error: --data {args.data}: holds no data-bin; give a folder data_prep wrote")
    out = Path(args.out).resolve()
    if ROOT.is_relative_to(out):
        sys.exit(f"error: --out {args.out}: holds this repository; give a folder of its own")
    if args.data and out.is_relative_to(Path(args.data).resolve()):
        sys.exit(f"error: --out {args.out}: lies in --data, which is only read; give another")
    if args.raw_dir and not Path(args.raw_dir).is_dir():
        sys.exit(f"error: --raw-dir {args.raw_dir}: no such folder")


def _folder(name: str) -> str:
    """The path from the repository's root where it lies below it, so that it can be moved."""
    path = os.path.realpath(name)
    return os.path.relpath(path, ROOT) if Path(path).is_relative_to(ROOT) else path


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
