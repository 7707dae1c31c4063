"""Does fairseq-train know these flags? Asked before the first cell starts, not in its log.

Run as `python -m recipes.engine.steps.flags FLAGS…`, which prints the problem, if any:
fairseq's parser depends on --arch, --task, --optimizer and --user-dir, and takes seconds to import.
"""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys

from ..cells.errors import GridError, nearest
from ..cells.grid import KNOWN_AXES, Grid, Point, train_flags


def check(grid: Grid, points: list[Point]) -> None:
    """Raise GridError for the first flag that fairseq-train refuses; one question per init."""
    asked = set()
    for point in points:
        if point.values.get("init") in asked:
            continue
        asked.add(point.values.get("init"))
        command = [sys.executable, "-m", __name__, *train_flags(grid, point.values)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            where = f"init {point.values['init']}: " if "init" in point.values else ""
            lines = result.stderr.strip().splitlines() or ["fairseq-train refuses these flags"]
            raise GridError(f"{where}{lines[-1]}")


def problem(flags: list[str]) -> str:
    """What fairseq-train finds wrong with `flags`, on one line, "" for nothing."""
    from fairseq import options

    said = io.StringIO()
    parser = None
    try:
        with contextlib.redirect_stderr(said):
            parser = options.get_training_parser()  # reads --user-dir from sys.argv
            _, unknown = options.parse_args_and_arch(parser, ["DATA", *flags], parse_known=True)
    except SystemExit:  # argparse's way of refusing a value
        return said.getvalue().strip().splitlines()[-1].split("error: ", 1)[-1]
    unknown = [flag for flag in unknown if flag.startswith("-")]
    if not unknown:
        return ""
    axes = [f"--{axis}" for axis in KNOWN_AXES]  # an axis mistyped is passed on as a flag
    known = [*axes, *(flag for flag in parser._option_string_actions if flag.startswith("--"))]
    return f"fairseq-train has no {unknown[0]}{nearest(unknown[0], known)}"


if __name__ == "__main__":
    sys.exit(problem(sys.argv[1:]) or 0)
