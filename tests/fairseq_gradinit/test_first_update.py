"""Several processes measure what one does."""

import pytest
from fairseq_runs import checkpoint, train, train_arguments, train_on_ranks

GI_ADAM = ["--optimizer=gi_adam", "--adam-betas=(0.9, 0.98)", "--dropout=0"]
CATAPULT = ["--lr-scheduler=catapult", "--catapult-by=spread", "--lr=1"]


def test_two_ranks_are_one_with_twice_the_micro_batches(grammar, tmp_path):
    """v₀ is of the mean gradient over ranks as over micro-batches, and so is η_init."""
    flags = [*GI_ADAM, *CATAPULT]
    train(grammar, tmp_path / "one", *flags, "--update-freq=2")
    train_on_ranks(2, train_arguments(grammar, tmp_path / "two", *flags))
    one, two = checkpoint(tmp_path / "one"), checkpoint(tmp_path / "two")
    rates = [c["optimizer_history"][-1]["lr_scheduler_state"]["eta_init"] for c in (one, two)]
    assert rates[0] == pytest.approx(rates[1], rel=1e-3)
    moments = [
        [s["exp_avg_sq"] - 0.02 * (s["exp_avg"] / 0.1) ** 2 for s in states.values()]
        for states in (c["last_optimizer_state"]["state"] for c in (one, two))
    ]
    for a, b in zip(*moments, strict=True):
        assert float((a - b).abs().max()) <= 1e-3 * float(a.max()) + 1e-12
