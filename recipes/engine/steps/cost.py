"""What a cell costs, from some seconds of its training in a folder that is thrown away."""

from __future__ import annotations

import dataclasses
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from ..cells import flags, logs
from ..cells.cell import Cell, train_command
from ..cells.errors import GridError
from ..cells.grid import Grid, train_flags
from . import process
from .train import environment

PATIENCE = 1800.0  # seconds until the first update, before which GradInit may learn scales
HURRIED = ["--log-interval=1", "--log-format=json", "--no-save", "--disable-validation"]


@dataclass(frozen=True)
class Cost:
    """Of a cell's training, without validation and decoding.

    Attributes:
        before: seconds until its first update: imports, data, GradInit.
        an_update: seconds.
        updates: of the whole training.
    """

    before: float
    an_update: float
    updates: int

    @property
    def seconds(self) -> float:
        return self.before + self.updates * self.an_update

    def __str__(self) -> str:
        rate = f"{self.before:.0f} s to the first update, then {self.an_update:.2g} s each"
        return f"about {spent(self.seconds)} ({rate})"


def spent(seconds: float) -> str:
    """A time in the unit that a person would use."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def measured(grid: Grid, cell: Cell, seconds: float, threads: str) -> Cost:
    """Trains the cell for `seconds` from its first update on, alone on this machine.

    Args:
        threads: cores it may use.

    Raises:
        GridError: it has no --max-update, fairseq-train failed, or no update came in time.
    """
    updates = flags.value(train_flags(grid, cell.values), "--max-update")
    if updates is None:
        raise GridError("--trial-seconds: a training without --max-update has no known length")
    begun, first = time.monotonic(), 0.0
    with tempfile.TemporaryDirectory() as folder, open(os.devnull) as nothing:
        own = dataclasses.replace(cell, folder=Path(folder) / cell.name)
        own.folder.mkdir()

        def watch() -> bool:
            nonlocal first
            now = time.monotonic() - begun
            if not first and logs.last_update(own.train_log) > 0:
                first = now
            return now > (first + seconds if first else PATIENCE)

        command, env = [*train_command(grid, own), *HURRIED], environment(grid, own, threads)
        code = process.run(command, own.train_log, nothing.fileno(), env, watch)
        if code not in (0, process.STOPPED):
            reason = logs.last_error(own.train_log)
            raise GridError(f"--trial-seconds: {cell.name}: fairseq-train: {reason}")
        speed = logs.updates_per_second(own.train_log)
    if not speed or not first:
        raise GridError(
            f"--trial-seconds {seconds:g}: {cell.name}: no update within {spent(PATIENCE)}; "
            "try it where it will run"
        )
    return Cost(first, 1 / speed, int(updates))
