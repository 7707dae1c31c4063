"""One cell from where it stands to score.json: what a job does, here or on a cluster."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import msgspec

from fairseq_gradinit.files import FileError, locked, parse_json, read_json, write_json

from ..cells.cell import AGAIN, Cell, cells_of, describe, status
from ..cells.errors import CellFailed, CellInterrupted, GridError
from ..cells.grid import Grid, corpus_file, load
from ..cells.records import Corpus, Failure, Status
from ..steps.decode import decode
from ..steps.score import score
from ..steps.train import TRAINED, EarlyStop, train


class Worker(msgspec.Struct, frozen=True):
    """Runs one cell.

    Attributes:
        folder: absolute folder of the grid.
        name: of the cell.
        threads: cores the cell may use.
        early_stop: updates after which a diverged run is ended early; 0 never.
        keep_checkpoints: leave the checkpoints in place after scoring.
    """

    folder: str
    name: str
    threads: str = "1"
    early_stop: int = 0
    keep_checkpoints: bool = False

    def __call__(self) -> Status:
        """Run the cell; returns its status, RUNNING when another process has it.

        Raises:
            CellInterrupted: a child of the cell was killed; the engine starts the cell again.
        """
        grid = load(Path(self.folder))
        cell = next(one for one in cells_of(grid, Path(self.folder)) if one.name == self.name)
        cell.folder.mkdir(parents=True, exist_ok=True)
        with locked(cell.lock, patience=2.0) as lock:  # a look at the lock holds it for an instant
            if lock is None:
                return Status.RUNNING
            if not cell.score.exists():
                self._run(grid, cell, lock)
        return status(cell)[0]

    def _run(self, grid: Grid, cell: Cell, lock: int) -> None:
        cell.failure.unlink(missing_ok=True)
        try:
            describe(grid, cell)
            plateau = read_json(corpus_file(Path(self.folder)), Corpus, AGAIN).plateau
            early_stop = EarlyStop(self.early_stop, plateau)
            if train(grid, cell, lock, early_stop, self.threads) == TRAINED:
                decode(grid, cell, lock, self.threads)
            score(grid, cell, plateau)
        except CellInterrupted:
            raise
        except (CellFailed, GridError, FileError, OSError) as error:
            write_json(cell.failure, Failure(" ".join(str(error).split())))
            return
        except Exception as error:  # ours to mend, but no reason to guess at "out of memory"
            reason = f"{type(error).__name__}: {' '.join(str(error).split())} (see submitit/*.err)"
            write_json(cell.failure, Failure(reason))
            raise
        if not self.keep_checkpoints:
            for file in cell.checkpoints.glob("*.pt"):
                file.unlink()

    def checkpoint(self) -> object:
        """submitit's hook: what is requeued is the same cell, which resumes by itself."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


if __name__ == "__main__":
    # As an exception, so that the training is told to stop before this process ends.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    parse_json(sys.argv[1].encode(), Worker, "worker", "report it")()
