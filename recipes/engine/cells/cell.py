"""A cell is a folder: what it is (cell.json), its logs, its result (score.json), its status."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .files import is_locked, read_json, write_json
from .grid import Grid, Point, train_flags

# done and diverged are results; the rest is still to be run.
DONE, DIVERGED, FAILED, RUNNING, MISSING = "done", "diverged", "failed", "running", "missing"
RESULTS = (DONE, DIVERGED)
STATUSES = (*RESULTS, FAILED, RUNNING, MISSING)


@dataclass(frozen=True)
class Cell:
    """Paths of one cell's folder."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def config(self) -> Path:
        return self.folder / "cell.json"

    @property
    def train_log(self) -> Path:
        return self.folder / "train.log"

    @property
    def trained(self) -> Path:
        """Written when training has ended for good: fairseq-train is not called again."""
        return self.folder / "trained.json"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def gradinit(self) -> Path:
        return self.checkpoints / "gradinit"

    @property
    def hypotheses(self) -> Path:
        return self.folder / "hypotheses.txt"

    @property
    def score(self) -> Path:
        return self.folder / "score.json"

    @property
    def failure(self) -> Path:
        return self.folder / "failure.json"

    @property
    def lock(self) -> Path:
        return self.folder / "lock"


def cell_of(grid_folder: Path, point: Point) -> Cell:
    return Cell(grid_folder / "cells" / point.name)


def status(cell: Cell) -> tuple[str, str]:
    """The cell's status and, for failed and diverged ones, why."""
    if cell.score.exists():
        score = read_json(cell.score)
        return score["status"], score.get("reason", "")
    if is_locked(cell.lock):
        return RUNNING, ""
    if cell.failure.exists():
        return FAILED, read_json(cell.failure)["reason"]
    return MISSING, ""


def train_command(grid: Grid, point: Point, cell: Cell) -> list[str]:
    """The fairseq-train command line of a cell, runnable as it stands."""
    # `python -m`, so that the environment that runs the engine is the one that trains.
    return [
        sys.executable, "-m", "fairseq_cli.train", str(grid.data_bin),
        *train_flags(grid, point.values),
        "--save-dir", str(cell.checkpoints), "--log-format", "json",
    ]  # fmt: skip


def describe(grid: Grid, grid_folder: Path, point: Point) -> None:
    """Write cell.json, unless the cell is already described: results belong to their commit."""
    cell = cell_of(grid_folder, point)
    if cell.config.exists():
        return
    cell.folder.mkdir(parents=True, exist_ok=True)
    write_json(
        cell.config,
        {
            "name": point.name,
            "values": point.values,
            "seed": seed(grid, point),
            "command": train_command(grid, point, cell),
            "commit": _commit(),
            "versions": _versions(),
        },
    )


def seed(grid: Grid, point: Point) -> str:
    """The seed of a cell: its axis, or --seed, or fairseq's default 1."""
    flags = train_flags(grid, point.values)
    positions = [i for i, flag in enumerate(flags[:-1]) if flag == "--seed"]
    return flags[positions[-1] + 1] if positions else "1"


@functools.lru_cache(maxsize=1)
def _commit() -> str:
    """Commit of the working folder, with "+" when files differ from it; "" outside git."""
    command = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return result.stdout.strip()


@functools.lru_cache(maxsize=1)
def _versions() -> dict[str, Any]:
    found = {"python": platform.python_version()}
    for package in ("torch", "ve-fairseq", "fairseq", "fairseq_gradinit", "sacrebleu", "submitit"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue  # fairseq goes by two names, and the package may be a bare --user-dir
    return found
