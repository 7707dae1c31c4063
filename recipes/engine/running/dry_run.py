"""What would run, with which command, how long it takes and what Slurm would be given."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Callable
from pathlib import Path

from ..cells.cell import Cell, status, train_command
from ..cells.errors import GridError
from ..cells.grid import Grid
from ..cells.records import Status
from ..steps.cost import Cost, measured, spent
from .cluster import Cluster


def dry_run(
    grid: Grid, cells: list[Cell], folder: Path, cluster: Cluster, known: float, trial: float
) -> None:
    """Prints a line a cell and its command, then the sum.

    Args:
        folder: of the grid.
        known: seconds of a cell, where no cell has finished; 0 for not known.
        trial: seconds for which the first cell of each init that is missing is trained, to know
            what its like cost; 0 for no trial.

    Raises:
        GridError: a trial that came to nothing.
    """
    scores = {cell.name: cell.read_score() for cell in cells}
    times: dict[str, list[float]] = {}
    for cell in cells:
        if (score := scores[cell.name]) is not None:
            spent_there = (score.seconds.train or 0) + (score.seconds.decode or 0)
            times.setdefault(cell.init, []).append(spent_there)
    missing = [cell for cell in cells if scores[cell.name] is None]
    costs = _costs(missing, lambda cell: measured(grid, cell, trial, cluster.threads), trial)
    for cell in cells:
        state, _ = status(cell)
        about = f", {costs[cell.init]}" if state is Status.MISSING and cell.init in costs else ""
        print(f"{cell.name}: {state}{about}\n  {shlex.join(train_command(grid, cell))}")
    for name, cost in costs.items():
        times[name] = [cost.seconds]
    if cluster.kind == "slurm" and missing:
        try:
            print(f"\n{cluster.submission(folder / 'submitit', len(missing))}")
        except GridError:
            print("what Slurm would be given is shown on a machine that has srun")
    elsewhere = [value for values in times.values() for value in values] or [known]
    total = sum(statistics.fmean(times.get(cell.init, elsewhere)) for cell in missing)
    text = f"about {spent(total / cluster.jobs)} with --jobs {cluster.jobs}"
    if not any(elsewhere):
        text = "time unknown: give --trial-seconds 60 or --cell-seconds, or run a cell first"
    print(f"{len(cells)} cells, {len(missing)} to run; {text if missing else 'nothing to do'}")


def _costs(cells: list[Cell], measure: Callable[[Cell], Cost], trial: float) -> dict[str, Cost]:
    """By init, of the first cell of each."""
    found: dict[str, Cost] = {}
    for cell in cells if trial else ():
        if cell.init not in found:
            print(f"trying {cell.name} for {spent(trial)} …", flush=True)
            found[cell.init] = measure(cell)
    return found
