"""The loop that drives a grid: start what is missing, watch, start again what was killed."""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path

import submitit

from ..cells.cell import FAILED, MISSING, RESULTS, RUNNING, cell_of, status
from ..cells.errors import GridError
from ..cells.files import locked, write_json
from ..cells.grid import Grid, Point, points
from ..cells.progress import Progress
from ..steps.corpus import facts_of
from .cluster import Cluster, threads
from .worker import Worker

POLL_SECONDS = 1.0
# A worker that dies this often is not unlucky: out of memory, most likely.
ATTEMPTS = 3


def run_grid(
    grid: Grid,
    folder: Path,
    cluster: Cluster,
    show: Callable[[Progress], None],
    stop_after: int = 0,
    keep_checkpoints: bool = False,
) -> Progress:
    """Run every cell that has no result yet; returns the final states.

    Args:
        folder: the grid's folder, already claimed.
        show: called about once a second with the current states.
        stop_after, keep_checkpoints: as in Worker.

    Raises:
        GridError: another engine drives this grid, or the cluster refuses jobs.
    """
    with locked(folder / "grid.lock") as lock:
        if lock is None:
            raise GridError(f"{folder}: another engine drives this grid; wait for it or stop it")
        _prepare(grid, folder)
        os.environ.setdefault("OMP_NUM_THREADS", threads(cluster.jobs))
        drive = _Drive(grid, folder, cluster, stop_after, keep_checkpoints)
        return drive.run(show)


def _prepare(grid: Grid, folder: Path) -> None:
    corpus = folder / "corpus.json"
    if not corpus.exists():
        write_json(corpus, facts_of(grid))


class _Drive:
    """The state of one `run_grid` call."""

    def __init__(
        self, grid: Grid, folder: Path, cluster: Cluster, stop_after: int, keep_checkpoints: bool
    ) -> None:
        self.folder, self.cluster = folder, cluster
        self.points = {point.name: point for point in points(grid)}
        self.workers = {
            name: Worker(folder.resolve(), point, stop_after, keep_checkpoints)
            for name, point in self.points.items()
        }
        self.jobs: dict[str, submitit.Job] = {}
        self.slots: dict[str, int] = {}
        self.died: Counter[str] = Counter()
        self.progress = Progress({name: self._status(point) for name, point in self.points.items()})

    def _status(self, point: Point) -> tuple[str, str]:
        return status(cell_of(self.folder, point))

    def run(self, show: Callable[[Progress], None]) -> Progress:
        # Failed cells are tried again: the same command after mending the cause.
        waiting = deque(
            name for name, (state, _) in self.progress.states.items() if state not in RESULTS
        )
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
            self.progress.states[name] = (RUNNING, "")

    def _collect(self, waiting: deque[str]) -> None:
        """Take note of cells that ended; those whose worker was killed wait again."""
        for name, job in list(self.jobs.items()):
            over = self.cluster.is_over(job)  # asked first: it may end between the two looks
            state = self._status(self.points[name])
            if state[0] == RUNNING or not (over or state[0] in RESULTS):
                continue
            del self.jobs[name], self.slots[name]
            if state[0] == MISSING:
                state = self._again(name, waiting)
            self.progress.states[name] = state

    def _again(self, name: str, waiting: deque[str]) -> tuple[str, str]:
        """The worker left neither result nor failure: it was killed; wait for another try."""
        self.died[name] += 1
        if self.died[name] < ATTEMPTS:
            waiting.append(name)
            return MISSING, ""
        reason = f"its worker was killed {ATTEMPTS} times (out of memory? see submitit/*.err)"
        write_json(cell_of(self.folder, self.points[name]).failure, {"reason": reason})
        return FAILED, reason
