"""Several processes on a machine without GPUs, as fairseq and torchrun start them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
from fairseq_runs import ROOT, command, train_arguments

GRADINIT = ["--gradinit", "--gradinit-trial=0", "--max-update=1", "--gradinit-watch=1"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


@pytest.mark.parametrize("how", ["world-size", "init-method"])
def test_fairseq_starts_all_of_them(grammar, tmp_path, how):
    method = [f"--distributed-init-method=tcp://localhost:{free_port()}"]
    spread = ["--distributed-world-size=2", *(method if how == "init-method" else [])]
    done = command("train", *train_arguments(grammar, tmp_path, *GRADINIT, *spread))
    assert done.returncode == 0, done.stderr[-2000:]
    assert "--distributed-backend gloo in place of nccl" in done.stdout + done.stderr
    assert "training on 2 devices" in done.stdout + done.stderr
    assert (tmp_path / "checkpoint_last.pt").exists()


def test_torchrun_joins_them(grammar, tmp_path):
    arguments = train_arguments(grammar, tmp_path, *GRADINIT)
    done = subprocess.run(
        [*TORCHRUN, f"--master-port={free_port()}", "-m", "fairseq_cli.train", *arguments],
        capture_output=True,
        text=True,
        cwd="/",
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "training on 2 devices" in done.stdout + done.stderr
    assert len((tmp_path / "gradinit" / "watch.jsonl").read_text().splitlines()) == 1


def test_what_one_refuses_is_said_without_a_trace(grammar, tmp_path):
    flags = ["--gradinit-preset=paper", "--batch-size=2", "--distributed-world-size=2"]
    done = command("train", *train_arguments(grammar, tmp_path, *GRADINIT, *flags))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "no batch has the 3 sentences" in done.stderr


def test_a_rank_that_could_not_find_the_others_is_refused(grammar, tmp_path):
    arguments = train_arguments(grammar, tmp_path, *GRADINIT)
    alone = command("train", *arguments, RANK="0", WORLD_SIZE="2")
    assert alone.returncode == 1 and "Traceback" not in alone.stderr
    assert "no MASTER_ADDR and MASTER_PORT" in alone.stderr.splitlines()[-1]
    words = command("train", *arguments, RANK="zero", WORLD_SIZE="2")
    assert words.returncode == 1 and "are no numbers" in words.stderr.splitlines()[-1]
    second = command("train", *arguments, "--distributed-world-size=2", "--distributed-rank=1")
    assert second.returncode == 1 and "--distributed-no-spawn" in second.stderr.splitlines()[-1]
    assert not (tmp_path / "checkpoint_last.pt").exists()


@pytest.mark.parametrize(
    ("flags", "environment", "said"),
    [
        (["--distributed-world-size=0"], {}, "--distributed-world-size 0: give a whole number"),
        (["--distributed-world-size=-1"], {}, "--distributed-world-size -1: give a whole number"),
        (
            ["--distributed-world-size=2", "--distributed-rank=2", "--distributed-no-spawn"],
            {},
            "--distributed-rank 2: the ranks of --distributed-world-size 2 are 0 to 1",
        ),
        (
            [],
            {"RANK": "5", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "29999"},
            "--distributed-rank 5: the ranks of --distributed-world-size 2 are 0 to 1",
        ),
    ],
)
def test_a_rank_or_size_that_cannot_be_is_refused(grammar, tmp_path, flags, environment, said):
    """fairseq trains nothing and exits with 0, or waits."""
    done = command("train", *train_arguments(grammar, tmp_path, *GRADINIT, *flags), **environment)
    assert done.returncode == 1 and said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--seed=-1"], "--seed: found -1; give a whole number from 0 to 4294967295"),
        (["--seed=8589934592"], "--seed: found 8589934592"),
        (["--save-dir="], "--save-dir: found nothing"),
        (["--save-dir=/proc/none"], "--save-dir /proc/none: cannot be a folder"),
        (["--save-dir={file}"], "{file}: cannot be a folder"),
    ],
)
def test_what_fairseq_trips_over_before_it_has_a_task(grammar, tmp_path, flags, said):
    file = tmp_path / "a file"
    file.write_text("mine")
    given = [flag.format(file=file) for flag in flags]
    done = command("train", *train_arguments(grammar, tmp_path, *GRADINIT, *given))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert said.format(file=file) in done.stderr.splitlines()[-1]
    assert file.read_text() == "mine"
