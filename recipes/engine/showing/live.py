"""The grid while it runs: a bar a cell on a terminal, a line a minute where there is none."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import rich.progress
from rich.console import Console
from rich.markup import escape

from ..cells.cell import Cell, cells_of
from ..cells.grid import Grid, load
from ..cells.progress import Progress
from ..cells.records import Status
from .eta import Eta
from .phases import Phase, phase_of

BARS = 20  # running cells that have a bar of their own; Slurm may run hundreds
EVERY = 60.0  # seconds between two lines without a terminal


@contextlib.contextmanager
def shown(folder: Path, console: Console) -> Iterator[Callable[[Progress], None]]:
    """Yields the function that the engine calls with its states, about once a second."""
    if not console.is_terminal:
        yield Lines(folder, console)
        return
    columns = (
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(bar_width=30),
        rich.progress.TextColumn("{task.fields[phase]}"),
    )
    with rich.progress.Progress(*columns, console=console, refresh_per_second=2) as bars:
        yield Bars(folder, bars)


class _View:
    """What both views read of the grid, from its folder at the first call."""

    def __init__(self, folder: Path, console: Console) -> None:
        self.folder, self.console = folder, console
        self.known: dict[str, Status] = {}
        self.grid: Grid | None = None
        self.cells: dict[str, Cell] = {}

    def look(self, progress: Progress) -> tuple[dict[str, Phase], str]:
        """The phases of the running cells, and the grid's state in a line.

        Cells whose state has changed since the last look are told in a line each.
        """
        if self.grid is None:
            self.grid = load(self.folder)
            self.cells = {cell.name: cell for cell in cells_of(self.grid, self.folder)}
            self.eta = Eta(self.grid, list(self.cells.values()))
        states = progress.states
        over = sum(state.is_result or state is Status.FAILED for state, _ in states.values())
        for name, (state, reason) in states.items():
            if self.known and self.known.get(name) != state and state is not Status.MISSING:
                self.tell(f"[{over}/{len(states)}] {name}: {self._outcome(name, state, reason)}")
        self.known = {name: state for name, (state, _) in states.items()}
        running = [name for name, (state, _) in states.items() if state is Status.RUNNING]
        phases = {name: phase_of(self.grid, self.cells[name]) for name in running}
        counts = progress.counts()
        parts = [f"{over} of {len(states)} cells over"]
        parts += [
            f"{counts[state]} {state}" for state in Status if state.is_result and counts[state]
        ]
        parts += [f"{counts[Status.FAILED]} failed"] if counts[Status.FAILED] else []
        seconds = self.eta.seconds(states, phases) if over < len(states) else None
        parts += [f"about {duration(seconds)} left"] if seconds is not None else []
        return phases, ", ".join(parts)

    def tell(self, text: str) -> None:
        """A line that stays, with the time of day."""
        self.console.print(
            f"{time.strftime('%H:%M:%S')} {text}", highlight=False, markup=False, soft_wrap=True
        )

    def _outcome(self, name: str, state: Status, reason: str) -> str:
        score = self.cells[name].read_score() if state.is_result else None
        bleu = f"BLEU {score.bleu.score:.2f}" if score else ""
        return " ".join(part for part in (str(state), bleu, reason) if part)


class Lines(_View):
    """Prints a line when a cell starts or ends, and where all are once a minute.

    clock: seconds, as time.monotonic tells them.
    """

    def __init__(
        self, folder: Path, console: Console, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(folder, console)
        self.clock, self.next = clock, -1.0

    def __call__(self, progress: Progress) -> None:
        phases, line = self.look(progress)
        if self.clock() >= self.next:
            at = [f"{name}: {phase.name}" for name, phase in list(phases.items())[:BARS]]
            self.tell("; ".join([line, *at]))
            self.next = self.clock() + EVERY


class Bars(_View):
    """A bar for the grid's cells and one for each that runs, with its phase."""

    def __init__(self, folder: Path, bars: rich.progress.Progress) -> None:
        super().__init__(folder, bars.console)
        self.bars = bars
        self.all = bars.add_task(escape(folder.name), total=None, phase="")
        self.tasks: dict[str, rich.progress.TaskID] = {}

    def __call__(self, progress: Progress) -> None:
        phases, line = self.look(progress)
        total = len(progress.states)
        # A cell's share counts as its updates are made, so that the bar moves before one ends.
        ended = sum(s.is_result or s is Status.FAILED for s, _ in progress.states.values())
        shares = [p.update / p.updates for p in phases.values() if p.updates]
        self.bars.update(self.all, total=total, completed=ended + sum(shares), phase=line)
        for name in set(self.tasks) - set(phases):
            self.bars.remove_task(self.tasks.pop(name))
        for name, phase in phases.items():
            if name not in self.tasks and len(self.tasks) < BARS:
                self.tasks[name] = self.bars.add_task(escape(name), total=None, phase="")
            if name in self.tasks:
                self.bars.update(
                    self.tasks[name],
                    total=phase.updates,
                    completed=phase.update,
                    phase=escape(phase.name),
                )


def duration(seconds: float) -> str:
    """Such as "40 s", "12 min" or "3 h 20 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
