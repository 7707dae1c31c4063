"""What a running cell is at: a phase with a name, and how many of its updates it has made."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from fairseq_gradinit.files import FileError

from ..cells import flags, logs
from ..cells.cell import Cell
from ..cells.grid import Grid, train_flags

# The package's own lines: an iteration, the end of the search, and the end of the trial.
ITERATION = re.compile(r"\| gradinit \| (\{.*\})\s*$", re.MULTILINE)
LEARNED = re.compile(
    r"GradInit: \d+ iterations in |applied the scales of|\| reusing .*scales\.json"
)
TRIED = re.compile(r"GradInit: (tried|predicted)")
UPDATE = re.compile(r'"num_updates": "?(\d+)')
SPEED = re.compile(r'"ups": "?([\d.]+)')


@dataclass(frozen=True)
class Phase:
    """Where a cell is.

    Attributes:
        name: as a user reads it, such as "update 300 of 800".
        update: how many updates it has made.
        updates: how many it is to make, None where its flags do not say.
        speed: updates a second as it last logged them, None before.
    """

    name: str
    update: int = 0
    updates: int | None = None
    speed: float | None = None


def updates_of(grid: Grid, cell: Cell) -> int | None:
    """The cell's --max-update, None without one (a run by epochs has no number before it ends)."""
    return _whole(flags.value(train_flags(grid, cell.values), "--max-update"))


def phase_of(grid: Grid, cell: Cell) -> Phase:
    """The phase of a cell that a worker runs, or will run."""
    total = updates_of(grid, cell)
    if cell.trained.exists():
        done = total if total is not None else logs.last_update(cell.train_log)
        return Phase(_after_training(grid, cell), done, total)
    said = logs.tail(cell.train_log, 60)
    found = UPDATE.findall(said)
    if found:
        speeds = SPEED.findall(said)
        at = int(found[-1])
        return Phase(
            _counted("update", at, total), at, total, float(speeds[-1]) if speeds else None
        )
    return Phase(_before_training(grid, cell, said), 0, total)


def _after_training(grid: Grid, cell: Cell) -> str:
    if cell.hypotheses.exists():
        return "scoring"
    if grid.average and not (cell.checkpoints / "averaged.pt").exists():
        return "averaging"
    return "decoding"


def _before_training(grid: Grid, cell: Cell, said: str) -> str:
    if TRIED.search(said):
        return _counted("update", 0, updates_of(grid, cell))
    if LEARNED.search(said):
        return "trial"
    try:
        made = len(cell.read_iterations())
    except FileError:
        made = 0  # the report will say what is wrong with it; the run goes on
    if not made:
        return "preparing"
    of = flags.value(train_flags(grid, cell.values), "--gradinit-iters")
    return _counted("GradInit", made, _whole(of) or _iterations(said))


def _iterations(said: str) -> int | None:
    """How many the package says it makes, None where it does not say."""
    for text in reversed(ITERATION.findall(said)):
        try:
            found = json.loads(text).get("iterations")
        except ValueError:
            continue  # a line cut by a kill
        return found if isinstance(found, int) else None
    return None


def _counted(name: str, at: int, total: int | None) -> str:
    return f"{name} {at}" if total is None else f"{name} {at} of {total}"


def _whole(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() and int(text) > 0 else None
