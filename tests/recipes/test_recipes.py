"""The bash recipes: readable headers, one-line errors, grids of the promised size."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECIPES = sorted(set((ROOT / "recipes").glob("*.sh")) - {ROOT / "recipes" / "common.sh"})
GRIDS = {
    "multi30k_adam": 36,
    "multi30k_sgd": 24,
    "iwslt14_adam": 144,
    "wmt14_sgd": 36,
    "objective --question candidates": 27,
    "objective --question beta2": 108,
    "objective --question momentum": 54,
}


def run(
    recipe: Path, *arguments: str, cwd: Path = ROOT, python: str = sys.executable
) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHON": python, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        ["bash", str(recipe), *arguments],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_header_asks_its_question_and_names_command_time_and_score(recipe):
    text = recipe.read_text()
    assert "set -euo pipefail" in text and len(text.splitlines()) <= 80
    shown = run(recipe, "--help").stdout
    assert "?" in shown and f"recipes/{recipe.name}" in shown
    if recipe.stem != "report":
        assert "Time" in shown


@pytest.mark.parametrize("recipe", [r for r in RECIPES if r.stem != "report"], ids=lambda r: r.stem)
def test_bad_options_are_one_line(recipe, tmp_path):
    for arguments, word in ((["--oot", "x"], "--oot"), ([], "--out"), (["--out"], "--out")):
        result = run(recipe, *arguments)
        assert result.returncode != 0 and word in result.stderr
        assert len(result.stderr.splitlines()) == 1 and not result.stdout


def test_an_unknown_question_is_refused_before_the_corpus_is_prepared(tmp_path):
    out = tmp_path / "out"
    result = run(ROOT / "recipes/objective.sh", "--out", str(out), "--question", "sgd depht")
    assert result.returncode != 0 and not result.stdout and not out.exists()
    assert result.stderr.startswith("error: --question depht: not one of: candidates paper")


def test_interpreter_without_the_packages_is_one_line(tmp_path):
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    out = tmp_path / "out"
    result = run(ROOT / "recipes" / "quickstart.sh", "--out", str(out), python=str(bare))
    assert result.returncode != 0 and not out.exists()
    assert f"PYTHON={bare}: lacks" in result.stderr and "make install" in result.stderr
    assert len(result.stderr.splitlines()) == 1 and not result.stdout


@pytest.mark.parametrize(
    "grid", ["multi30k_adam", *(pytest.param(n, marks=pytest.mark.slow) for n in list(GRIDS)[1:])]
)
def test_dry_run_prints_every_cell_and_starts_nothing(grid, tmp_path):
    name, *options = grid.split()
    recipe = ROOT / "recipes" / f"{name}.sh"
    result = run(recipe, "--out", "grid", "--dry-run", *options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[-1].startswith(f"{GRIDS[grid]} cells, {GRIDS[grid]} to run")
    assert sum("fairseq_cli.train" in line for line in lines) == GRIDS[grid]
    assert not list(tmp_path.iterdir())


def test_a_question_with_other_axes(tmp_path):
    options = "--question default --seeds 7 --updates 30 --depths 2 --lrs 1e-3 --inits none,start"
    arguments = ("--out", "grid", "--dry-run", *options.split())
    shown = run(ROOT / "recipes/objective.sh", *arguments, cwd=tmp_path).stdout
    cells = [line for line in shown.splitlines() if "fairseq_cli.train" in line]
    assert len(cells) == 2 and ["--gradinit " in cell for cell in cells] == [False, True]
    wanted = ("--max-update 30", "--decoder-layers 2", "--lr 1e-3", "--seed 7")
    assert all(flag in cell for cell in cells for flag in wanted)


def test_report_of_no_grid(tmp_path):
    result = run(ROOT / "recipes" / "report.sh", str(tmp_path))
    assert result.returncode == 2 and "no grid here" in result.stderr
    assert len(result.stderr.splitlines()) == 1
