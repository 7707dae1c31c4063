"""The benchmarks' arithmetic, and each at its smallest; no time is held against anything."""

import importlib
import json
import math
import sys
from pathlib import Path

import pytest
import torch

from fairseq_gradinit.files import write_json

FOLDERS = ("bench", "docs/experiments", "tests/support")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def script(monkeypatch):
    """Imports a script of bench/ by name."""
    for folder in FOLDERS:
        monkeypatch.syspath_prepend(str(ROOT / folder))
    return importlib.import_module


def test_ratios_are_taken_round_by_round(script):
    """A disturbance of a whole round changes no ratio, one of a contender its own spread."""
    seconds = {"plain": [1.0, 10.0, 1.0, 1.0], "ours": [2.0, 20.0, 2.0, 6.0]}
    row = script("side_by_side").rows(seconds, "plain", {"ours": 1.5}, {"ours": 2})["ours"]
    assert (row.ratio, row.low) == (1.0, 1.0) and row.high == 1.5 and row.target == 1.5


def test_what_is_over_its_target_is_marked(script):
    bench = script("side_by_side")
    made = {"a": bench.Row(2.2, 2.1, 2.3, 1.0, 2.0), "b": bench.Row(1.9, 1.8, 2.1, 1.0, 2.0)}
    _, _, over, under = bench.markdown("×", made).splitlines()
    assert "2.2 (over)" in over and "(over)" not in under


def test_conditions_can_be_written(script, tmp_path):
    write_json(tmp_path / "about.json", script("side_by_side").about(rounds=1))
    read = json.loads((tmp_path / "about.json").read_text())
    assert read["rounds"] == 1 and {"command", "commit", "machine", "torch", "load"} <= set(read)


def test_peak_is_what_stood_at_once(script):
    def run():
        one = torch.empty(2**20)
        del one
        two = torch.empty(2**18)
        return two.fill_(1), torch.empty(2**18).fill_(1)

    assert script("memory").peak(run) == 4 * 2**20


def test_slopes_are_exponents(script):
    records = [
        {"axis": "width", "what": "ours", "size": n, "seconds": 3 * n**1.5, "memory_mb": n / 7}
        for n in (64, 128, 256)
    ]
    (row,) = script("growth").slopes(records)
    assert (row["seconds"], row["memory_mb"]) == (1.5, 1.0)
    (row,) = script("growth").slopes(records)
    assert "<svg" in script("growth").picture(records, [row])


def test_every_contender_of_the_growth_runs(script):
    size = {"layers": 1, "width": 16, "tokens": 32, "words": 50}
    made = script("growth").contenders(size)
    assert len(made) == 4
    for call in made.values():
        call()


def test_agreement_is_that_of_blocks_that_moved(script):
    one = torch.tensor([0.0, 0.1, -0.2, 0.4, 0.001], dtype=torch.float64)
    other = 2 * one
    other[4] = 0.18
    names = ["embed", "fc1.weight", "fc2.weight", "k_proj.weight", "k_proj.bias"]
    found = script("sixteen_bit").agreement(one, other, names)
    assert found["correlation"] == pytest.approx(1) and found["blocks"] == 3
    assert found["with_key_biases"] < 0.99
    assert found["rms_difference"] == pytest.approx(math.sqrt(0.21 / 3), abs=1e-4)


def test_sixteen_bit_differs_and_fp32_does_not(script):
    bench = script("sixteen_bit")
    given = {"preset": "paper", "iters": 2, "lr": 1e-2}
    samples = bench.batches(4, 32)
    one, again, other = (
        bench.learned(1, 16, samples, given, bf16)[0] for bf16 in (False, False, True)
    )
    assert torch.equal(one, again) and not torch.equal(one, other)


@pytest.mark.slow
def test_the_whole_table(script, monkeypatch, tmp_path):
    """Every part, optimizer and probe of `make bench` on a model of no size."""
    bench = script("run")
    monkeypatch.setattr(sys.modules["cost"], "ENOUGH", 1000)
    for name, size in (("LAYERS", 1), ("WIDTH", 16), ("TOKENS", 64), ("WIDE", 16)):
        monkeypatch.setattr(bench, name, size)
    found = bench.measured(1)
    table = bench.text(found, script("side_by_side").about())
    for word in ("muon", "exact constraint", "textbook", "σ_max", "eigenvalues", "Start-up"):
        assert word in table
    write_json(tmp_path / "bench.json", found)
    read = json.loads((tmp_path / "bench.json").read_text())
    assert all(isinstance(rows, dict) and rows for rows in read.values())


def test_the_default_is_the_sum_of_its_parts(script):
    bench, cost = script("run"), script("cost")
    parts = dict.fromkeys(
        [
            "unigram start, counting and writing, once",
            "measured start, three passes, once",
            f"multistep, K = {cost.K}, an iteration",
            "trial, an update",
            f"watch, a look at {bench.WATCHED} tokens",
        ],
        script("side_by_side").Row(2.0, 1.0, 3.0, 0.1),
    )
    shares = bench.default_share(parts, updates=1000)
    # Two trials of 40 updates with a look on either side, and the two starts; no iterations.
    assert shares["the whole default"].ratio == pytest.approx(2.0 * (2 * 40 + 4 + 2) / 1000)
