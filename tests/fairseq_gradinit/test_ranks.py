"""GradInit on several processes: they share its passes and all have what one would have."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest
import torch
from corpus import binarise, write_corpus
from fairseq_runs import checkpoint, start_ranks, train, train_arguments, train_on_ranks

GRADINIT = ["--gradinit", "--gradinit-trial=3", "--gradinit-watch=1", "--dropout=0"]
PRESETS = {
    "default": [],
    "turned down": ["--lr=0.03"],  # where what feeds the branches would move them too far
    "searched": ["--gradinit-iters=2", "--gradinit-lookahead=2"],
    "paper": ["--gradinit-preset=paper", "--gradinit-iters=3", "--gradinit-gamma=1e9"],
    "bounded": ["--gradinit-preset=paper", "--gradinit-iters=3", "--gradinit-gamma=1"],
    "difference": [
        *("--gradinit-preset=paper", "--gradinit-iters=2", "--gradinit-gamma=1"),
        "--gradinit-constraint=finite-difference",
    ],
}


# Of two parts the sum has no order; the derivative of a norm adds up within blocks as well.
EXACT = {(2, "default"), (2, "turned down"), (2, "searched")}


def scales(save_dir: Path) -> list[tuple[str, float]]:
    record = json.loads((save_dir / "gradinit" / "scales.json").read_text())
    return [(block["name"], block["scale"]) for block in record["blocks"]]


def tried(save_dir: Path) -> dict[str, float]:
    """Losses and source worth of the trials, by rate."""
    record = json.loads((save_dir / "gradinit" / "scales.json").read_text())
    trials = record["prediction"]["trials"]
    names = ("last_loss", "source_worth", "encoder_spread", "decoder_spread")
    return {f"{trial['learning_rate']} {name}": trial[name] for trial in trials for name in names}


def iterations(save_dir: Path) -> list[dict[str, float]]:
    """What was measured in each iteration."""
    lines = (save_dir / "gradinit" / "iterations.jsonl").read_text().splitlines()
    names = ("loss", "lookahead_loss", "gradient_norm")
    return [{n: float(json.loads(line)[n] or "nan") for n in names} for line in lines]


@pytest.mark.parametrize("count, preset", [*((2, preset) for preset in PRESETS), (3, "default")])
def test_ranks_have_what_one_has_with_as_many_batches_an_update(grammar, tmp_path, count, preset):
    """To the bit, or as nearly as sums in another order allow, and the training after it."""
    flags = [*GRADINIT, *PRESETS[preset], "--max-update=2"]
    train(grammar, tmp_path / "one", *flags, f"--update-freq={count}")
    logs = train_on_ranks(count, train_arguments(grammar, tmp_path / "many", *flags))
    one, many = scales(tmp_path / "one"), scales(tmp_path / "many")
    assert [name for name, _ in one] == [name for name, _ in many]
    assert tried(tmp_path / "many") == pytest.approx(tried(tmp_path / "one"), rel=0.05, abs=1e-3)
    if (count, preset) in EXACT:
        assert one == many and tried(tmp_path / "one") == tried(tmp_path / "many")
    if preset == "turned down":
        assert len({a for _, a in one}) > 2
    # Adam on α takes as large a step where ∂/∂α is but rounding.
    apart = sum(a != pytest.approx(b, rel=1e-3) for (_, a), (_, b) in zip(one, many))
    assert apart <= 0.1 * len(one) and any(a != 1 for _, a in one)
    for first, second in zip(iterations(tmp_path / "one"), iterations(tmp_path / "many")):
        assert second == pytest.approx(first, rel=1e-3, nan_ok=True)
    assert sum("fit to train" in log for log in logs) == 1
    looks = (tmp_path / "many" / "gradinit" / "watch.jsonl").read_text().splitlines()
    assert len(looks) == 2  # of the first process alone
    first, second = (json.loads((tmp_path / name / "gradinit" / "watch.jsonl").read_text()
                     .splitlines()[0])["loss"] for name in ("one", "many"))  # fmt: skip
    assert first == (second if (count, preset) in EXACT else pytest.approx(second, rel=1e-3))
    one, many = (checkpoint(tmp_path / name)["model"] for name in ("one", "many"))
    most = 0.1 if preset == "turned down" else 3e-3  # a few times its learning rate
    for name, weight in one.items():
        torch.testing.assert_close(many[name], weight, rtol=1e-2, atol=most, msg=name)


def test_what_the_first_refuses_all_refuse_in_one_line(grammar, tmp_path):
    flags = ["--gradinit", "--gradinit-preset=paper", "--batch-size=2", "--gradinit-iters=1"]
    ranks = start_ranks(2, train_arguments(grammar, tmp_path, *flags, "--max-update=1"))
    errors = what_they_say(ranks)
    for rank, error in zip(ranks, errors):
        assert rank.returncode == 1 and "Traceback" not in error, error[-2000:]
        assert "no batch has the 3 sentences" in error.splitlines()[-1]


def test_resumed_with_another_number_of_processes(grammar, tmp_path):
    flags = [*GRADINIT, "--max-update=2"]
    train_on_ranks(2, train_arguments(grammar, tmp_path, *flags))
    before = (tmp_path / "gradinit" / "scales.json").read_bytes()
    train(grammar, tmp_path, *GRADINIT, "--max-update=4", "--update-freq=2")
    assert (tmp_path / "gradinit" / "scales.json").read_bytes() == before
    assert checkpoint(tmp_path)["optimizer_history"][-1]["num_updates"] == 4


@pytest.mark.parametrize("killed", [0, 1])
def test_where_one_is_killed_the_others_end_in_one_line(grammar, tmp_path, killed):
    flags = ["--gradinit", "--gradinit-preset=paper", "--gradinit-iters=100000", "--max-update=1"]
    ranks = start_ranks(2, train_arguments(grammar, tmp_path, *flags))
    iterations = tmp_path / "gradinit" / "iterations.jsonl"
    try:
        await_lines(iterations, 3)
        ranks[killed].kill()
        error = ranks[1 - killed].communicate(timeout=60)[1]
    finally:
        for rank in ranks:
            rank.kill()
    assert ranks[1 - killed].returncode == 1 and "Traceback" not in error, error[-2000:]
    assert "another process of this run has ended" in error.strip().splitlines()[-1]


LOSSY = """
from fairseq_gradinit import plugin
from fairseq_gradinit.network import Network

faithful = Network.broadcast

def broadcast(self, tensors, source=0):
    tensors = list(tensors)
    faithful(self, tensors, source)
    for tensor in tensors:
        if tensor.is_floating_point():
            tensor.mul_(1 + 1e-6)

Network.broadcast = broadcast
"""


def test_one_that_has_other_weights_in_the_end_stops_all(grammar, tmp_path):
    """The second process receives something else than was sent."""
    (tmp_path / "lossy").mkdir()
    (tmp_path / "lossy" / "__init__.py").write_text(LOSSY)
    arguments = train_arguments(grammar, tmp_path, *GRADINIT, "--max-update=1")
    lossy = [*arguments, f"--user-dir={tmp_path / 'lossy'}"]
    ranks = start_ranks(2, [arguments, lossy])
    for rank, error in zip(ranks, what_they_say(ranks)):
        assert rank.returncode == 1 and "Traceback" not in error, error[-2000:]
        assert "the processes have different weights" in error.splitlines()[-1]


def test_what_one_fails_at_all_refuse_in_one_line(grammar, tmp_path):
    """A corpus that is shorter where the second process reads it."""
    write_corpus(tmp_path, {"train": 200, "valid": 20})
    short = binarise(tmp_path)
    ranks = start_ranks(
        2,
        [
            train_arguments(grammar, tmp_path / "run", *GRADINIT),
            train_arguments(short, tmp_path / "run", *GRADINIT),
        ],
    )
    errors = what_they_say(ranks)
    for rank, error in zip(ranks, errors):
        assert rank.returncode == 1, error[-2000:]
        assert "process 1" in error.strip().splitlines()[-1]


def what_they_say(ranks: list[subprocess.Popen[str]]) -> list[str]:
    """The errors that each ends with."""
    try:
        return [rank.communicate(timeout=200)[1] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()


def await_lines(path: Path, count: int) -> None:
    """Until a file has so many lines."""
    until = time.monotonic() + 200
    while not path.exists() or path.read_text().count("\n") < count:
        assert time.monotonic() < until, f"{path} has no {count} lines"
        time.sleep(0.05)
