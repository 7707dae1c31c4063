"""The training of one cell: run, resume, and tell diverged from failed."""

from __future__ import annotations

import os
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

from ..cells import logs
from ..cells.cell import Cell, train_command
from ..cells.errors import CellFailed
from ..cells.files import read_json, write_json
from ..cells.grid import Grid, Point, train_flags
from . import process

TRAINED = "trained"
STUCK = "valid loss not below the unigram plateau"


@dataclass(frozen=True)
class EarlyStop:
    """From update `after` on, end a run whose newest valid loss is not below `plateau` bits.

    `after` = 0 never ends a run: published tables train every cell to its last update.
    """

    after: int
    plateau: float


def train(grid: Grid, point: Point, cell: Cell, lock: int, early_stop: EarlyStop) -> str:
    """Train the cell to its end, write trained.json, and return its outcome.

    Args:
        lock: file descriptor of the cell's lock, handed to the child.

    Returns:
        TRAINED, or why the run has no final model (a result: the cell has diverged).

    Raises:
        CellFailed: fairseq-train ended with an error that is not a diverged loss.
        CellInterrupted: it was killed; the next attempt resumes from its last checkpoint.
    """
    if cell.trained.exists():
        return read_json(cell.trained)["outcome"]
    drop_broken_checkpoints(cell.checkpoints)
    start = time.monotonic()
    spent = cell.folder / "seconds.json"  # of all attempts
    before = read_json(spent) if spent.exists() else 0.0

    def watch() -> bool:
        write_json(spent, before + time.monotonic() - start)
        valid = logs.curves(cell.train_log)["valid"] if early_stop.after else []
        late = [at for at in valid if at["update"] >= early_stop.after]
        return logs.is_stuck(late, early_stop.plateau)

    command = train_command(grid, point, cell)
    code = process.run(command, cell.train_log, lock, environment(grid, point), watch, append=True)
    outcome = TRAINED
    if code == process.STOPPED:
        outcome = f"stopped early after update {logs.last_update(cell.train_log)}: {STUCK}"
    elif code != 0:
        if not logs.not_finite(cell.train_log):
            raise CellFailed(f"fairseq-train: {logs.last_error(cell.train_log)}")
        outcome = f"loss or gradient not finite after update {logs.last_update(cell.train_log)}"
    write_json(cell.trained, {"outcome": outcome, "seconds": before + time.monotonic() - start})
    spent.unlink(missing_ok=True)
    return outcome


def environment(grid: Grid, point: Point) -> dict[str, str]:
    """Variables for fairseq's processes.

    torch ≥ 2.6 refuses fairseq's own checkpoints unless argparse.Namespace is allowed, which a
    --user-dir can do. Stock fairseq needs the safety off, here for files the cell itself wrote.
    """
    stock = "--user-dir" not in train_flags(grid, point.values)
    return {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"} if stock else {}


def drop_broken_checkpoints(folder: Path) -> None:
    """Remove checkpoints cut by a kill; the newest whole one becomes checkpoint_last.pt.

    fairseq writes a checkpoint under a temporary name, but copies it to checkpoint_last.pt in
    place. A torch file is a zip archive whose directory stands at its end, so a cut is seen.
    """
    for file in [*folder.glob("*.tmp"), *folder.glob("*.pt")]:
        if not zipfile.is_zipfile(file) or file.suffix == ".tmp":
            file.unlink()
    last = folder / "checkpoint_last.pt"
    numbered = [file for file in folder.glob("checkpoint*.pt") if file.stem[-1].isdigit()]
    if not last.exists() and numbered:
        os.link(max(numbered, key=lambda file: file.stat().st_mtime), last)
