"""The live view: phases as a cell's files and log tell them, ETA from updates, both views."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from fairseq_gradinit.files import write_json, write_text
from recipes.engine.cells.cell import Cell, cells_of
from recipes.engine.cells.grid import Grid, claim
from recipes.engine.cells.progress import Progress
from recipes.engine.cells.records import Curves, Metric, Score, Seconds, Status
from recipes.engine.showing import live
from recipes.engine.showing.eta import Eta
from recipes.engine.showing.phases import Phase, phase_of

RUNNING, MISSING, DONE = (Status.RUNNING, ""), (Status.MISSING, ""), (Status.DONE, "")
SEARCH = (
    "2026-11-25 | INFO | gradinit | "
    '{"step": "lower_loss", "loss": 9.1, "iterations": 40, "lookahead_loss": 8.9}\n'
)
LEARNED = "2026-11-25 | INFO | x.log | GradInit: 40 iterations in 3.1 s (stopped: iters); scales\n"
TRIED = "2026-11-25 | INFO | x.log | GradInit: tried 30 updates at learning rate 0.004\n"


@pytest.fixture
def grid_of(tmp_path):
    def make(average: int = 0, flags: tuple[str, ...] = ("--max-update", "800")) -> Grid:
        grid = Grid(
            data="data",
            axes={"init": ["a", "b"]},
            inits={"a": [], "b": ["--gradinit"]},
            flags=["-s", "de", "-t", "en", *flags],
            average=average,
        )
        claim(grid, tmp_path / "grid")
        return grid

    return make


def folder_cells(grid: Grid, tmp_path: Path) -> list[Cell]:
    return cells_of(grid, tmp_path / "grid")


def line(update: int, speed: float = 4.0) -> str:
    values = {"num_updates": str(update), "nll_loss": "7.1", "ups": str(speed)}
    return f"2026-11-25 | INFO | train_inner | {json.dumps(values)}\n"


def test_a_cell_goes_through_its_phases_in_order(grid_of, tmp_path):
    grid = grid_of(average=2)
    cell = folder_cells(grid, tmp_path)[1]
    seen = [phase_of(grid, cell).name]
    write_text(cell.gradinit / "iterations.jsonl", '{"loss": 9.0}\n' * 12)
    write_text(cell.train_log, SEARCH)
    seen.append(phase_of(grid, cell).name)
    for said in (LEARNED, TRIED, line(300)):
        write_text(cell.train_log, cell.train_log.read_text() + said)
        seen.append(phase_of(grid, cell).name)
    write_json(cell.trained, {"outcome": "trained", "seconds": 3.0})
    seen.append(phase_of(grid, cell).name)
    write_text(cell.checkpoints / "averaged.pt", "")
    seen.append(phase_of(grid, cell).name)
    write_text(cell.hypotheses, "")
    seen.append(phase_of(grid, cell).name)
    assert seen == [
        "preparing", "GradInit 12 of 40", "trial", "update 0 of 800", "update 300 of 800",
        "averaging", "decoding", "scoring",
    ]  # fmt: skip


def test_a_run_by_epochs_has_updates_but_no_end(grid_of, tmp_path):
    grid = grid_of(flags=("--max-epoch", "3"))
    cell = folder_cells(grid, tmp_path)[0]
    write_text(cell.train_log, line(300))
    assert phase_of(grid, cell) == Phase("update 300", 300, None, 4.0)


def test_broken_iterations_do_not_end_the_run(grid_of, tmp_path):
    grid = grid_of()
    cell = folder_cells(grid, tmp_path)[1]
    write_text(cell.gradinit / "iterations.jsonl", "{broken\n")
    assert phase_of(grid, cell).name == "preparing"


def score(speed: float, gradinit: float | None, decode: float) -> Score:
    seconds = Seconds(train=800 / speed + (gradinit or 0.0), gradinit=gradinit, decode=decode)
    bleu = Metric(21.5, "nrefs:1")
    return Score(DONE[0], "", bleu, bleu, 8.0, Curves(), seconds, speed)


def test_what_is_left_is_counted_in_updates(grid_of, tmp_path):
    grid = grid_of()
    a, b = folder_cells(grid, tmp_path)
    eta = Eta(grid, [a, b])
    states = {a.name: RUNNING, b.name: MISSING}
    assert eta.seconds(states, {a.name: Phase("preparing", 0, 800)}) is None, "no speed yet"
    # 600 of 800 updates at 4 a second are left to a, b is to make 800: one after the other.
    at = {a.name: Phase("update 200 of 800", 200, 800, 4.0)}
    assert eta.seconds(states, at) == pytest.approx(600 / 4 + 800 / 4)
    both = {**at, b.name: Phase("update 700 of 800", 700, 800, 2.0)}
    assert eta.seconds({a.name: RUNNING, b.name: RUNNING}, both) == pytest.approx(600 / 4)
    # It falls with every update, also while no cell ends.
    later = {a.name: Phase("update 400 of 800", 400, 800, 4.0)}
    assert eta.seconds(states, later) == pytest.approx(400 / 4 + 800 / 4)


def test_the_speed_that_is_seen_counts_more_than_the_one_logged(grid_of, tmp_path):
    """What is logged leaves validation and saving out."""
    grid, now = grid_of(), [0.0]
    a, b = folder_cells(grid, tmp_path)
    eta = Eta(grid, [a, b], clock=lambda: now[0])
    states = {a.name: RUNNING, b.name: MISSING}
    assert eta.seconds(states, {a.name: Phase("", 100, 800, 4.0)}) == pytest.approx(1500 / 4)
    now[0] = 100.0
    assert eta.seconds(states, {a.name: Phase("", 300, 800, 4.0)}) == pytest.approx(1300 / 2)


def test_an_init_brings_its_own_speed_and_the_seconds_beside_its_updates(grid_of, tmp_path):
    grid = grid_of()
    a, b = folder_cells(grid, tmp_path)
    write_json(b.score, score(speed=2.0, gradinit=50.0, decode=10.0))
    eta = Eta(grid, [a, b])
    assert eta.seconds({a.name: MISSING, b.name: DONE}, {}) == pytest.approx(800 / 2 + 10)
    a.score.parent.mkdir(parents=True)
    write_json(a.score, score(speed=8.0, gradinit=None, decode=4.0))
    eta = Eta(grid, [a, b])
    eta.seconds({a.name: DONE, b.name: DONE}, {})
    again = {a.name: DONE, b.name: MISSING}
    assert eta.seconds(again, {}) == pytest.approx(800 / 2 + 10 + 50), "as b did before"


def test_without_a_terminal_it_is_a_line_a_minute_and_one_when_a_cell_ends(grid_of, tmp_path):
    grid = grid_of()
    a, b = folder_cells(grid, tmp_path)
    console = Console(file=io.StringIO(), width=40)
    now = [0.0]
    show = live.Lines(tmp_path / "grid", console, clock=lambda: now[0])
    write_text(a.train_log, line(200))
    for second in range(125):
        now[0] = float(second)
        show(Progress({a.name: RUNNING, b.name: MISSING}))
    write_json(a.score, score(speed=4.0, gradinit=None, decode=1.0))
    show(Progress({a.name: DONE, b.name: RUNNING}))
    text = console.file.getvalue().splitlines()
    minutes = [one[9:] for one in text if "cells over" in one]
    assert minutes == ["0 of 2 cells over, about 6 min left; init-a: update 200 of 800"] * 3
    assert [one[9:] for one in text if "cells over" not in one] == [
        "[1/2] init-a: done BLEU 21.50",
        "[1/2] init-b: running",
    ]


def test_on_a_terminal_each_running_cell_has_a_bar_with_its_phase(grid_of, tmp_path):
    grid = grid_of()
    a, b = folder_cells(grid, tmp_path)
    write_text(a.train_log, line(200))
    console = Console(file=io.StringIO(), width=160, force_terminal=True)
    with live.shown(tmp_path / "grid", console) as show:
        show(Progress({a.name: RUNNING, b.name: RUNNING}))
        (whole, first, second) = show.bars.tasks
        assert (whole.completed, whole.total) == (200 / 800, 2)
        assert (first.completed, first.total) == (200, 800)
        assert (first.fields["phase"], second.fields["phase"]) == ("update 200 of 800", "preparing")
        write_json(a.score, score(speed=4.0, gradinit=None, decode=1.0))
        show(Progress({a.name: DONE, b.name: RUNNING}))
        assert [task.description for task in show.bars.tasks] == ["grid", "init-b"]
    assert "init-a: done BLEU 21.50" in console.file.getvalue()


def test_durations_are_told_as_people_tell_them():
    assert [live.duration(s) for s in (40, 700, 12_000)] == ["40 s", "12 min", "3 h 20 min"]
