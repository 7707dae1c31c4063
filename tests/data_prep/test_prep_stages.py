"""Stages: skipped when done, continued when killed, redone when something changed."""

import errno
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from prep_texts import ROOT, sentences, tree, write_pairs

from data_prep.lib import stages
from data_prep.lib.__main__ import main
from data_prep.lib.errors import PrepError
from data_prep.lib.stages import Run


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path / "out", ("de", "en"))


def do(run, calls, text="x\n", params=None, inputs=()):
    """A stage that writes OUT/a and OUT/folder/b and counts its calls."""

    def work(partial):
        calls.append(text)
        partial(run.out / "a").write_text(text)
        partial(run.out / "folder").mkdir()
        (partial(run.out / "folder") / "b").write_text(text)
        return {"lines": 1}

    outputs = [run.out / "a", run.out / "folder"]
    stages.stage(run, "demo", inputs, params or {}, outputs, work)


def test_done_stage_is_skipped_and_nothing_changes(run, capsys):
    calls = []
    do(run, calls)
    before = tree(run.out)
    do(run, calls)
    assert calls == ["x\n"] and tree(run.out) == before
    assert "demo: done before, skipped" in capsys.readouterr().err


def test_changed_parameter_is_said_and_done_again(run, capsys):
    calls = []
    do(run, calls, params={"size": 1})
    do(run, calls, "y\n", params={"size": 2})
    assert len(calls) == 2 and (run.out / "a").read_text() == "y\n"
    assert "demo: again, since size was 1 and is 2" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["input", "output", "folder"])
def test_changed_or_missing_files_are_noticed(run, tmp_path, what, capsys):
    source, calls = tmp_path / "in", []
    source.write_text("1")
    do(run, calls, inputs=[source])
    if what == "input":
        source.write_text("22")
    elif what == "output":
        (run.out / "a").write_text("damaged")
    else:
        (run.out / "folder" / "b").unlink()
    do(run, calls, inputs=[source])
    assert len(calls) == 2 and (run.out / "a").read_text() == "x\n"
    assert "again, since" in capsys.readouterr().err


@pytest.mark.parametrize("error", [PrepError("no"), OSError(errno.ENOSPC, "full"), SystemExit(3)])
def test_failure_leaves_nothing(run, error):
    def work(partial):
        partial(run.out / "deep/a").write_text("half")
        raise error

    with pytest.raises(type(error)):
        stages.stage(run, "demo", [], {}, [run.out / "deep/a"], work)
    assert not run.out.exists()


def test_failure_keeps_the_result_that_was_there(run):
    do(run, [])
    before = tree(run.out)

    def work(partial):
        partial(run.out / "a").write_text("half")
        raise PrepError("no")

    with pytest.raises(PrepError):
        stages.stage(run, "demo", [], {"new": 1}, [run.out / "a"], work)
    assert tree(run.out) == before


def test_output_of_a_former_form_is_removed(run):
    do(run, [])

    def work(partial):
        partial(run.out / "c").write_text("c")
        return {}

    stages.stage(run, "demo", [], {"kind": "other"}, [run.out / "c"], work)
    assert set(tree(run.out)) == {"c", "provenance.json"}


def test_damaged_provenance_is_one_line(tmp_path, stage, one_line):
    write_splits(tmp_path / "raw")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/provenance.json").write_text("{")
    code, err = stage(tmp_path / "out", "get", "multi30k", "--raw-dir", tmp_path / "raw")
    assert code == 1
    one_line(err, "provenance.json", "remove it")


def write_splits(folder, count=50):
    for seed, split in enumerate(("train", "valid", "test")):
        write_pairs(folder, split, sentences(count, seed))


def test_provenance_says_what_went_in(tmp_path, stage, monkeypatch):
    monkeypatch.setenv("PREP_COMMAND", "bash data_prep/x.sh --out o")
    write_splits(tmp_path / "raw")
    code, err = stage(
        tmp_path / "out", "get", "multi30k", "--raw-dir", tmp_path / "raw", "--limit", 20
    )
    assert code == 0, err
    record = json.loads((tmp_path / "out/provenance.json").read_text())
    get = record["stages"]["get"]
    assert record["command"] == "bash data_prep/x.sh --out o"
    assert get["params"]["limit"] == 20 and "non-commercial" in get["licence"]
    assert get["lines"]["train"] == {"read": 20, "empty": 0, "kept": 20}
    assert {s["file"].rsplit("/", 1)[1] for s in get["sources"]} >= {"train.de", "test.en"}
    assert all(len(s["sha256"]) == 64 for s in get["sources"])


def test_disk_full_is_one_line_and_leaves_nothing(tmp_path, one_line):
    # A file-size limit is the disk that is full for this process only: write fails with EFBIG.
    write_splits(tmp_path / "raw", 20000)
    command = (
        f"ulimit -f 64; {sys.executable} -m data_prep.lib get multi30k --raw-dir {tmp_path}/raw "
        f"--out {tmp_path}/out --languages de en"
    )
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    one_line(done.stderr, "no room", "--out")
    assert not (tmp_path / "out").exists()


def test_enospc_is_the_same_line(tmp_path, stage, one_line, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "raw/train.de.partial")

    monkeypatch.setattr("data_prep.lib.get.write_pairs", full)
    write_splits(tmp_path / "raw")
    code, err = stage(tmp_path / "out", "get", "multi30k", "--raw-dir", tmp_path / "raw")
    assert code == 1
    one_line(err, "no room while writing raw/train.de.partial", "free some space")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_killed_run_continues_to_the_same_bytes(tmp_path, how):
    write_splits(tmp_path / "raw", 3000)
    prep = [sys.executable, "-m", "data_prep.lib"]
    where = ["--languages", "de", "en", "--workers", "2"]
    get = ["get", "multi30k", "--raw-dir", str(tmp_path / "raw")]
    learn = ["learn", "sentencepiece", "--size", "60"]
    segment = ["segment", "sentencepiece"]
    for out, kill in (("whole", False), ("killed", True)):
        for command in (get, learn, segment):
            full = [*prep, *command, "--out", str(tmp_path / out), *where]
            if kill and command is not get:
                process = subprocess.Popen(full, cwd=ROOT, stderr=subprocess.DEVNULL)
                wait_for(
                    lambda p=process: (
                        list(tmp_path.glob("killed/**/*.partial")) or p.poll() is not None
                    )
                )
                process.send_signal(how)
                process.wait()
            subprocess.run(full, cwd=ROOT, check=True, stderr=subprocess.DEVNULL)
    whole, killed = tree(tmp_path / "whole"), tree(tmp_path / "killed")
    assert not [name for name in killed if "partial" in name]
    assert whole == killed


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end and not condition():
        time.sleep(0.002)


def test_two_runs_in_one_folder_are_refused(tmp_path, run, stage, one_line):
    write_splits(tmp_path / "raw")
    with stages._only_run_in(run.out):
        code, err = stage(run.out, "get", "multi30k", "--raw-dir", tmp_path / "raw")
    assert code == 1
    one_line(err, "another run is writing there")


def test_missing_library_is_one_line(monkeypatch, capsys, one_line):
    def absent(_):
        raise ModuleNotFoundError("No module named 'pooch'", name="pooch")

    monkeypatch.setattr("data_prep.lib.__main__._run", absent)
    assert main([]) == 1
    one_line(capsys.readouterr().err, "pooch", "pip install")


def test_unwritable_output(tmp_path, stage, one_line):
    write_splits(tmp_path / "raw")
    (tmp_path / "file").write_text("")
    code, err = stage(tmp_path / "file/out", "get", "multi30k", "--raw-dir", tmp_path / "raw")
    assert code == 1 and os.path.isfile(tmp_path / "file")
    one_line(err, "check --out")


def test_files_of_one_name_in_two_folders_are_told_apart(run, tmp_path):
    calls, files = [], [tmp_path / "de/text", tmp_path / "en/text"]
    for path in files:
        path.parent.mkdir()
        path.write_text(path.parent.name)
    do(run, calls, inputs=files)
    files[0].write_text("changed")
    do(run, calls, inputs=files)
    assert len(calls) == 2
