"""The live table on a terminal; one line per event where there is none."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..cells import logs
from ..cells.cell import Cell
from ..cells.progress import Progress
from ..cells.records import Status

COLOURS = dict(zip(Status, ("blue", "cyan", "cyan", "magenta", "bold red", "yellow", "dim")))
RECENT = 8  # finished cells shown below the running ones


@contextlib.contextmanager
def shown(folder: Path, console: Console) -> Iterator[Callable[[Progress], None]]:
    """Yield the function the engine calls with its states."""
    if not console.is_terminal:
        yield _Lines(folder, console)
        return
    with Live(console=console, refresh_per_second=1) as live:
        yield lambda progress: live.update(Group(*_screen(folder, progress)))


class _Lines:
    """Prints a line when a cell's state changes."""

    def __init__(self, folder: Path, console: Console) -> None:
        self.folder, self.console = folder, console
        self.last: dict[str, str] = {}

    def __call__(self, progress: Progress) -> None:
        for name, (state, reason) in progress.states.items():
            known = self.last.get(name, state if state.is_result or state is Status.MISSING else "")
            if known != state:
                result = bleu(Cell(self.folder / "cells" / name, {})) if state.is_result else ""
                text = " ".join(part for part in (result, reason) if part)
                over = sum(_is_over(kind) for kind, _ in progress.states.values())
                where = f"[{over}/{len(progress.states)}]"
                self.console.print(
                    f"{time.strftime('%H:%M:%S')} {where} {name}: {state} {text}".rstrip(),
                    highlight=False, markup=False, soft_wrap=True,
                )  # fmt: skip
            self.last[name] = state


def bleu(cell: Cell) -> str:
    score = cell.read_score()
    return f"BLEU {score.bleu.score:.2f}" if score else ""


def _is_over(state: Status) -> bool:
    return state.is_result or state is Status.FAILED


def _screen(folder: Path, progress: Progress) -> list[Table | Text]:
    counts = progress.counts()
    line = Text(f"{folder}  ")
    for state in Status:
        line.append(f"{counts[state]} {state}  ", style=COLOURS[state])
    line.append(left(progress))
    table = Table("cell", "status", "at", box=None, padding=(0, 1))
    running = [name for name, (state, _) in progress.states.items() if state is Status.RUNNING]
    over = [name for name, (state, _) in progress.states.items() if _is_over(state)]
    for name in [*running, *over[-RECENT:]]:
        state, reason = progress.states[name]
        cell = Cell(folder / "cells" / name, {})
        at = f"update {logs.last_update(cell.train_log)}"
        if state.is_result:
            at = f"{bleu(cell)} {reason}"
        elif state is Status.FAILED:
            at = reason
        table.add_row(name, Text(state, style=COLOURS[state]), Text(at, overflow="ellipsis"))
    return [line, table]


def left(progress: Progress) -> str:
    """Minutes to go, from the cells that ended since the start; "" before the first."""
    counts = progress.counts()
    to_go = counts[Status.RUNNING] + counts[Status.MISSING]
    ended = len(progress.states) - to_go - progress.before
    if not ended or not to_go:
        return ""
    minutes = (time.monotonic() - progress.started) / ended * to_go / 60
    return f"about {minutes:.0f} min left"
