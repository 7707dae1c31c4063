"""What is done of a long run, a JSON line a piece: a kill costs the piece under way alone."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from fairseq_gradinit.files import append_json_line, read_json_lines, versions

ROOT = Path(__file__).parents[2]
PACKAGES = ("torch", "fairseq", "ve-fairseq", "numpy", "hypothesis", "msgspec")


def conditions(seed: int) -> dict[str, Any]:
    """Under which a run was made: commit ("+": files differ from it), seed, versions, machine."""
    command = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"]
    commit = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    python = {"python": platform.python_version()}
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}"
    return {
        "commit": commit.stdout.strip(),
        "seed": seed,
        "versions": {**python, **versions(*PACKAGES)},
        "machine": machine,
    }


class Kept:
    """A JSON Lines file: the conditions first, then each piece that is done.

    A file of other conditions makes way: its pieces are not of this run.
    """

    def __init__(self, path: Path, conditions: dict[str, Any]) -> None:
        self._path = path
        found = read_json_lines(path, dict[str, Any]) if path.exists() else []
        if found and found[0] != msgspec.to_builtins(conditions):
            print(f"{path}: of another commit, seed or machine; starting anew", file=sys.stderr)
            path.unlink()
            found = []
        if not found:
            append_json_line(path, conditions)
        self.pieces = found[1:]

    def add(self, piece: dict[str, Any]) -> None:
        """Keeps a piece at once."""
        append_json_line(self._path, piece)
        self.pieces.append(piece)


class Bar:
    """One line of progress; on a terminal it is written over, in a log about once a minute."""

    def __init__(self, total: int) -> None:
        self._total, self._started, self._said = total, time.monotonic(), -60.0
        self._first: int | None = None

    def show(self, done: int, more: str = "") -> None:
        """Says how many pieces are done, and when the rest will be."""
        now, terminal = time.monotonic(), sys.stderr.isatty()
        if self._first is None:
            self._first = done
        if done < self._total and now - self._said < (0.5 if terminal else 60.0):
            return
        self._said = now
        fresh = done - self._first
        left = (now - self._started) / fresh * (self._total - done) / 60 if fresh else None
        eta = "" if left is None else f", {left:.1f} minutes left"
        text = f"{done}/{self._total}{eta} {more}"
        end = "\n" if not terminal or done >= self._total else "\r"
        print(f"{text:<78}", end=end, file=sys.stderr, flush=True)
