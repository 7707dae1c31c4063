"""The loop that drives a grid: start what is missing, watch, start again what was killed."""

from __future__ import annotations

import contextlib
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fairseq_gradinit.files import locked, write_json

from ..cells.cell import cells_of, status
from ..cells.errors import GridError
from ..cells.grid import Grid, check_folder, claim, joined, lock_file
from ..cells.progress import Progress
from ..cells.records import Failure, Status
from ..steps.corpus import take_note
from .cluster import Cluster
from .worker import Worker

POLL_SECONDS = 1.0
ATTEMPTS = 3  # a worker that dies this often is not unlucky


def run_grid(
    grid: Grid,
    folder: Path,
    cluster: Cluster,
    show: Callable[[Progress], None],
    early_stop: int = 0,
    keep_checkpoints: bool = False,
) -> Progress:
    """Run every cell that has no result yet; returns the final states.

    Args:
        folder: the grid's folder; made, or continued where it holds this grid.
        show: called about once a second with the current states.
        early_stop, keep_checkpoints: as in Worker.

    Raises:
        GridError: the folder holds something else, its data have changed, another engine drives
            this grid, or the cluster refuses jobs.
        KeyboardInterrupt: after the cells on this machine have been stopped.
    """
    check_folder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GridError(f"--out {folder}: cannot write ({error.strerror})") from error
    with locked(lock_file(folder)) as lock:
        if lock is None:
            raise GridError(f"{folder}: another engine drives this grid; wait for it or stop it")
        joined(grid, folder)  # what is refused, here or for its data, leaves nothing in the folder
        take_note(grid, folder)
        claim(grid, folder)
        drive = _Drive(grid, folder, cluster, early_stop, keep_checkpoints)
        try:
            with _told_to_stop():
                return drive.run(show)
        finally:
            cluster.stop(list(drive.jobs.values()))


@contextlib.contextmanager
def _told_to_stop() -> Iterator[None]:
    """SIGTERM and SIGHUP are as Ctrl-C here, so that no cell outlives an engine told to stop."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # as nohup wants it
            signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Drive:
    """The state of one `run_grid` call."""

    def __init__(
        self, grid: Grid, folder: Path, cluster: Cluster, early_stop: int, keep_checkpoints: bool
    ) -> None:
        self.folder, self.cluster = folder, cluster
        self.cells = {cell.name: cell for cell in cells_of(grid, folder)}
        at, threads = str(folder.resolve()), cluster.threads
        self.workers = {
            name: Worker(at, name, threads, early_stop, keep_checkpoints) for name in self.cells
        }
        self.jobs: dict[str, Any] = {}
        self.slots: dict[str, int] = {}
        self.died: Counter[str] = Counter()
        self.progress = Progress({name: status(cell) for name, cell in self.cells.items()})

    def run(self, show: Callable[[Progress], None]) -> Progress:
        # Failed cells are tried again: the same command after mending the cause.
        states = self.progress.states.items()
        waiting = deque(name for name, (state, _) in states if not state.is_result)
        while waiting or self.jobs:
            self._collect(waiting)
            self._submit(waiting)
            show(self.progress)
            if waiting or self.jobs:
                time.sleep(POLL_SECONDS)
        show(self.progress)
        return self.progress

    def _submit(self, waiting: deque[str]) -> None:
        """Start waiting cells in free slots; Slurm gets all at once and keeps its own queue."""
        if self.cluster.kind == "slurm":
            names = list(waiting)
            waiting.clear()
            if names:
                self._start(names, slot=0)
            return
        free = sorted(set(range(self.cluster.jobs)) - set(self.slots.values()))
        for slot in free:
            # A cell that a worker of a killed engine still runs takes a slot, but no job.
            if waiting:
                self._start([waiting.popleft()], slot)

    def _start(self, names: list[str], slot: int) -> None:
        workers = [self.workers[name] for name in names]
        jobs = self.cluster.submit(workers, self.folder / "submitit", slot)
        for name, job in zip(names, jobs):
            self.jobs[name], self.slots[name] = job, slot
            self.progress.states[name] = (Status.RUNNING, "")

    def _collect(self, waiting: deque[str]) -> None:
        """Take note of cells that ended; those whose worker was killed wait again."""
        for name, job in list(self.jobs.items()):
            over = self.cluster.is_over(job)  # asked first: it may end between the two looks
            state = status(self.cells[name])
            if state[0] is Status.RUNNING or not (over or state[0].is_result):
                continue
            del self.jobs[name], self.slots[name]
            if state[0] is Status.MISSING:
                state = self._again(name, waiting)
            self.progress.states[name] = state

    def _again(self, name: str, waiting: deque[str]) -> tuple[Status, str]:
        """The worker left neither result nor failure: it was killed; wait for another try."""
        self.died[name] += 1
        if self.died[name] < ATTEMPTS:
            waiting.append(name)
            return Status.MISSING, ""
        cell = self.cells[name]
        reason = f"its job was lost {ATTEMPTS} times before it started (cancelled? see the queue)"
        if cell.config.exists():
            reason = f"its worker was killed {ATTEMPTS} times (out of memory? see submitit/*.err)"
        write_json(cell.failure, Failure(reason))
        return Status.FAILED, reason
