"""The training of one cell: run, resume, and tell diverged from failed."""

from __future__ import annotations

import os
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

from fairseq_gradinit.files import read_json, write_json

from ..cells import flags, logs
from ..cells.cell import AGAIN, Cell, train_command
from ..cells.errors import CellFailed
from ..cells.grid import Grid, train_flags
from ..cells.records import Curves, Trained
from ..cells.verdict import STUCK, is_stuck
from . import process

TRAINED = "trained"


@dataclass(frozen=True)
class EarlyStop:
    """From update `after` on, end a run whose newest valid loss is not below `plateau` bits.

    `after` = 0 never ends a run: published tables train every cell to its last update.
    """

    after: int
    plateau: float


def train(grid: Grid, cell: Cell, lock: int, early_stop: EarlyStop, threads: str) -> str:
    """Train the cell to its end, write trained.json, and return its outcome.

    Args:
        lock: file descriptor of the cell's lock, handed to the child.
        threads: cores it may use.

    Returns:
        TRAINED, or why the run has no final model (a result: the cell has diverged).

    Raises:
        CellFailed: fairseq-train ended with an error that is not a diverged loss.
        CellInterrupted: it was killed; the next attempt resumes from its last checkpoint.
    """
    if cell.trained.exists():
        return cell.read_trained().outcome
    drop_broken_checkpoints(cell.checkpoints)
    start = time.monotonic()
    before = read_json(cell.seconds, float, AGAIN) if cell.seconds.exists() else 0.0

    def watch() -> bool:
        write_json(cell.seconds, before + time.monotonic() - start)
        valid = logs.curves(cell.train_log).valid if early_stop.after else []
        late = [at for at in valid if at.update >= early_stop.after]
        return is_stuck(Curves(valid=late), early_stop.plateau)

    env = environment(grid, cell, threads)
    command = train_command(grid, cell)
    code = process.run(command, cell.train_log, lock, env, watch, append=True)
    outcome = TRAINED
    if code == process.STOPPED:
        outcome = f"stopped early after update {logs.last_update(cell.train_log)}: {STUCK}"
    elif code != 0:
        if not logs.not_finite(cell.train_log):
            raise CellFailed(f"fairseq-train: {logs.last_error(cell.train_log)}")
        outcome = f"loss or gradient not finite after update {logs.last_update(cell.train_log)}"
    seconds = before + time.monotonic() - start
    updates = logs.last_update(cell.train_log)
    write_json(cell.trained, Trained(outcome, seconds, updates), sealed=True)
    cell.seconds.unlink(missing_ok=True)
    return outcome


def environment(grid: Grid, cell: Cell, threads: str) -> dict[str, str]:
    """Variables for fairseq's processes.

    torch ≥ 2.6 refuses fairseq's own checkpoints. The package, as --user-dir, allows what they
    hold; under any other the safety must be off, for files that the cell itself wrote.
    """
    user_dir = flags.value(train_flags(grid, cell.values), "--user-dir") or ""
    safe = Path(user_dir).name == "fairseq_gradinit"
    force = {} if safe else {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
    return {"OMP_NUM_THREADS": threads, **force}


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
