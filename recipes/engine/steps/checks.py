"""What would stop every cell, found before the first second of work.

`python -m recipes.engine.steps.checks` reads command lines and prints what fairseq's own parser
finds wrong with the first bad one: that parser depends on --arch, --task, --optimizer and
--user-dir, and takes seconds to import, once for all lines.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import fairseq_gradinit

from ..cells import flags as line
from ..cells.errors import GridError, nearest
from ..cells.grid import KNOWN_AXES, Grid, combinations, train_flags
from ..cells.logs import why
from ..cells.metrics import bleu
from . import process

USER_DIR = Path(fairseq_gradinit.__file__).parent


def check(grid: Grid) -> None:
    """Raise GridError for the first argument that cannot work: axes, flags, languages."""
    lines: list[tuple[str, list[str]]] = []
    seen: set[tuple[str, str]] = set()
    for values in combinations(grid).values():
        # The grid itself knows what its own axes take; a value of any other is fairseq's to judge.
        new = {(axis, value) for axis, value in values.items()
               if axis == "init" or axis not in KNOWN_AXES} - seen  # fmt: skip
        if new or not lines:
            where = f"init {values['init']}: " if "init" in values else ""
            lines.append((where, train_flags(grid, values)))
            seen |= new
    bleu(grid.target)
    for where, flags in lines:
        user_dir = line.value(flags, "--user-dir")
        if user_dir and not Path(user_dir).is_dir():
            raise GridError(f"{where}--user-dir {user_dir}: no such folder; give its full path")
    generate = [*(["--user-dir", user_dir] if user_dir else []), *grid.generate_flags]
    asked = [*lines, ("", ["--path", "CHECKPOINT", *generate])]
    result = subprocess.run(
        process.ours("steps.checks"), input=json.dumps(asked),
        env={**os.environ, **process.path()}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if result.returncode != 0:
        raise GridError(result.stdout.strip() or why(result.stderr) or "fairseq cannot be started")


def check_inputs(grid: Grid) -> None:
    """Raise GridError for data that every cell would trip over."""
    for language in (grid.source, grid.target):
        dictionary = grid.data_bin / f"dict.{language}.txt"
        if not dictionary.exists():
            raise GridError(f"--data {grid.data}: {dictionary} is missing; run data_prep first")
    if not grid.reference_path.exists():
        raise GridError(f"{grid.reference_path}: reference missing; give --reference FILE")


def problem(flags: list[str]) -> str:
    """What fairseq finds wrong with `flags`, on one line, "" for nothing.

    With --path they are fairseq-generate's, else fairseq-train's.
    """
    from fairseq import options

    decodes = line.given(flags, "--path")
    program = "fairseq-generate" if decodes else "fairseq-train"
    said = io.StringIO()
    sys.argv = [program, *flags]  # where fairseq looks for --user-dir
    try:
        with contextlib.redirect_stderr(said):
            make = options.get_generation_parser if decodes else options.get_training_parser
            parser = make()
            found, unknown = options.parse_args_and_arch(parser, ["DATA", *flags], parse_known=True)
    except SystemExit:  # argparse's way of refusing a value
        return said.getvalue().strip().splitlines()[-1].split("error: ", 1)[-1]
    except Exception as error:  # a user-dir's or fairseq's own: whatever it is, it is one line
        return f"{program}: {type(error).__name__}: {' '.join(str(error).split())}"
    unknown = [flag for flag in unknown if flag.startswith("-")]
    if unknown and unknown[0].startswith("--gradinit") and not line.given(flags, "--user-dir"):
        return f"{program} has no {unknown[0]}; add --user-dir {USER_DIR}"
    if unknown:
        axes = [f"--{axis}" for axis in KNOWN_AXES]  # an axis mistyped is passed on as a flag
        known = [*axes, *(name for name in parser._option_string_actions if name[:2] == "--")]
        return f"{program} has no {unknown[0]}{nearest(unknown[0].partition('=')[0], known)}"
    if decodes:
        return ""
    if found.max_tokens is None and found.batch_size is None:
        return f"{program}: neither --max-tokens nor --batch-size is given; add --max-tokens N"
    return "" if found.lr else f"{program}: --lr is empty; give --lr X"


def _ask_all() -> int:
    """Print the first problem of the lines on stdin. Each is judged by a process of its own,
    forked when fairseq is loaded, since a --user-dir changes what fairseq knows."""
    from fairseq import options  # noqa: F401

    for where, flags in json.load(sys.stdin):
        child = os.fork()
        if child == 0:
            found = problem(flags)
            if found:
                print(where + found, flush=True)
            os._exit(bool(found))
        if os.waitpid(child, 0)[1] != 0:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(_ask_all())
