"""What a submitit job does: one cell, from where it stands to score.json."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from submitit.helpers import DelayedSubmission

from ..cells.cell import RUNNING, Cell, cell_of, describe, status
from ..cells.errors import CellFailed, GridError
from ..cells.files import locked, read_json, write_json
from ..cells.grid import Grid, Point, load
from ..steps.decode import decode
from ..steps.score import score
from ..steps.train import TRAINED, EarlyStop, train


@dataclass
class Worker:
    """Runs one cell; picklable for submitit, and requeued by it on preemption or time-out.

    Attributes:
        grid_folder: absolute folder of the grid.
        point: the cell.
        stop_after: updates after which a diverged run is ended early; 0 never.
        keep_checkpoints: leave the checkpoints in place after scoring.
    """

    grid_folder: Path
    point: Point
    stop_after: int = 0
    keep_checkpoints: bool = False

    def __call__(self) -> str:
        """Run the cell; returns its status, "running" when another process has it.

        Raises:
            CellInterrupted: a child of the cell was killed; the engine starts the cell again.
        """
        cell = cell_of(self.grid_folder, self.point)
        cell.folder.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault("OMP_NUM_THREADS", os.environ.get("SLURM_CPUS_PER_TASK", "1"))
        with locked(cell.lock) as lock:
            if lock is None:
                return RUNNING
            if not cell.score.exists():
                self._run(load(self.grid_folder), cell, lock)
        return status(cell)[0]

    def _run(self, grid: Grid, cell: Cell, lock: int) -> None:
        cell.failure.unlink(missing_ok=True)
        try:
            describe(grid, self.grid_folder, self.point)
            plateau = read_json(self.grid_folder / "corpus.json")["plateau"]
            early_stop = EarlyStop(self.stop_after, plateau)
            outcome = train(grid, self.point, cell, lock, early_stop)
            if outcome == TRAINED:
                decode(grid, self.point, cell, lock)
            score(grid, cell, plateau)
        except (CellFailed, GridError, OSError) as error:
            write_json(cell.failure, {"reason": " ".join(str(error).split())})
            return
        if not self.keep_checkpoints:
            for file in cell.checkpoints.glob("*.pt"):
                file.unlink()

    def checkpoint(self) -> DelayedSubmission:
        """submitit's hook: what is requeued is the same cell, which resumes by itself."""
        return DelayedSubmission(self)
