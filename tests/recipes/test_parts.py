"""The small parts: files, locks, shares of the machine, the plateau, averaging, the live table."""

from __future__ import annotations

import contextlib
import io
import math
import os
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from recipes.engine.cells.cell import DONE, MISSING
from recipes.engine.cells.errors import GridError
from recipes.engine.cells.files import is_locked, locked, read_json, write_text
from recipes.engine.cells.grid import Grid
from recipes.engine.cells.progress import Progress
from recipes.engine.running.cluster import Cluster, share
from recipes.engine.showing import live
from recipes.engine.steps.average import average, last_checkpoints
from recipes.engine.steps.corpus import facts_of, unigram_bits


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    file = tmp_path / "a.json"
    write_text(file, "old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(file, "new")
    assert file.read_text() == "old" and list(tmp_path.iterdir()) == [file]


def test_broken_json_names_the_file_and_the_remedy(tmp_path):
    file = tmp_path / "score.json"
    file.write_text('{"a": ')
    with pytest.raises(GridError, match=r"score\.json: not JSON .*delete it"):
        read_json(file)


def test_a_lock_is_held_by_one_and_seen_by_all(tmp_path):
    path = tmp_path / "lock"
    assert not is_locked(path)
    with locked(path) as first:
        assert first is not None and is_locked(path)
        with locked(path, patience=0.1) as second:
            assert second is None
    assert not is_locked(path)


@pytest.mark.parametrize(
    ("gpus", "jobs", "shares"),
    [
        (0, 2, [(), ()]),
        (2, 2, [(0,), (1,)]),
        (2, 4, [(0,), (1,), (0,), (1,)]),
        (4, 2, [(0, 2), (1, 3)]),
        (3, 2, [(0, 2), (1,)]),
    ],
)
def test_every_gpu_is_used_and_shared_evenly(gpus, jobs, shares):
    assert [share(gpus, jobs, slot) for slot in range(jobs)] == shares


def test_slurm_where_there_is_none_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(GridError, match="--cluster slurm: no srun on this machine"):
        Cluster(kind="slurm").executor(tmp_path)


def test_a_job_submitted_since_squeue_was_asked_is_not_taken_for_over(tmp_path, monkeypatch):
    """Else it would be counted as killed and started again."""
    squeue = tmp_path / "squeue"
    squeue.write_text(f"#!/bin/sh\ncat {tmp_path}/held\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    cluster = Cluster(kind="slurm")
    (tmp_path / "held").write_text("1_0\n")
    assert not cluster.is_over(SimpleNamespace(job_id="1_0"))

    class Executor:
        batch = contextlib.nullcontext

        def submit(self, worker):
            (tmp_path / "held").write_text("1_0\n2\n")
            return SimpleNamespace(job_id="2")

    monkeypatch.setattr(cluster, "executor", lambda *_: Executor())
    (job,) = cluster.submit([None], tmp_path)
    assert not cluster.is_over(job)
    assert cluster.is_over(SimpleNamespace(job_id="3"))


def test_unigram_plateau_of_known_frequencies():
    sentences = [[4] * 500 + [5] * 250 + [6] * 250]
    correction = 2 / (2 * 1000) / math.log(2)
    assert unigram_bits(sentences) == pytest.approx(1.5 + correction)


def test_reference_of_another_length_is_found_before_training(grammar, tmp_path):
    """`grammar` is the data-bin of 20 test sentences."""
    (tmp_path / "data-bin").symlink_to(grammar)
    reference = tmp_path / "ref"
    flags = ["-s", "de", "-t", "en"]
    grid = Grid(data=str(tmp_path), axes={"lr": ["1"]}, flags=flags, reference=str(reference))
    reference.write_text("a\n" * 20)
    assert facts_of(grid)["sentences"] == 20
    reference.write_text("a\n" * 19)
    with pytest.raises(GridError, match=r"19 lines, but test in .* has 20 sentences"):
        facts_of(grid)
    grid = Grid(data=str(tmp_path), axes={"lr": ["1"]}, flags=flags, subset="tset")
    with pytest.raises(GridError, match=r"tset\.de-en\.en\.bin: missing"):
        facts_of(grid)


def test_average_is_the_mean_of_the_newest(tmp_path):
    for update, value in ((100, 9.0), (900, 1.0), (1000, 4.0)):
        weights = {"w": torch.full((2,), value, dtype=torch.float16), "n": torch.tensor([update])}
        state = {"model": weights, "last_optimizer_state": {}, "args": None}
        torch.save(state, tmp_path / f"checkpoint_1_{update}.pt")
    files = last_checkpoints(tmp_path, 2)
    assert [file.name for file in files] == ["checkpoint_1_900.pt", "checkpoint_1_1000.pt"]
    average(files, tmp_path / "averaged.pt")
    mean = torch.load(tmp_path / "averaged.pt", weights_only=True)["model"]
    assert mean["w"].tolist() == [2.5, 2.5] and mean["w"].dtype == torch.float16
    assert mean["n"].tolist() == [1000], "counters are not averaged"
    with pytest.raises(ValueError, match=r"3 of updates, --average wants 4.*--keep-last-epochs 4"):
        last_checkpoints(tmp_path, 4)


def test_average_never_mixes_epochs_with_updates(tmp_path):
    for name in ("checkpoint1.pt", "checkpoint2.pt", "checkpoint_3_5000.pt", "checkpoint_last.pt"):
        (tmp_path / name).touch()
    assert [f.name for f in last_checkpoints(tmp_path, 2)] == ["checkpoint1.pt", "checkpoint2.pt"]


def test_live_table_on_a_terminal_and_lines_without_one(tmp_path):
    """Both tell what runs; a line is printed once for each change."""
    states = {"lr-1": (MISSING, ""), "lr-2": ("running", ""), "lr-3": ("failed", "no such file")}
    for terminal in (True, False):
        console = Console(force_terminal=terminal, width=100, record=True, file=io.StringIO())
        with live.shown(tmp_path, console) as show:
            show(Progress(dict(states)))
            show(Progress(dict(states)))
        text = console.export_text()
        assert "lr-2" in text and "no such file" in text
        if not terminal:
            assert text.count("lr-2") == 1 and "lr-1" not in text
    assert live.left(Progress({"a": (DONE, "")})) == ""
