"""Grids of real fairseq trainings: who trains and who does not, and kill -9 at ten moments."""

from __future__ import annotations

import os
import random
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from corpus import binarise, write_corpus

from recipes.engine.cells.cell import cells_of, status
from recipes.engine.cells.grid import load
from recipes.engine.showing import results, tables

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
SAVING = shlex.split(
    "--no-epoch-checkpoints --log-interval 10 --num-workers 0 --keep-interval-updates 1"
)


def model(layers: int, width: int) -> list[str]:
    flags = shlex.split("--task translation --source-lang de --target-lang en --arch transformer")
    flags += ["--share-all-embeddings", "--dropout", "0.1", "--clip-norm", "0"]
    flags += shlex.split("--criterion label_smoothed_cross_entropy --label-smoothing 0.1")
    for side in ("encoder", "decoder"):
        flags += [f"--{side}-layers", str(layers), f"--{side}-embed-dim", str(width)]
        flags += [f"--{side}-ffn-embed-dim", str(2 * width), f"--{side}-attention-heads", "2"]
    return [*flags, "--optimizer", "adam", "--adam-betas", "(0.9, 0.98)"]


def engine(out: Path, data: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "recipes.engine", "run", "--out", str(out)]
    command += ["--data", str(data), "--jobs", "2", *arguments, *SAVING]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=ROOT, env=env, text=True, stdout=subprocess.DEVNULL, start_new_session=True
    )


def cells(out: Path):
    return cells_of(load(out), out)


def test_who_trains(tmp_path):
    """2 lr × 2 β₂ × {none, gradinit} on Multi30k, a 3+3-layer Post-LN model, 125 updates.

    By validation loss, in bits per token, with a margin of half a bit on either side of what
    separates the two; BLEU is still low after so few updates.
    """
    shared = os.environ.get("GRADINIT_SHARED_DATA", "")
    if not shared:
        pytest.skip("set GRADINIT_SHARED_DATA to a folder that holds multi30k.de-en")
    prepare = ["bash", "data_prep/multi30k_de_en.sh", "--out", str(tmp_path / "data")]
    prepare += ["--sentencepiece", "1000", "--raw-dir", shared]
    env = {**os.environ, "PYTHON": sys.executable}
    subprocess.run(prepare, cwd=ROOT, env=env, check=True, stdout=subprocess.DEVNULL)
    learn = "--user-dir fairseq_gradinit --gradinit --gradinit-max-tokens 512"
    training = shlex.split("--lr-scheduler fixed --max-tokens 1024 --max-update 125 --seed 1")
    run = engine(
        tmp_path / "grid",
        tmp_path / "data",
        *("--axis", "lr=2e-3,8e-3", "--axis", "beta2=0.9,0.98"),
        *("--axis", "init=none,gradinit", "--init", "none=", "--init", f"gradinit={learn}"),
        *("--generate-flags", "--beam 1 --remove-bpe sentencepiece --max-len-a 1 --max-len-b 9"),
        *("--", *model(3, 64), *training, "--validate-interval-updates", "125"),
    )
    assert run.wait(timeout=1800) == 0
    found = {
        (cell.values["lr"], cell.values["beta2"], cell.init): cell.read_score().curves.last.nll
        for cell in cells(tmp_path / "grid")
    }
    assert len(found) == 8
    for (lr, beta2, init), bits in found.items():
        trains = init == "gradinit" or lr == "2e-3"
        assert (bits < 6.6) == trains and (bits > 7.0) != trains, (lr, beta2, init, bits)


def test_kill_nine_at_ten_moments(tmp_path):
    """The engine, its workers and fairseq's processes are killed; the table does not change."""
    data = tmp_path / "data"
    raw = data / "raw"
    write_corpus(raw, {"train": 600, "valid": 30, "test": 30})
    binarise(raw).rename(data / "data-bin")
    learn = "--user-dir fairseq_gradinit --gradinit --gradinit-iters 3 --gradinit-lookahead 2"
    arguments = ["--axis", "lr=1e-3,3e-3", "--axis", "init=none,gradinit", "--init", "none="]
    arguments += ["--init", f"gradinit={learn}", "--generate-flags", "--beam 2 --max-len-b 20"]
    arguments += ["--", *model(1, 16), "--lr-scheduler", "fixed", "--max-tokens", "300"]
    arguments += ["--max-update", "120", "--save-interval-updates", "10", "--seed", "1"]
    assert engine(tmp_path / "calm", data, *arguments).wait(timeout=600) == 0

    rng = random.Random(2)
    killed = tmp_path / "killed"
    for turn in range(10):
        run = engine(killed, data, *arguments)
        time.sleep(rng.uniform(3, 25))
        group = subprocess.run(
            ["ps", "-o", "pid=", "-s", str(run.pid)], capture_output=True, text=True, check=False
        )
        below = [int(pid) for pid in group.stdout.split() if int(pid) != run.pid]
        victims = [[run.pid], [run.pid, *below], [rng.choice([*below, run.pid]), run.pid]][turn % 3]
        for pid in victims:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue  # ended by itself meanwhile
        run.wait()
    assert engine(killed, data, *arguments).wait(timeout=900) == 0

    found = [results.read(out) for out in (tmp_path / "calm", killed)]
    texts = [tables.grid_tsv(one.grid, one.frame) for one in found]
    assert all(status(cell)[0].is_result for cell in cells(killed))
    assert texts[0] == texts[1]
    curves = [
        [cell.read_score().curves.valid for cell in cells(out)]
        for out in (tmp_path / "calm", killed)
    ]
    assert curves[0] == curves[1]
    for calm, other in zip(cells(tmp_path / "calm"), cells(killed)):
        assert calm.hypotheses.read_bytes() == other.hypotheses.read_bytes()
