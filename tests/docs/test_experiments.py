"""The scripts of docs/experiments run on public functions of the package."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "docs" / "experiments").glob("*.py"))


def load(script, monkeypatch):
    monkeypatch.syspath_prepend(str(script.parent))
    spec = importlib.util.spec_from_file_location(f"experiment_{script.stem}", script)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_what_it_imports_is_there(script, monkeypatch):
    load(script, monkeypatch)


@pytest.mark.parametrize("best", [-4, -1, 0, 3])
@pytest.mark.parametrize("highest", [4, 5, None])
def test_a_search_encloses_the_best_rate_and_the_highest_that_reads(best, highest, monkeypatch):
    """Loss a parabola over log lr; what is above `highest` overflows, None: nothing reads."""
    transfer, tried = load(ROOT / "docs/experiments/transfer.py", monkeypatch), {}

    def try_it(cell):
        step = round(math.log2(cell.lr / 0.25))
        assert step not in tried
        tried[step] = cell
        if highest is not None and step > highest:
            return cell
        worth = 0.0 if highest is None else 1.0
        return transfer.msgspec.structs.replace(
            cell, loss=(step - best) ** 2 + 1.0, source_worth=worth
        )

    transfer.search(transfer.Cell("adam", "none", 64, 6, 0.25, 100, 1), try_it)
    assert {best - 1, best, best + 1} <= set(tried)
    assert highest is None or {highest, highest + 1} <= set(tried)


@pytest.mark.parametrize("method", ["none", "--gradinit"])
@pytest.mark.parametrize("bears", [-3, -1, 0, 2])
def test_the_highest_rate_is_that_at_which_all_seeds_read(method, bears, monkeypatch):
    """`bears`: the highest step of seed 2, one below that of seeds 1 and 3."""
    law, tried = load(ROOT / "docs/experiments/law.py", monkeypatch), []

    def try_it(cell):
        assert cell.place not in [other.place for other in tried]
        reads = cell.step <= bears + (cell.seed != 2)
        tried.append(law.msgspec.structs.replace(cell, looks={10: (1.0, float(reads), None, None)}))
        return tried[-1]

    law.search(law.Cell(method, 64, 6, 0.0, 10, 0), [1, 2, 3], try_it)
    assert law.highest(tried) == bears
    assert bears + 1 in {cell.step for cell in tried}
    if method == "--gradinit":  # whose verdict is judged on both sides of the edge
        steps = {cell.step for cell in tried}
        assert len(tried) == 3 * len(steps) and bears + 2 in steps


def test_the_law_is_run_and_drawn(grammar, tmp_path, run_script):
    """By real updates; a second run has nothing left to do."""
    out, run = tmp_path / "law.jsonl", partial(run_script, "law.py")
    given = ["--widths=16", "--depths=1", "--updates=2", "--tokens=300", "--seeds=1,2"]
    given += ["--methods=none,--gradinit"]
    run("run", str(grammar), str(out), *given)
    first = out.read_text()
    assert run("run", str(grammar), str(out), *given) == "" and out.read_text() == first
    cells = [json.loads(line) for line in first.splitlines()]
    assert {cell["method"] for cell in cells} == {"none", "--gradinit"}
    assert all(bool(cell["trial"]) == (cell["method"] == "--gradinit") for cell in cells)
    assert all(set(cell["looks"]) <= {"2"} for cell in cells)
    said = run("draw", str(out), "--out", str(tmp_path))
    assert said.count("| 1+1 |") == 5 and "read" in said
    assert (tmp_path / "law.png").stat().st_size > 10_000


def test_a_start_is_screened(grammar, tmp_path, run_script):
    out = tmp_path / "out.jsonl"
    given = ["--dim=16", "--layers=1", "--updates=3", "--tokens=300", "--common=0.5"]
    run_script("start_screening.py", str(grammar), str(out), *given)
    (line,) = map(json.loads, out.read_text().splitlines())
    assert line["dim"] == 16 and set(line["looks"]) == {"0", "3"}
    assert line["looks"]["3"]["loss"] < line["looks"]["0"]["loss"]


@pytest.fixture
def run_script():
    """Its stdout, for a script of docs/experiments and arguments."""

    def run(script, *arguments):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(ROOT / "docs" / "experiments" / script), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    return run


def test_rates_are_searched_over_shapes_and_drawn(grammar, tmp_path, run_script):
    """By real updates; a second run has nothing left to do."""
    out, run = tmp_path / "out.jsonl", partial(run_script, "transfer.py")
    given = ["--widths=16", "--depths=1", "--width=16", "--depth=1", "--updates=2"]
    given += ["--tokens=300", "--optimizers=adam,modular_adam"]
    run("run", str(grammar), str(out), *given)
    first = out.read_text()
    assert run("run", str(grammar), str(out), *given) == "" and out.read_text() == first
    cells = [json.loads(line) for line in first.splitlines()]
    rows = {}
    for cell in cells:
        key = tuple(cell[name] for name in ("optimizer", "start", "width", "depth"))
        rows.setdefault(key, []).append(cell)
    assert len(rows) == 4 and all(len(row) >= 3 for row in rows.values())
    run("draw", str(out), "--out", str(tmp_path), "--width=16", "--depth=1")
    assert (tmp_path / "transfer.png").stat().st_size > 10_000
