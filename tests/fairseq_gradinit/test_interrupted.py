"""A run cut short anywhere before its first update goes on to the same bits."""

import json
import logging
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from fairseq_runs import checkpoint, train, train_arguments

from fairseq_gradinit import before_training, progress
from fairseq_gradinit.files import FileError
from fairseq_gradinit.gradinit import Search
from fairseq_gradinit.gradinit.trial import Trial

ITERATIONS = 6
GRADINIT = ["--gradinit", f"--gradinit-iters={ITERATIONS}", "--gradinit-trial=3"]
QUICK = ["--gradinit-trial=0", "--gradinit-lookahead=1"]
KINDS = {
    "multistep": ["--gradinit-lookahead=2", "--gradinit-max-change=3"],
    "bounded": ["--gradinit-lookahead=2", "--gradinit-predicted-drop=0.7"],
    "paper": ["--gradinit-preset=paper"],
}


class Killed(BaseException):
    pass


@pytest.fixture
def always(monkeypatch):
    """Progress is kept after every iteration."""
    monkeypatch.setattr(progress, "SHARE", float("inf"))


def killed_after(monkeypatch, count):
    """Within, the search is cut short after `count` iterations, as by a kill: nothing is tidied."""
    iterate = Search.__iter__

    def until(search):
        for record in iterate(search):
            if record.iteration == count:
                raise Killed
            yield record

    monkeypatch.setattr(Search, "__iter__", until)


def outcome(save_dir):
    record = json.loads((save_dir / "gradinit" / "scales.json").read_text())
    log = [json.loads(x) for x in (save_dir / "gradinit" / "iterations.jsonl").open()]
    for line in [record, *log, record["prediction"]]:
        line.pop("seconds", None)
        line.pop("seal", None)  # of the text, seconds included
    if record["unigram"]:
        record["unigram"].pop("seconds")
    return record, log, checkpoint(save_dir)["model"]


def assert_same(one, other):
    assert one[:2] == other[:2]
    assert all(torch.equal(one[2][name], other[2][name]) for name in one[2])


@pytest.fixture(scope="module", params=KINDS)
def whole(request, grammar, tmp_path_factory):
    """Flags of a run, and what comes of it undisturbed."""
    flags = [*GRADINIT, *KINDS[request.param], "--max-update=2"]
    save_dir = tmp_path_factory.mktemp("whole")
    train(grammar, save_dir, *flags)
    assert not (save_dir / "gradinit" / "progress.json").exists()
    return flags, outcome(save_dir)


@pytest.mark.parametrize("count", [1, 4])
def test_a_search_goes_on_to_the_same_bits(
    grammar, tmp_path, whole, count, monkeypatch, caplog, always
):
    flags, undisturbed = whole
    with monkeypatch.context() as patched, pytest.raises(Killed):
        killed_after(patched, count)
        train(grammar, tmp_path, *flags)
    assert not (tmp_path / "gradinit" / "scales.json").exists()
    caplog.set_level(logging.INFO)
    train(grammar, tmp_path, *flags)
    assert f"going on after {count} iterations" in caplog.text
    assert_same(outcome(tmp_path), undisturbed)
    assert not (tmp_path / "gradinit" / "progress.json").exists()


def test_a_kill_during_the_trial_does_not_lose_the_prediction(
    grammar, tmp_path, whole, monkeypatch
):
    flags, undisturbed = whole

    def kill(*_):
        raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(before_training, "try_updates", kill)
        train(grammar, tmp_path, *flags)
    scales = tmp_path / "gradinit" / "scales.json"
    assert json.loads(scales.read_text())["prediction"] is None
    train(grammar, tmp_path, *flags)
    assert_same(outcome(tmp_path), undisturbed)


def test_a_prediction_made_is_not_made_again(grammar, tmp_path, monkeypatch):
    flags = ["--gradinit", "--gradinit-trial=2"]
    train(grammar, tmp_path, *flags)
    (tmp_path / "checkpoint_last.pt").unlink()
    monkeypatch.setattr(before_training, "try_updates", Trial)  # cannot be called
    train(grammar, tmp_path, *flags)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_keeps_what_it_has(grammar, tmp_path, number):
    """With a real signal, at any moment of the search."""
    more = ["--gradinit", "--gradinit-iters=2000", "--gradinit-trial=0", "--gradinit-lookahead=2"]
    arguments = train_arguments(grammar, tmp_path, *more)
    process = subprocess.Popen(
        [sys.executable, "-m", "fairseq_cli.train", *arguments], stderr=subprocess.DEVNULL, cwd="/"
    )
    log = tmp_path / "gradinit" / "iterations.jsonl"
    try:
        deadline = time.monotonic() + 120
        while not (log.exists() and log.read_bytes().count(b"\n") > 20):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait(60) != 0
    finally:
        process.kill()
    done = progress.read_progress(tmp_path / "gradinit" / "progress.json").done
    assert done > 15 and log.read_bytes().count(b"\n") - done in (0, 1)


@pytest.mark.parametrize(
    "change, says",
    [
        ("--gradinit-lr=0.4", "config.lr is 0.4, was 0.1"),
        ("--seed=2", "config.seed is 2, was 1"),
        ("--activation-fn=gelu", "activation_fn is gelu"),
    ],
)
def test_progress_of_another_search_is_not_used(
    grammar, tmp_path, change, says, monkeypatch, caplog, always
):
    flags = [*GRADINIT, *KINDS["multistep"]]
    with monkeypatch.context() as patched, pytest.raises(Killed):
        killed_after(patched, 2)
        train(grammar, tmp_path, *flags)
    caplog.set_level(logging.INFO)
    train(grammar, tmp_path, *flags, change)
    assert says in caplog.text and "going on" not in caplog.text
    assert json.loads((tmp_path / "gradinit" / "scales.json").read_text())["iterations"] == 6


def test_keeping_progress_takes_little(grammar, tmp_path, monkeypatch):
    written = []
    keep = progress.write_json
    monkeypatch.setattr(progress, "write_json", lambda *a, **k: (written.append(1), keep(*a, **k)))
    started = time.monotonic()
    train(grammar, tmp_path, "--gradinit", "--gradinit-iters=12", *QUICK)
    spent = time.monotonic() - started
    assert 1 <= len(written) <= 2 + spent / 0.1  # a write takes a millisecond or more


def damaged(tmp_path, change):
    record = json.loads(json.dumps(RECORD))
    change(record)
    path = tmp_path / "progress.json"
    path.write_text(json.dumps(record))
    return path


RECORD = {
    "format": 1,
    "config": {},
    "made_from": {},
    "norms": {"a": 1.0},
    "done": 2,
    "step": "lower_loss",
    "drawn": 5,
    "start": [1.0],
    "scales": [0.5],
    "moments": {"lower_loss": {"m": [0.1], "v": [0.2], "t": 2}},
    "seconds": 1.0,
}


def test_progress_is_read_as_it_was_written(tmp_path):
    state = progress.state_of(progress.read_progress(damaged(tmp_path, lambda r: None)))
    assert (state.after.done, state.drawn, state.scales.tolist()) == (2, 5, [0.5])
    assert state.moments["lower_loss"][2] == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r.update(done=3),
        lambda r: r.update(drawn=1),
        lambda r: r["scales"].append(1.0),
        lambda r: r["moments"]["lower_loss"].update(m=[]),
        lambda r: r["moments"]["lower_loss"].update(v=[-1]),
        lambda r: r.update(step="lower"),
        lambda r: r.update(scales=[-1]),
        lambda r: r.pop("start"),
    ],
)
def test_progress_that_does_not_agree_with_itself_is_refused(tmp_path, change):
    with pytest.raises(FileError, match=r"progress\.json: not what it should be"):
        progress.read_progress(damaged(tmp_path, change))


def test_two_runs_in_one_save_dir_are_refused(grammar, tmp_path):
    (tmp_path / "gradinit").mkdir()
    holder = (
        "import fcntl, sys, time; file = open(sys.argv[1], 'w'); fcntl.flock(file, fcntl.LOCK_EX); "
        "print('held', flush=True); time.sleep(100)"
    )
    lock = str(tmp_path / "gradinit" / ".lock")
    other = subprocess.Popen([sys.executable, "-c", holder, lock], stdout=subprocess.PIPE)
    try:
        assert other.stdout and other.stdout.readline() == b"held\n"
        with pytest.raises(SystemExit) as caught:
            train(grammar, tmp_path, "--gradinit", "--gradinit-trial=0")
        assert str(caught.value).startswith("fairseq-train: error: --save-dir ")
        assert "another run is training there" in str(caught.value)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "gradinit" / "scales.json").exists()
    finally:
        other.kill()
        other.wait()
    train(grammar, tmp_path, "--gradinit", "--gradinit-trial=0")


def test_a_file_system_without_locks_is_said_and_trained_on(grammar, tmp_path, monkeypatch, caplog):
    def flock(*_):
        raise OSError(38, os.strerror(38))

    monkeypatch.setattr("fairseq_gradinit.files.fcntl.flock", flock)
    train(grammar, tmp_path, "--gradinit", "--gradinit-trial=0")
    assert "its file system has no locks" in caplog.text and "no second run" in caplog.text
    assert (tmp_path / "checkpoint_last.pt").exists()
