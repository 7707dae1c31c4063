"""A cell is a folder; only here is it known which file holds what."""

from __future__ import annotations

import functools
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fairseq_gradinit.files import is_locked, read_json, read_json_lines, versions, write_json

from .grid import Grid, combinations, seed_of, train_flags
from .records import Config, Failure, Iteration, Made, Scales, Score, Status, Trained, Watch
from .texts import read_lines

ROOT = Path(__file__).parents[3]
PACKAGES = ("torch", "ve-fairseq", "fairseq", "fairseq_gradinit", "sacrebleu", "submitit")
AGAIN = "delete it and run the grid again"


@dataclass(frozen=True)
class Cell:
    """One cell of a grid: its folder and its value on every axis."""

    folder: Path
    values: dict[str, str]

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def init(self) -> str:
        return self.values.get("init", "all")

    @property
    def config(self) -> Path:
        return self.folder / "cell.json"

    @property
    def train_log(self) -> Path:
        return self.folder / "train.log"

    @property
    def seconds(self) -> Path:
        """Seconds of training so far, over all attempts."""
        return self.folder / "seconds.json"

    @property
    def trained(self) -> Path:
        """Written when training has ended for good: fairseq-train is not called again."""
        return self.folder / "trained.json"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def gradinit(self) -> Path:
        """What the package leaves: scales.json, iterations.jsonl, watch.jsonl."""
        return self.checkpoints / "gradinit"

    @property
    def generate_log(self) -> Path:
        return self.folder / "generate.log"

    @property
    def tokenized(self) -> Path:
        return self.folder / "tokenized.txt"

    @property
    def tokenized_reference(self) -> Path:
        return self.folder / "tokenized_reference.txt"

    @property
    def decoded(self) -> Path:
        return self.folder / "decoded.json"

    @property
    def hypotheses(self) -> Path:
        """Detokenized, in corpus order; written last of what decoding leaves."""
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

    def read_config(self) -> Config | None:
        return read_json(self.config, Config, AGAIN) if self.config.exists() else None

    def read_trained(self) -> Trained:
        return read_json(self.trained, Trained, AGAIN)

    def read_score(self) -> Score | None:
        """The result, None while there is none. Raises: FileError."""
        return read_json(self.score, Score, AGAIN) if self.score.exists() else None

    def read_hypotheses(self) -> list[str]:
        return read_lines(self.hypotheses)

    def read_scales(self) -> Scales | None:
        """What GradInit learned; None for a cell without it. Raises: FileError."""
        file = self.gradinit / "scales.json"
        return read_json(file, Scales, AGAIN) if file.exists() else None

    def read_iterations(self) -> list[Iteration]:
        file = self.gradinit / "iterations.jsonl"
        return read_json_lines(file, Iteration, AGAIN) if file.exists() else []

    def read_watch(self) -> list[Watch]:
        file = self.gradinit / "watch.jsonl"
        return read_json_lines(file, Watch, AGAIN) if file.exists() else []


def cells_of(grid: Grid, folder: Path) -> list[Cell]:
    """All cells of the grid in `folder`, in grid order; GridError for a bad axis."""
    places = combinations(grid).items()
    return [Cell(folder / "cells" / name, values) for name, values in places]


def status(cell: Cell) -> tuple[Status, str]:
    """The cell's status and why, where it is not simply done. Raises: FileError."""
    score = cell.read_score()
    if score is not None:
        return score.status, score.reason
    if is_locked(cell.lock):
        return Status.RUNNING, ""
    if cell.failure.exists():
        return Status.FAILED, read_json(cell.failure, Failure, AGAIN).reason
    return Status.MISSING, ""


def train_command(grid: Grid, cell: Cell) -> list[str]:
    """The fairseq-train command line of a cell, runnable as it stands."""
    # `python -m`, so that the environment that runs the engine is the one that trains.
    return [
        sys.executable, "-m", "fairseq_cli.train", str(grid.data_bin),
        *train_flags(grid, cell.values),
        "--save-dir", str(cell.checkpoints), "--log-format", "json",
    ]  # fmt: skip


def describe(grid: Grid, cell: Cell) -> None:
    """Write cell.json for the attempt that begins.

    What an earlier attempt was made by stays on record only where its checkpoints are used.
    """
    made = Made(train_command(grid, cell), _commit(), _versions())
    old = cell.read_config()
    used = cell.trained.exists() or any(cell.checkpoints.glob("*.pt"))
    earlier = []
    if old is not None and used:
        before = [*old.earlier, Made(old.command, old.commit, old.versions)]
        earlier = [one for one in before if one != made]
    seed = seed_of(grid, cell.values)
    parts = msgspec.structs.asdict(made)
    config = Config(cell.name, cell.values, seed, earlier=earlier, **parts)
    write_json(cell.config, config, sealed=True)


@functools.lru_cache(maxsize=1)
def _commit() -> str:
    """Commit of this checkout, with "+" when files differ from it; "" outside git."""
    command = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"]
    try:
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return result.stdout.strip()


@functools.lru_cache(maxsize=1)
def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **versions(*PACKAGES)}
