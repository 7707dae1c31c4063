"""What would stop every cell, found before the first second of work.

`python -m recipes.engine.steps.checks` reads command lines and prints what fairseq's own parser
finds wrong with each: that parser depends on --arch, --task, --optimizer and --user-dir, and takes
seconds to import, once for all lines.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import fairseq_gradinit
from fairseq_gradinit.files import parse_json

from ..cells import flags as line
from ..cells.errors import GridError, nearest
from ..cells.grid import KNOWN_AXES, Grid, combinations, train_flags
from ..cells.logs import why
from ..cells.metrics import bleu
from . import process

USER_DIR = Path(fairseq_gradinit.__file__).parent


def check(grid: Grid) -> None:
    """Raise GridError for the first argument that cannot work: axes, flags, languages."""
    bleu(grid.target)
    lines = lines_of(grid)
    for (where, _), found in zip(lines, problems([flags for _, flags in lines])):
        if found:
            raise GridError(where + found)


def problems(lines: list[list[str]]) -> list[str]:
    """What fairseq finds wrong with each command line, "" for nothing; see `problem`.

    Raises:
        GridError: fairseq cannot be started.
    """
    result = subprocess.run(
        process.ours("steps.checks"), input=json.dumps(lines),
        env={**os.environ, **process.path()}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if result.returncode != 0:
        raise GridError(why(result.stderr) or "fairseq cannot be started")
    return parse_json(result.stdout.encode(), list[str], "steps.checks", "report it")


def lines_of(grid: Grid) -> list[tuple[str, list[str]]]:
    """Command lines that stand for those of all cells, each with what to name it by."""
    lines: list[tuple[str, list[str]]] = []
    seen: set[tuple[str, str]] = set()
    for values in combinations(grid).values():
        # The grid itself knows what its own axes take; a value of any other is fairseq's to judge.
        judged = {pair for pair in values.items() if pair[0] not in set(KNOWN_AXES) - {"init"}}
        if judged - seen or not lines:
            where = f"init {values['init']}: " if "init" in values else ""
            lines.append((where, train_flags(grid, values)))
            seen |= judged
    user_dir = line.value(lines[0][1], "--user-dir")
    generate = [*(["--user-dir", user_dir] if user_dir else []), *grid.generate_flags]
    return [*lines, ("", ["--path", "CHECKPOINT", *generate])]


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

    user_dir = line.value(flags, "--user-dir")
    if user_dir and not Path(user_dir).is_dir():
        return f"--user-dir {user_dir}: no such folder; give its full path"
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
    if unknown and unknown[0].startswith("--gradinit") and not user_dir:
        return f"{program} has no {unknown[0]}; add --user-dir {USER_DIR}"
    if unknown and not unknown[0].startswith("-"):
        return (
            f"{program}: {unknown[0]} is the value of no flag; drop it (a switch takes none: "
            "give it in one of two --init)"
        )
    if unknown:
        axes = [f"--{axis}" for axis in KNOWN_AXES]  # an axis mistyped is passed on as a flag
        known = [*axes, *(name for name in parser._option_string_actions if name[:2] == "--")]
        return f"{program} has no {unknown[0]}{nearest(unknown[0].partition('=')[0], known)}"
    if decodes:
        return ""
    if found.max_tokens is None and found.batch_size is None:
        return f"{program}: neither --max-tokens nor --batch-size is given; add --max-tokens N"
    if not found.lr:
        return f"{program}: --lr is empty; give --lr X"
    odd = [rate for rate in found.lr if not 0 < rate < math.inf]
    return f"{program}: --lr: found {odd[0]}; give a number above 0" if odd else ""


def _judge_all() -> None:
    """Print the problems of the lines on stdin. Each is judged by a process of its own, forked when
    fairseq is loaded, since a --user-dir changes what fairseq knows."""
    from fairseq import options  # noqa: F401

    # Loaded before fairseq they have registered nothing; a --user-dir must load them anew.
    for name in [name for name in sys.modules if name.startswith("fairseq_gradinit")]:
        del sys.modules[name]
    found = []
    for flags in json.load(sys.stdin):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writing, problem(flags).encode())
            os._exit(0)
        os.close(writing)
        with open(reading, encoding="utf-8") as file:
            said = file.read()
        found.append("fairseq cannot read these flags" if os.waitpid(child, 0)[1] else said)
    print(json.dumps(found))


if __name__ == "__main__":
    _judge_all()
