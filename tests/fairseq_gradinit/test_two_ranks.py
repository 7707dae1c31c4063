"""Masks and probes with two real processes over gloo."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys

import pytest
from fairseq_runs import checkpoint, train_arguments

from fairseq_gradinit.probes.record import read_records, records_path

FLAGS = ["--sparse-like-width=8", "--gradient-flow-interval=1", "--clip-norm=0.1", "--max-update=2"]


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def logged(grammar, tmp_path_factory):
    """Where two processes have trained together, and what the first one said."""
    folder = tmp_path_factory.mktemp("ranks")
    address = f"tcp://127.0.0.1:{free_port()}"
    spread = [
        *("--distributed-world-size=2", f"--distributed-init-method={address}"),
        *("--distributed-no-spawn", "--distributed-backend=gloo", "--nprocs-per-node=1"),
        "--ddp-backend=legacy_ddp",  # fairseq's other one needs GPUs
    ]
    ranks = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "fairseq_cli.train"),
                *train_arguments(grammar, folder, *FLAGS, *spread, f"--distributed-rank={rank}"),
                "--log-interval=1",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd="/",
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for rank in (0, 1)
    ]
    said = [rank.communicate(timeout=300)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], said[0][-800:] + said[1][-800:]
    return folder, said[0]


def test_the_reduced_gradient_is_recorded_once(logged):
    """fairseq compares its own norm over the processes, which fails where masks differ."""
    folder, said = logged
    norms = [float(found) for found in re.findall(r"gnorm=([\d.]+)", said)][:2]
    records = read_records(records_path(folder))
    assert [record.update for record in records] == [1, 2]
    assert [record.gradient_norm_2 for record in records] == pytest.approx(norms, abs=6e-4)
    assert all(ratio > 0 for record in records for ratio in record.update_ratio.values())


def test_masked_weights_are_zero(logged):
    matrices = {
        name: weight
        for name, weight in checkpoint(logged[0])["model"].items()
        if weight.dim() == 2 and "embed" not in name and "output_projection" not in name
    }
    assert len(matrices) == 32
    for name, weight in matrices.items():
        assert int((weight != 0).sum()) * 4 == weight.numel(), name
