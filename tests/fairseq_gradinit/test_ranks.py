"""GradInit on several processes: one does it, all have it, and it is what one process has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from fairseq_runs import checkpoint, start_ranks, train, train_arguments, train_on_ranks

GRADINIT = ["--gradinit", "--gradinit-trial=3", "--gradinit-watch=1", "--dropout=0"]
PRESETS = {
    "default": [],
    "searched": ["--gradinit-iters=2", "--gradinit-lookahead=2"],
    "paper": ["--gradinit-preset=paper", "--gradinit-iters=3"],
}


def scales(save_dir: Path) -> list[tuple[str, float]]:
    record = json.loads((save_dir / "gradinit" / "scales.json").read_text())
    return [(block["name"], block["scale"]) for block in record["blocks"]]


@pytest.mark.parametrize(
    "count, preset", [(2, "default"), (2, "searched"), (2, "paper"), (3, "default")]
)
def test_ranks_have_what_one_has_with_as_many_batches_an_update(grammar, tmp_path, count, preset):
    """To the bit, and the training after it as nearly as sums in another order allow."""
    flags = [*GRADINIT, *PRESETS[preset], "--max-update=2"]
    train(grammar, tmp_path / "one", *flags, f"--update-freq={count}")
    logs = train_on_ranks(count, train_arguments(grammar, tmp_path / "many", *flags))
    assert scales(tmp_path / "one") == scales(tmp_path / "many")
    assert sum("fit to train" in log for log in logs) == 1
    looks = (tmp_path / "many" / "gradinit" / "watch.jsonl").read_text().splitlines()
    assert len(looks) == 2  # of the first process alone
    first, second = (json.loads((tmp_path / name / "gradinit" / "watch.jsonl").read_text()
                     .splitlines()[0])["loss"] for name in ("one", "many"))  # fmt: skip
    assert first == second
    one, many = (checkpoint(tmp_path / name)["model"] for name in ("one", "many"))
    for name, weight in one.items():
        torch.testing.assert_close(many[name], weight, rtol=1e-2, atol=3e-3, msg=name)


def test_what_the_first_refuses_all_refuse_in_one_line(grammar, tmp_path):
    flags = ["--gradinit", "--gradinit-preset=paper", "--batch-size=2", "--gradinit-iters=1"]
    ranks = start_ranks(2, train_arguments(grammar, tmp_path, *flags, "--max-update=1"))
    try:
        errors = [rank.communicate(timeout=200)[1] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
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
