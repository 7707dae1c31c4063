"""The scripts of docs/experiments run on public functions of the package."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "docs" / "experiments").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_what_it_imports_is_there(script, monkeypatch):
    monkeypatch.syspath_prepend(str(script.parent))
    spec = importlib.util.spec_from_file_location(f"experiment_{script.stem}", script)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)


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
