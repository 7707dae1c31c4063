"""The scripts of docs/experiments run on public functions of the package."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys
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


def test_a_start_is_screened(grammar, tmp_path):
    out = tmp_path / "out.jsonl"
    command = [sys.executable, str(ROOT / "docs/experiments/start_screening.py"), str(grammar)]
    given = ["--dim=16", "--layers=1", "--updates=3", "--tokens=300", "--common=0.5"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [*command, str(out), *given], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    (line,) = map(json.loads, out.read_text().splitlines())
    assert line["dim"] == 16 and set(line["looks"]) == {"0", "3"}
    assert line["looks"]["3"]["loss"] < line["looks"]["0"]["loss"]


def test_rates_are_searched_over_shapes_and_drawn(grammar, tmp_path):
    """By real updates; a second run has nothing left to do."""
    script, out = str(ROOT / "docs/experiments/transfer.py"), tmp_path / "out.jsonl"
    given = ["--widths=16", "--depths=1", "--width=16", "--depth=1", "--updates=2"]
    given += ["--tokens=300", "--optimizers=adam,modular_adam"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def run(*command):
        done = subprocess.run(
            [sys.executable, script, *command],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

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
