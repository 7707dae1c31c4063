"""Stages: skipped when done, continued when killed, redone when something changed."""

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from prep_texts import ROOT, form_of, sentences, tree, write_splits

from data_prep.lib import publish, record, stages
from data_prep.lib.packed import PrepError
from data_prep.lib.stages import Run


@pytest.fixture
def run(tmp_path):
    (tmp_path / "out").mkdir()
    return Run(tmp_path / "out", ("de", "en"))


def do(run, calls, text="x\n", params=None, inputs=()):
    """A stage that writes OUT/a and OUT/folder/b and counts its calls."""

    def work(place):
        calls.append(text)
        place("a").write_text(text)
        place("folder").mkdir()
        (place("folder") / "b").write_text(text)
        return {"lines": {"train": {"read": 1}}}

    named = {f"in {path.name}": path for path in inputs}
    stages.stage(run, "demo", named, params or {}, ["a", "folder"], work)


def test_done_stage_is_skipped_and_nothing_changes(run, capsys):
    calls = []
    do(run, calls)
    before = tree(run.out)
    do(run, calls)
    assert calls == ["x\n"] and tree(run.out) == before
    assert set(before) == {"a", "folder/b", "provenance.json"}
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
def test_failure_removes_what_the_stage_made_and_nothing_else(run, error):
    (run.out / "mine/empty").mkdir(parents=True)

    def work(place):
        place("deep/a").write_text("half")
        raise error

    with pytest.raises(type(error)):
        stages.stage(run, "demo", {}, {}, ["deep/a"], work)
    assert [path.name for path in run.out.rglob("*")] == ["mine", "empty"]


def test_failure_keeps_the_result_that_was_there(run):
    do(run, [])
    before = tree(run.out)

    def work(place):
        place("a").write_text("half")
        raise PrepError("no")

    with pytest.raises(PrepError):
        stages.stage(run, "demo", {}, {"new": 1}, ["a"], work)
    assert tree(run.out) == before


def only_c(place):
    place("c").write_text("c")
    return {}


def test_output_of_a_former_form_is_removed(run):
    do(run, [])
    stages.stage(run, "demo", {}, {"kind": "other"}, ["c"], only_c)
    assert set(tree(run.out)) == {"c", "provenance.json"} and not (run.out / "folder").exists()


def test_output_of_a_former_form_that_someone_changed_is_kept(run):
    do(run, [])
    (run.out / "a").write_text("mine")
    (run.out / "folder/more").write_text("mine too")
    stages.stage(run, "demo", {}, {"kind": "other"}, ["c"], only_c)
    kept = tree(run.out)
    assert kept["a"] == b"mine" and kept["folder/more"] == b"mine too" and "folder/b" not in kept


def test_an_output_that_someone_changed_is_set_aside(run, capsys):
    do(run, [])
    (run.out / "a").write_text("mine")
    do(run, [], "y\n")
    assert (run.out / "a").read_text() == "y\n"
    assert (run.out / "a.kept-1").read_text() == "mine"
    assert "kept as a.kept-1" in capsys.readouterr().err


def test_a_stage_that_is_no_more_takes_its_files_along(run):
    do(run, [])
    stages.stage(run, "other", {}, {}, ["c"], only_c)
    stages.drop_stages(run, ["other"])
    assert set(tree(run.out)) == {"c", "provenance.json"}
    assert set(record.read(run.out).stages) == {"other"}


@pytest.mark.parametrize("step", ["write", "replace"])
def test_a_kill_while_outputs_get_their_names_loses_and_leaves_nothing(run, monkeypatch, step):
    """Between the record of a stage and the end of its renames, at every point."""
    for after in range(1, 5):
        do(run, [], "x\n", {"n": after - 1})
        calls = []
        target, name = (stages.record, "write") if step == "write" else (publish.os, "replace")
        real = getattr(target, name)

        def killed(*words, calls=calls, real=real, after=after):
            calls.append(words)
            if len(calls) == after:
                raise KeyboardInterrupt
            return real(*words)

        with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
            patch.setattr(target, name, killed)
            do(run, [], "y\n", {"n": after})
        do(run, [], "z\n", {"n": -after})
        done = tree(run.out)
        assert set(done) == {"a", "folder/b", "provenance.json"}
        assert done["a"] == done["folder/b"] == b"z\n"


def test_provenance_says_what_went_in(tmp_path, prep, monkeypatch):
    monkeypatch.setenv("PREP_COMMAND", "bash data_prep/x.sh --out o")
    write_splits(tmp_path / "raw")
    options = ["--raw-dir", tmp_path / "raw", "--limit", 20, "--until", "get"]
    code, err = prep(tmp_path / "out", "multi30k", *options)
    assert code == 0, err
    provenance = json.loads((tmp_path / "out/provenance.json").read_text())
    get = provenance["stages"]["get"]
    assert provenance["command"] == "bash data_prep/x.sh --out o"
    assert get["params"]["limit"] == 20 and "non-commercial" in get["licence"]
    assert get["corpus"] == "Multi30k task 1"
    assert get["lines"]["train"] == {"read": 20, "empty": 0, "kept": 20}
    assert {s["file"].rsplit("/", 1)[1] for s in get["sources"]} >= {"train.de", "test.en"}
    assert all(len(s["sha256"]) == 64 for s in get["sources"])


def command(corpus, out, *options):
    words = [corpus, *form_of(corpus), "--", "--out", out, "--workers", 2, *options]
    return [sys.executable, "-m", "data_prep.lib", *map(str, words)]


def test_disk_full_is_one_line_and_leaves_nothing(tmp_path, one_line):
    # A file-size limit is the disk that is full for this process only: write fails with EFBIG.
    write_splits(tmp_path / "raw", 20000)
    words = command("multi30k", tmp_path / "out", "--raw-dir", tmp_path / "raw")
    limited = ["bash", "-c", 'ulimit -f 64; "$@"', "-", *words]
    done = subprocess.run(limited, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    one_line(done.stderr, "no room", "--out")
    assert not (tmp_path / "out").exists()


def test_enospc_is_the_same_line(tmp_path, prep, one_line, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "raw/train.de")

    monkeypatch.setattr("data_prep.lib.get.write_pairs", full)
    write_splits(tmp_path / "raw")
    code, err = prep(tmp_path / "out", "multi30k", "--raw-dir", tmp_path / "raw")
    assert code == 1
    one_line(err, "no room while writing raw/train.de", "free some space")


def test_killed_runs_continue_to_the_same_bytes(tmp_path):
    """Killed by either signal at several points, whole scripts, one run after the other."""
    write_splits(tmp_path / "raw", 3000)
    options = ["--raw-dir", tmp_path / "raw", "--sentencepiece", 60, "--until", "segment"]
    quiet = {"cwd": ROOT, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    for how, point in (
        (signal.SIGKILL, "raw"),
        (signal.SIGTERM, "sentencepiece.model"),
        (signal.SIGKILL, "segmented"),
    ):
        words = command("multi30k", tmp_path / "killed", *options)
        process = subprocess.Popen(words, **quiet)
        scratch = f"killed/{publish.SCRATCH}/*/{point}"
        wait_for(lambda p=process, s=scratch: list(tmp_path.glob(s)) or p.poll() is not None)
        process.send_signal(how)
        process.wait()
    for out in ("killed", "whole"):
        subprocess.run(command("multi30k", tmp_path / out, *options), check=True, **quiet)
    whole, killed = (tree(tmp_path / out) for out in ("whole", "killed"))
    assert not [name for name in killed if publish.SCRATCH in name]
    # the command names --out
    assert set(whole) == set(killed)
    assert {k: v for k, v in whole.items() if k != "provenance.json"} == {
        k: v for k, v in killed.items() if k != "provenance.json"
    }


def test_an_interrupt_while_sentencepiece_reads_is_one(tmp_path, prep, monkeypatch):
    def interrupted(*_):
        yield "some text"
        raise KeyboardInterrupt

    monkeypatch.setattr("data_prep.lib.subwords._sample", interrupted)
    write_splits(tmp_path / "raw")
    code, err = prep(tmp_path / "out", "multi30k", "--raw-dir", tmp_path / "raw")
    assert code == 130 and err.endswith("interrupted; the same command continues\n"), err


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end and not condition():
        time.sleep(0.002)


def test_two_runs_in_one_folder_are_refused(tmp_path, run, prep, one_line, monkeypatch):
    monkeypatch.setattr(stages, "PATIENCE", 0.0)
    write_splits(tmp_path / "raw")
    with stages.only_run_in(run, []):
        code, err = prep(run.out, "multi30k", "--raw-dir", tmp_path / "raw")
    assert code == 1
    one_line(err, "another run is writing there")


def test_a_file_system_without_locks(tmp_path, prep, one_line, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr("fcntl.flock", flock)
    write_splits(tmp_path / "raw")
    code, err = prep(tmp_path / "out", "multi30k", "--raw-dir", tmp_path / "raw")
    assert code == 1 and not (tmp_path / "out").exists()
    one_line(err, str(tmp_path / "out"), "no locks", "give a folder on another file system")


def test_unwritable_output(tmp_path, prep, one_line):
    write_splits(tmp_path / "raw")
    (tmp_path / "file").write_text("")
    code, err = prep(tmp_path / "file/out", "multi30k", "--raw-dir", tmp_path / "raw")
    assert code == 1 and os.path.isfile(tmp_path / "file")
    one_line(err, "check --out")


def test_files_of_one_name_in_two_folders_are_told_apart(tmp_path, prep):
    """German and English in files of the same name: the side is what counts."""
    for side, lang in enumerate(("de", "en")):
        (tmp_path / lang).mkdir()
        lines = [pair[side] for pair in sentences(300)]
        (tmp_path / lang / "text").write_text("\n".join(lines) + "\n", encoding="utf-8")
    options = ["--source-lang", "de", "--target-lang", "en", "--until", "get"]
    right = ["--src", tmp_path / "de/text", "--tgt", tmp_path / "en/text"]
    wrong = ["--src", tmp_path / "en/text", "--tgt", tmp_path / "de/text"]
    assert prep(tmp_path / "out", "own", *options, *wrong)[0] == 0
    code, err = prep(tmp_path / "out", "own", *options, *right)
    assert code == 0 and "again, since --src changed" in err
    text = (tmp_path / "out/work/source/train.de").read_text(encoding="utf-8")
    assert text == (tmp_path / "de/text").read_text(encoding="utf-8")
