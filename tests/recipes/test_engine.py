"""The engine on stub trainings: statuses, resuming, kill -9, one engine at a time."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import msgspec
import pytest

from fairseq_gradinit.files import locked
from recipes.engine.cells.cell import Cell, status
from recipes.engine.cells.errors import GridError
from recipes.engine.cells.grid import lock_file
from recipes.engine.cells.records import Status
from recipes.engine.running.cluster import Cluster
from recipes.engine.running.engine import run_grid
from recipes.engine.showing import results, tables


def cell(grid, lr: str) -> Cell:
    return Cell(grid.folder / "cells" / f"lr-{lr}", {"lr": lr})


def descendants(pid: int) -> list[int]:
    """Processes below `pid`, the nearest first."""
    out = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True)
    parents = dict(map(int, line.split()) for line in out.stdout.splitlines())
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


def test_verdicts(stub_grid):
    """Trained, NaN, stuck and broken runs are told apart, and only the broken one has failed."""
    grid = stub_grid(["0.1", "1", "2", "3"])
    states = grid.run(jobs=4)
    assert states["lr-0.1"] == [Status.DONE, ""]
    assert states["lr-1"] == [Status.DIVERGED, "loss or gradient not finite after update 8"]
    assert states["lr-2"] == [Status.DIVERGED, "valid loss not below the unigram plateau"]
    assert (
        states["lr-3"][0] == Status.FAILED and "argument --foo: invalid choice" in states["lr-3"][1]
    )
    score = json.loads(cell(grid, "0.1").score.read_text())
    assert score["bleu"]["score"] > 10 and "version:" in score["bleu"]["signature"]
    assert not list(cell(grid, "0.1").checkpoints.glob("*.pt"))


def test_a_second_run_touches_no_result_and_tries_failed_cells_again(stub_grid):
    grid = stub_grid(["0.1", "3"])
    grid.run(jobs=2)
    before = cell(grid, "0.1").score.stat().st_mtime_ns
    log = cell(grid, "3").train_log.stat().st_size
    grid.run(jobs=2)
    assert cell(grid, "0.1").score.stat().st_mtime_ns == before
    assert cell(grid, "3").train_log.stat().st_size > log


def test_a_worker_killed_each_time_fails_after_three_attempts(stub_grid):
    states = stub_grid(["4"]).run()
    assert states["lr-4"][0] == Status.FAILED and "killed 3 times" in states["lr-4"][1]


def test_kill_nine_at_ten_moments_gives_the_undisturbed_table(stub_grid):
    """Engine, workers and trainings are killed in turn; the table comes out byte for byte."""
    rates = ["0.1", "0.2", "0.3", "1", "2"]
    calm = stub_grid(rates, name="calm")
    calm.run(jobs=2)
    grid = stub_grid(rates, seconds=1.5, name="killed")
    # Cells differ from the calm grid's by --seconds alone, which is no part of the table.
    rng = random.Random(1)
    for turn in range(10):
        engine = grid.start(jobs=2)
        time.sleep(rng.uniform(0.5, 3.0))
        below = descendants(engine.pid)
        victims = [[engine.pid], below, [rng.choice(below or [engine.pid])]][turn % 3]
        for victim in victims:
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:
                continue  # it ended by itself meanwhile
        if engine.poll() is None and turn % 3:
            os.kill(engine.pid, signal.SIGKILL)
        engine.wait()
    states = grid.run(jobs=2)
    assert all(state in (Status.DONE, Status.DIVERGED) for state, _ in states.values())
    texts = [
        tables.grid_tsv(found.grid, found.frame)
        for found in (results.read(one.folder) for one in (calm, grid))
    ]
    assert texts[0] == texts[1]
    for rate in ("0.1", "0.2", "0.3"):
        curves = [json.loads(cell(one, rate).score.read_text())["curves"] for one in (calm, grid)]
        assert curves[0] == curves[1]
        assert [point["update"] for point in curves[0]["train"]] == list(range(1, 21))


def test_a_cell_in_the_hands_of_another_worker_is_waited_for(stub_grid):
    """The engine dies, its worker lives on: the next engine does not start the cell twice."""
    grid = stub_grid(["0.1"], seconds=4)
    engine = grid.start()
    while not cell(grid, "0.1").train_log.exists():
        time.sleep(0.05)
    os.kill(engine.pid, signal.SIGKILL)
    engine.wait()
    assert grid.run()["lr-0.1"] == [Status.DONE, ""]
    log = cell(grid, "0.1").train_log.read_text()
    assert log.count('"num_updates": "1"') == 1


def test_a_training_dies_with_its_worker(stub_grid):
    """An orphan would go on writing checkpoints beside the next attempt."""
    grid = stub_grid(["0.1"], seconds=30)
    engine = grid.start()
    while not cell(grid, "0.1").train_log.exists():
        time.sleep(0.05)
    for pid in [engine.pid, *descendants(engine.pid)[:-1]]:
        os.kill(pid, signal.SIGKILL)
    engine.wait()
    deadline = time.monotonic() + 5
    while status(cell(grid, "0.1"))[0] != Status.MISSING and time.monotonic() < deadline:
        time.sleep(0.05)
    assert status(cell(grid, "0.1"))[0] == Status.MISSING


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_an_engine_told_to_stop_leaves_no_process(stub_grid, number):
    grid = stub_grid(["0.1", "0.2"], seconds=60)
    engine = grid.start(jobs=2)
    while not all(cell(grid, lr).train_log.exists() for lr in ("0.1", "0.2")):
        time.sleep(0.05)
    below = descendants(engine.pid)
    os.kill(engine.pid, number)
    engine.wait(timeout=60)
    assert len(below) >= 4 and not any(Path(f"/proc/{pid}").exists() for pid in below)
    assert status(cell(grid, "0.1")) == (Status.MISSING, "")  # it resumes


def test_one_engine_at_a_time_and_the_refused_one_changes_nothing(stub_grid):
    stub = stub_grid(["0.1"])
    before = (stub.folder / "grid.json").read_bytes()
    more = msgspec.structs.replace(stub.grid, axes={"lr": ["0.1", "0.2"]})
    with locked(lock_file(stub.folder)), pytest.raises(GridError, match="another engine drives"):
        run_grid(more, stub.folder, Cluster("local", 1), lambda _: None)
    assert (stub.folder / "grid.json").read_bytes() == before


def test_early_stop_ends_a_stuck_run_and_no_other(stub_grid):
    """From update 5 on; the run that trains is below the plateau by then."""
    grid = stub_grid(["0.1", "2"], seconds=40)
    engine = grid.start(early_stop=5, jobs=2)
    deadline = time.monotonic() + 60
    while not cell(grid, "2").score.exists():
        assert time.monotonic() < deadline
        time.sleep(0.2)
    state, reason = status(cell(grid, "2"))
    assert state == Status.DIVERGED and reason.startswith("stopped early after update")
    assert status(cell(grid, "0.1"))[0] == Status.RUNNING
    for pid in [engine.pid, *descendants(engine.pid)]:
        os.kill(pid, signal.SIGKILL)
    engine.wait()


def test_a_full_disk_fails_the_cell_in_one_line_and_loses_nothing(stub_grid, tmp_path):
    """The checkpoints lie on a disk of 300 kB; with more room the same command succeeds."""
    grid = stub_grid(["0.1"])
    small = cell(grid, "0.1").checkpoints
    small.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("cannot mount a small disk here: needs root")
    try:
        state, reason = grid.run()["lr-0.1"]
        assert state == Status.FAILED and "No space left on device" in reason and "\n" not in reason
        assert not cell(grid, "0.1").score.exists()
        bigger = ["mount", "-o", "remount,size=10M", str(small)]
        subprocess.run(bigger, check=True)
        assert grid.run()["lr-0.1"] == [Status.DONE, ""]
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_checkpoint_cut_by_a_kill_is_replaced_by_the_newest_whole_one(stub_grid):
    """fairseq copies checkpoint_last.pt in place; a kill in the copy leaves half a file."""
    grid = stub_grid(["0.1"], seconds=3)
    engine = grid.start()
    last = cell(grid, "0.1").checkpoints / "checkpoint_1_10.pt"
    while not last.exists():
        time.sleep(0.02)
    for pid in [engine.pid, *descendants(engine.pid)]:
        os.kill(pid, signal.SIGKILL)
    engine.wait()
    half = Path(cell(grid, "0.1").checkpoints / "checkpoint_last.pt")
    half.write_bytes(last.read_bytes()[:1000])
    assert grid.run()["lr-0.1"] == [Status.DONE, ""]
    log = cell(grid, "0.1").train_log.read_text()
    assert log.count('"num_updates": "10"') == 1  # resumed from 10, not from scratch
