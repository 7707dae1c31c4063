"""Several processes measure what one does."""

import socket
import subprocess
import sys

import pytest
from fairseq_runs import checkpoint, train, train_arguments

GI_ADAM = ["--optimizer=gi_adam", "--adam-betas=(0.9, 0.98)", "--dropout=0"]
CATAPULT = ["--lr-scheduler=catapult", "--catapult-by=spread", "--lr=1"]
RANKS = ["--distributed-world-size=2", "--distributed-backend=gloo", "--ddp-backend=legacy_ddp"]


def train_on_two_ranks(arguments):
    """fairseq-train in two processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = [*arguments, f"--distributed-init-method=tcp://127.0.0.1:{port}"]
    arguments += ["--distributed-no-spawn"]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "fairseq_cli.train", *arguments, f"--distributed-rank={rank}"],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        for process in processes:
            _, log = process.communicate(timeout=300)
            assert process.returncode == 0, log[-2000:]
    finally:
        for process in processes:
            process.kill()


def test_two_ranks_are_one_with_twice_the_micro_batches(grammar, tmp_path):
    """v₀ is of the mean gradient over ranks as over micro-batches, and so is η_init."""
    flags = [*GI_ADAM, *CATAPULT]
    train(grammar, tmp_path / "one", *flags, "--update-freq=2")
    train_on_two_ranks(train_arguments(grammar, tmp_path / "two", *flags, *RANKS))
    one, two = checkpoint(tmp_path / "one"), checkpoint(tmp_path / "two")
    rates = [c["optimizer_history"][-1]["lr_scheduler_state"]["eta_init"] for c in (one, two)]
    assert rates[0] == pytest.approx(rates[1], rel=1e-3)
    moments = [
        [s["exp_avg_sq"] - 0.02 * (s["exp_avg"] / 0.1) ** 2 for s in states.values()]
        for states in (c["last_optimizer_state"]["state"] for c in (one, two))
    ]
    for a, b in zip(*moments, strict=True):
        assert float((a - b).abs().max()) <= 1e-3 * float(a.max()) + 1e-12
