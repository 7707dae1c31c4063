"""The small parts: files, locks, shares of the machine, the plateau, averaging."""

from __future__ import annotations

import math
import os
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fairseq.data import data_utils
from msgspec import structs

from fairseq_gradinit.files import FileError, fingerprint, write_json
from recipes.engine.cells.cell import Cell, cells_of, status
from recipes.engine.cells.errors import GridError
from recipes.engine.cells.grid import Grid, claim, corpus_file
from recipes.engine.cells.records import Corpus, Status
from recipes.engine.cells.texts import read_lines
from recipes.engine.running.cluster import Cluster, share
from recipes.engine.running.engine import run_grid
from recipes.engine.running.worker import Worker
from recipes.engine.steps.average import average, last_checkpoints
from recipes.engine.steps.average import main as average_command
from recipes.engine.steps.corpus import facts, facts_of, take_note, unigram_bits
from recipes.engine.steps.decode import decode
from recipes.engine.steps.train import environment


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
        Cluster("slurm", 1).submit([], tmp_path)


@pytest.fixture
def squeue(tmp_path, monkeypatch):
    """A stand-in for squeue: says what is in the file `held`, or fails without it."""
    program = tmp_path / "squeue"
    program.write_text(f"#!/bin/sh\ncat {tmp_path}/held\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr("recipes.engine.running.cluster.QUEUE_SECONDS", 0.0)
    return tmp_path / "held"


def test_a_job_has_left_the_queue_only_when_squeue_says_so(squeue, capsys):
    """No answer is no news of the jobs; that there is none is said once."""
    job = SimpleNamespace(job_id="1_0")
    cluster = Cluster("slurm", 1)
    for _ in range(3):
        assert not cluster.is_over(job)
    squeue.write_text("1_0\n")
    assert not cluster.is_over(job)
    squeue.unlink()
    assert not cluster.is_over(job)
    squeue.write_text("")
    assert cluster.is_over(job)
    said = capsys.readouterr().err.splitlines()
    assert ["does not answer since" in text for text in said] == [True, False, True, False]


def test_slurm_gives_a_cell_its_own_cores(monkeypatch):
    """Not those of the machine the engine runs on."""
    monkeypatch.setenv("OMP_NUM_THREADS", "48")
    assert Cluster("slurm", 1, cpus=4).threads == "4"
    assert Cluster("local", 1, cpus=4).threads == "48"
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert Cluster("local", 10**6).threads == "1"


def test_a_job_lost_before_it_started_is_a_failed_cell(stub_grid, squeue, monkeypatch):
    """And no end of the engine, although the cell has no folder yet."""
    stub = stub_grid(["0.1"])
    squeue.write_text("")
    monkeypatch.setattr("recipes.engine.running.engine.POLL_SECONDS", 0.01)
    cluster = Cluster("slurm", 1)
    job = SimpleNamespace(job_id="1_0")
    monkeypatch.setattr(cluster, "submit", lambda workers, *_: [job for _ in workers])
    state, reason = run_grid(stub.grid, stub.folder, cluster, lambda _: None).states["lr-0.1"]
    assert state is Status.FAILED and reason.startswith("its job was lost 3 times before it")


def test_an_error_of_ours_is_named(tmp_path, monkeypatch):
    worker = Worker(str(tmp_path), "lr-1")
    grid = Grid(data="d", axes={"lr": ["1"]}, flags=["-ten"])
    claim(grid, tmp_path)
    write_json(corpus_file(tmp_path), {"plateau": 8.0, "sentences": 1})
    monkeypatch.setattr("recipes.engine.running.worker.train", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        worker()
    (cell,) = cells_of(grid, tmp_path)
    assert status(cell)[1].startswith("ZeroDivisionError: division by zero")


def test_unigram_plateau_of_known_frequencies():
    counts = np.array([0, 500, 250, 250])
    correction = 2 / (2 * 1000) / math.log(2)
    assert unigram_bits(counts) == pytest.approx(1.5 + correction)


def test_the_plateau_is_that_of_the_training_targets(grammar):
    """Counted here word by word; the end of a sentence is a word. Either way round."""
    for source, target in (("de", "en"), ("en", "de")):
        found = facts(grammar, "test", source, target)
        dataset = data_utils.load_indexed_dataset(str(grammar / f"train.de-en.{target}"), None)
        counts = Counter(int(token) for at in range(len(dataset)) for token in dataset[at])
        total = sum(counts.values())
        bits = -sum(n / total * math.log2(n / total) for n in counts.values())
        assert found.plateau == pytest.approx(bits + (len(counts) - 1) / (2 * total * math.log(2)))
        assert found.sentences == 20


def test_data_that_do_not_fit_are_found_before_training(grammar, tmp_path):
    with pytest.raises(GridError, match=r"tset\.de-en\.en\.bin: missing"):
        facts(grammar, "tset", "de", "en")
    (tmp_path / "data-bin").symlink_to(grammar)
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "test.en").write_text("a\n" * 19)
    with pytest.raises(GridError, match=r"19 lines, but test in .* has 20 sentences"):
        facts_of(Grid(data=str(tmp_path), axes={"lr": ["1"]}, flags=["-s", "de", "-t", "en"]))


def test_the_split_that_is_trained_on_is_the_one_that_counts(grammar, tmp_path):
    """--train-subset: its plateau, and its files are those that must stay."""
    (tmp_path / "data-bin").symlink_to(grammar)
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "test.en").write_text("a\n" * 20)
    flags = ["-s", "de", "-t", "en", "--train-subset=valid", "--valid-subset", "test"]
    grid = Grid(data=str(tmp_path), axes={"lr": ["1"]}, flags=flags)
    found = take_note(grid, tmp_path)
    assert found.plateau == facts(grammar, "test", "de", "en", "valid").plateau
    assert found.plateau != facts(grammar, "test", "de", "en").plateau
    splits = {name.rsplit("/", 1)[-1].split(".")[0] for name in found.files}
    assert splits == {"valid", "test", "dict"}


def test_a_refused_grid_leaves_nothing_of_itself(grammar, tmp_path):
    """Of its data: the next one, mended, is not measured against it."""
    (tmp_path / "data-bin").symlink_to(grammar)
    reference = tmp_path / "reference"
    reference.write_text("a\n" * 19)
    flags = ["-s", "de", "-t", "en"]
    grid = Grid(data=str(tmp_path), axes={"lr": ["1"]}, flags=flags, reference=str(reference))
    cluster, folder = Cluster("local", 1), tmp_path / "grid"
    with pytest.raises(GridError, match="19 lines, but test in"):
        run_grid(grid, folder, cluster, lambda _: None)
    assert [file.name for file in folder.iterdir()] == ["grid.lock"]
    reference.write_text("a\n" * 20)
    take_note(grid, folder)
    claim(grid, folder)
    reference.write_text("b\n" * 20)
    before = (folder / "grid.json").read_bytes()
    with pytest.raises(GridError, match="no longer what the cells in"):
        run_grid(structs.replace(grid, axes={"lr": ["1", "2"]}), folder, cluster, lambda _: None)
    assert (folder / "grid.json").read_bytes() == before


def test_a_grid_notices_changed_data(tmp_path, monkeypatch):
    """The reference or the binarised data: one table never mixes two."""
    monkeypatch.setattr("recipes.engine.steps.corpus.facts_of", lambda _: Corpus(8.0, 1))
    grid = Grid(data=str(tmp_path), axes={}, flags=["-sde", "-ten"], reference=str(tmp_path / "r"))
    (tmp_path / "data-bin").mkdir()
    (tmp_path / "grid.json").touch()
    files = [
        tmp_path / "r",
        *(tmp_path / "data-bin" / n for n in ("train1.de-en.de.bin", "dict.en.txt")),
    ]
    for file in files:
        file.write_text("old")
    write_json(corpus_file(tmp_path), {"plateau": 8.0, "sentences": 1})  # of an earlier version
    for _ in range(2):
        assert len(take_note(grid, tmp_path).files) == 3
    for file in files:
        file.write_text("new")
        with pytest.raises(GridError, match=f"{file.name}: no longer what the cells in"):
            take_note(grid, tmp_path)
        file.unlink()
        with pytest.raises((GridError, FileError), match=file.name):
            take_note(grid, tmp_path)
        file.write_text("old")


def test_average_is_the_mean_of_the_newest(tmp_path):
    for update, value in ((100, 9.0), (900, 1.0), (1000, 4.0)):
        weights = {"w": torch.full((2,), value, dtype=torch.float16), "n": torch.tensor([update])}
        state = {"model": weights, "args": None}
        if update < 1000:  # the last is of --no-save-optimizer-state
            state["last_optimizer_state"] = {}
        torch.save(state, tmp_path / f"checkpoint_1_{update}.pt")
    files = last_checkpoints(tmp_path, 2)
    assert [file.name for file in files] == ["checkpoint_1_900.pt", "checkpoint_1_1000.pt"]
    average(files, tmp_path / "averaged.pt")
    mean = torch.load(tmp_path / "averaged.pt", weights_only=True)["model"]
    assert mean["w"].tolist() == [2.5, 2.5] and mean["w"].dtype == torch.float16
    assert mean["n"].tolist() == [1000], "counters are not averaged"
    with pytest.raises(ValueError, match=r"3 of updates, --average wants 4.*--keep-last-epochs 4"):
        last_checkpoints(tmp_path, 4)


def test_average_as_a_command(tmp_path, monkeypatch, capsys):
    for number, value in enumerate((1.0, 3.0), 1):
        state = {"model": {"w": torch.tensor([value])}, "args": None}
        torch.save(state, tmp_path / f"checkpoint{number}.pt")
    out = tmp_path / "out.pt"
    monkeypatch.setattr("sys.argv", ["average", str(tmp_path), "3", str(out)])
    assert average_command() == 1 and not out.exists()
    assert len(capsys.readouterr().err.splitlines()) == 1
    monkeypatch.setattr("sys.argv", ["average", str(tmp_path), "2", str(out)])
    assert average_command() == 0
    assert torch.load(out, weights_only=True)["model"]["w"].tolist() == [2.0]


def test_average_of_no_checkpoint_is_one_line(tmp_path):
    for content in (b"", b"text"):
        (tmp_path / "checkpoint1.pt").write_bytes(content)
        with pytest.raises(ValueError, match=r"checkpoint1\.pt: cannot be loaded") as error:
            average([tmp_path / "checkpoint1.pt"], tmp_path / "averaged.pt")
        assert "\n" not in str(error.value) and not (tmp_path / "averaged.pt").exists()


def test_average_never_mixes_epochs_with_updates(tmp_path):
    for name in ("checkpoint1.pt", "checkpoint2.pt", "checkpoint_3_5000.pt", "checkpoint_last.pt"):
        (tmp_path / name).touch()
    assert [f.name for f in last_checkpoints(tmp_path, 2)] == ["checkpoint1.pt", "checkpoint2.pt"]


@pytest.mark.parametrize("name", ["cell", "score", "trained", "failure"])
@pytest.mark.parametrize("text", ["null", "[]", "{}", "{", '{"status": 1}', "[" * 10**5, "1e400"])
def test_a_file_of_another_shape_is_one_line_with_its_remedy(tmp_path, name, text):
    cell = Cell(tmp_path, {})
    (tmp_path / f"{name}.json").write_text(text)
    readers = {"cell": cell.read_config, "score": cell.read_score, "trained": cell.read_trained}
    with pytest.raises(FileError, match=rf"{name}\.json: not what .*; delete it and") as error:
        readers.get(name, lambda: status(cell))()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("user_dir", "forced"),
    [([], True), (["--user-dir=a/mine"], True), (["--user-dir", "a/fairseq_gradinit"], False)],
)
def test_a_cell_reads_its_own_checkpoints_under_every_user_dir(tmp_path, user_dir, forced):
    found = environment(Grid(data="d", axes={}, flags=user_dir), Cell(tmp_path, {}), "3")
    assert found["OMP_NUM_THREADS"] == "3"
    assert ("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD" in found) == forced


def test_decoding_uses_the_user_dir_of_training_in_every_spelling(tmp_path, monkeypatch):
    cell = Cell(tmp_path, {"init": "mine"})
    cell.checkpoints.mkdir()
    (cell.checkpoints / "checkpoint_last.pt").touch()
    (tmp_path / "ref").write_text("A\n")
    commands = []

    def run(command, log, *_):
        commands.append(command)
        log.write_text("T-0\tA\nH-0\t-1\tA\nD-0\t-1\tA\n")
        return 0

    monkeypatch.setattr("recipes.engine.steps.process.run", run)
    grid = Grid(
        data="d", axes={}, inits={"mine": ["--user-dir=my dir"]}, reference=str(tmp_path / "ref")
    )
    decode(grid, cell, 0, "1")
    assert commands[0][commands[0].index("--user-dir") + 1] == "my dir"
    assert cell.read_hypotheses() == ["A"]


@pytest.mark.parametrize("kind", ["pipe", "folder", "bytes", "absent"])
def test_a_reference_that_is_no_text_is_one_line(tmp_path, kind):
    path = tmp_path / "test.en"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "bytes":
        path.write_bytes("Größe\n".encode("utf-16"))
    with pytest.raises(FileError, match=r"test\.en: (is not a regular|not UTF-8|cannot be read)"):
        read_lines(path)
    if kind != "bytes":
        with pytest.raises(FileError, match=r"test\.en: "):
            fingerprint(path)
