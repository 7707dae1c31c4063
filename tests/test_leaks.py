"""No file, thread, process, tensor or memory is kept by a run in this process, however many.

A few runs here; GRADINIT_LEAKS=FILE keeps what 1,000 of them leave (`make test-slow`) in a file.
"""

import copy
import json
import os
from pathlib import Path

import pytest
import torch
from corpus import binarise, write_corpus
from fairseq.distributed.utils import call_main
from fairseq_cli import train as fairseq_train
from fairseq_runs import configuration, train_arguments
from faults.kept import conditions
from held import held
from torch import nn
from toy_models import ToyTransformer, random_batches

from fairseq_gradinit.files import write_json
from fairseq_gradinit.gradinit import Settings, learn_scales

MEASURED = 10  # times
# Of resident memory; the allocator's own wandering over few runs is more than that of a leak.
KIBIBYTES = {30: 300, 1000: 12}  # runs -> most a run
GRADINIT = [
    *("--gradinit", "--gradinit-iters=1", "--gradinit-lookahead=1", "--gradinit-trial=1"),
    "--gradinit-start=fixed",
    *("--gradinit-watch=1", "--max-tokens=60", "--max-update=1", "--encoder-layers=1"),
    *("--decoder-layers=1", "--disable-validation", "--no-save"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("leaks")
    write_corpus(folder, {"train": 24, "valid": 8})
    return binarise(folder)


def plain_torch(_folder: Path, number: int) -> None:
    """`learn_scales` of a model of its own."""
    model: nn.Module = ToyTransformer(seed=number)
    preset = ("multistep", "paper")[number % 2]
    settings = Settings.of(
        preset, iters=1, trial=1, **({"lookahead": 1} if number % 2 == 0 else {})
    )
    learn_scales(model, model, random_batches(8), settings)


@pytest.fixture
def plugin(data, tmp_path):
    config = configuration(train_arguments(data, tmp_path, *GRADINIT))

    def run(folder: Path, number: int) -> None:
        """fairseq-train --gradinit, its search, trial, watch and first update."""
        own = copy.deepcopy(config)
        own.common.seed, own.checkpoint.save_dir = number, str(folder / str(number % 3))
        call_main(own, fairseq_train.main)

    return run


def measure(run, folder: Path, runs: int) -> list[list[int]]:
    """What is held after a tenth of the runs, two tenths, …"""
    step, found = runs // MEASURED, []
    for number in range(1, runs + 1):
        run(folder, number)
        if number % step == 0:
            found.append([number, *held()])
    return found


def check(found: list[list[int]], runs: int) -> float:
    """Nothing is more at the end than after the first tenths; returns kibibytes a run."""
    *_, before = found[: MEASURED // 5]
    after = found[-1]
    for name, was, now in zip(("descriptors", "threads", "children"), before[1:], after[1:]):
        assert now <= was, f"{name}: {was} after {before[0]} runs, {now} after {after[0]}"
    # fairseq keeps the last items it read of 8 datasets, so a few come and go.
    assert after[4] <= before[4] + 20, f"tensors: {before[4]}, then {after[4]}"
    share = (after[5] - before[5]) / (after[0] - before[0])
    assert share < KIBIBYTES[runs], f"{share:.1f} KiB a run: {found}"
    return share


@pytest.mark.parametrize("runs", [30, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("part", ["plain torch", "plugin"])
def test_nothing_is_kept(tmp_path, plugin, part, runs):
    torch.manual_seed(0)
    about = conditions(seed=0)  # before, since the runs take long and the checkout may go on
    found = measure(plugin if part == "plugin" else plain_torch, tmp_path, runs)
    if (kept := os.environ.get("GRADINIT_LEAKS")) and runs == 1000:
        path = Path(kept)
        columns = ["runs", "descriptors", "threads", "children", "tensors", "kibibytes"]
        parts = json.loads(path.read_text())["parts"] if path.exists() else {}
        parts[part] = {**about, "held": found}
        write_json(path, {"columns": columns, "parts": parts})
    check(found, runs)
