"""The bash recipes: readable headers, one-line errors, grids of the promised size, clean ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fairseq_gradinit.files import locked

ROOT = Path(__file__).parents[2]
SOURCED = {ROOT / "recipes" / name for name in ("common.sh", "staged.sh")}
RECIPES = sorted(set((ROOT / "recipes").glob("*.sh")) - SOURCED)
GRIDS = {
    "multi30k": 36,
    "multi30k --optimizer sgd": 24,
    "iwslt14": 144,
    "wmt14 --optimizer sgd": 36,
    "ablations --question candidates": 27,
    "ablations --question beta2": 108,
    "ablations --question momentum": 54,
    "no_warmup_table": 150,
    "no_warmup_table --size iwslt14": 126,
    "no_warmup_optimizers": 288,
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


def one_line(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode != 0 and not result.stdout
    assert len(result.stderr.splitlines()) == 1, result.stderr
    return result.stderr


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_header_asks_its_question_and_names_command_time_and_score(recipe):
    assert "set -euo pipefail" in recipe.read_text()
    shown = run(recipe, "--help").stdout
    assert "?" in shown and f"recipes/{recipe.name}" in shown
    if recipe.stem != "report":
        assert "Time" in shown


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("quickstart --oot x", "--oot"),
        ("quickstart", "--out DIR is missing"),
        ("quickstart --out", "--out: expected one argument"),
        ("multi30k --out x --optimizer adma", "--optimizer: invalid choice: 'adma'"),
        ("one_run --out x --init grad", "--init: invalid choice: 'grad'"),
        ("one_run --out x --updates many", "--updates many"),
        ("one_run --out x --lr fast", "--lr fast"),
        ("wmt14 --out x --data nowhere", "--data nowhere: holds no data-bin"),
        ("iwslt14 --out x --raw-dir nowhere", "--raw-dir nowhere: no such folder"),
        ("ablations --out x --question depht", "--question depht: not one of: candidates paper"),
        ("quickstart --out x --jobs two", "--jobs: found two; give a whole number from 1 on"),
        ("multi30k --out x --cluster slrm", "--cluster: invalid choice: 'slrm'"),
        ("ablations --out x --question none --lrs=1e-3,abc", "--axis lr: found abc; give a number"),
        ("no_warmup_table --out x --rows adnim", "--rows adnim: not one of: none warmup gradinit"),
        ("no_warmup_optimizers --out x --updates 7", "--updates 7: give a whole number from 8 on"),
        ("no_warmup_table --out x --lrs=1e-3,1e-3x", "--axis lr: found 1e-3x; give a number"),
        ("sparse_vs_dense --out x --optimizers adam,adma", "--optimizers adma: not one of: adam"),
        (f"quickstart --out {ROOT.parent}", "holds this repository; give a folder of its own"),
        ("ablations --out x --question none --inits nine", "--axis init=nine: no such --init"),
    ],
)
def test_bad_options_are_one_line_before_anything_is_prepared(line, words, tmp_path):
    name, *arguments = line.split()
    said = one_line(run(ROOT / "recipes" / f"{name}.sh", *arguments, cwd=tmp_path))
    assert words in said and not list(tmp_path.iterdir())


def test_interpreter_without_the_packages_is_one_line(tmp_path):
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    out = tmp_path / "out"
    said = one_line(run(ROOT / "recipes/quickstart.sh", "--out", str(out), python=str(bare)))
    assert "lacks fairseq" in said and "make install" in said and not out.exists()


@pytest.mark.parametrize(
    "grid",
    [list(GRIDS)[1], *(pytest.param(n, marks=pytest.mark.slow) for n in GRIDS if "sgd" not in n)],
)
def test_dry_run_prints_every_cell_and_starts_nothing(grid, tmp_path):
    name, *options = grid.split()
    recipe = ROOT / "recipes" / f"{name}.sh"
    result = run(recipe, "--out", "grid", "--dry-run", *options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    said = f"{GRIDS[grid]} cells, {GRIDS[grid]} to run"
    assert any(line.startswith(said) for line in lines[-2:])
    assert sum("fairseq_cli.train" in line for line in lines) == GRIDS[grid]
    assert not list(tmp_path.iterdir())


def test_a_question_with_other_axes(tmp_path):
    options = "--question default --seeds 7 --updates 30 --depths 2 --lrs 1e-3 --inits none,start"
    arguments = ("--out", "grid", "--dry-run", *options.split())
    shown = run(ROOT / "recipes/ablations.sh", *arguments, cwd=tmp_path).stdout
    cells = [line for line in shown.splitlines() if "fairseq_cli.train" in line]
    assert len(cells) == 2 and ["--gradinit " in cell for cell in cells] == [False, True]
    wanted = ("--max-update 30", "--decoder-layers 2", "--lr 1e-3", "--seed 7")
    assert all(flag in cell for cell in cells for flag in wanted)


def test_report_of_no_grid(tmp_path):
    assert "no grid here" in one_line(run(ROOT / "recipes" / "report.sh", str(tmp_path)))


@pytest.fixture
def recipe(tmp_path):
    """A checkout of its own whose data_prep and engine only note how they were called."""
    (tmp_path / "recipes").mkdir()
    (tmp_path / "data_prep").mkdir()
    for name in ("common.sh", "options.py", "quickstart.sh", "__init__.py"):
        (tmp_path / "recipes" / name).write_text((ROOT / "recipes" / name).read_text())
    note = 'printf "%s " "$@" >>calls; echo >>calls\n'
    (tmp_path / "data_prep" / "quickstart_de_en.sh").write_text(
        f"printf 'data_prep '>>calls; {note}mkdir -p \"$2/data-bin\"; sleep ${{SLEEP:-0}} & wait\n"
    )
    with open(tmp_path / "recipes" / "common.sh", "a") as common:
        common.write(f"engine() {{ printf 'engine ' >>calls; {note} }}\n")
    return tmp_path / "recipes" / "quickstart.sh"


def calls(recipe: Path) -> list[list[str]]:
    return [line.split() for line in (recipe.parents[1] / "calls").read_text().splitlines()]


def test_a_given_data_is_never_written_to(recipe, tmp_path):
    mine = tmp_path / "mine"
    (mine / "data-bin").mkdir(parents=True)
    (mine / "raw").mkdir()
    assert run(recipe, "--out", str(tmp_path / "out"), "--data", str(mine)).returncode == 0
    assert [call[:2] for call in calls(recipe)] == [["engine", "run"], ["engine", "report"]]
    assert sorted(path.name for path in mine.rglob("*")) == ["data-bin", "raw"]


def test_the_corpus_is_asked_for_each_time_and_arguments_are_checked_before(recipe):
    """data_prep skips what is done, so a preparation that was killed is continued."""
    for _ in range(2):
        assert run(recipe, "--out", str(recipe.parents[1] / "out"), "--jobs", "3").returncode == 0
    found = [call[:2] for call in calls(recipe)]
    again = [["data_prep", "--out"], ["engine", "run"], ["engine", "report"]]
    assert found == [["engine", "run"], *again, *again]
    assert (
        "--dry-run" in calls(recipe)[0]
        and "--dry-run" not in calls(recipe)[2]
        and "--jobs 3" in " ".join(calls(recipe)[2])
    )


def test_another_raw_dir_begins_anew_and_says_so(recipe):
    root = recipe.parents[1]
    out = root / "out"
    for name in ("first", "second"):
        (root / name).mkdir()
    run(recipe, "--out", str(out), "--raw-dir", str(root / "first"))
    (out / "grid").mkdir()
    assert "anew" not in run(recipe, "--out", str(out)).stdout  # the corpus it was begun with
    assert calls(recipe)[-3][-1] == str(root / "first")
    result = run(recipe, "--out", str(out), "--raw-dir", str(root / "second"))
    assert "was begun with" in result.stdout and "begins anew with" in result.stdout
    (kept,) = out.glob("before-*")
    assert (kept / "grid").is_dir() and not (out / "grid").exists() and (out / "data").is_dir()
    assert calls(recipe)[-3][-1] == str(root / "second")


def test_results_are_not_put_into_a_given_data(recipe, tmp_path):
    (tmp_path / "mine" / "data-bin").mkdir(parents=True)
    data = tmp_path / "mine"
    said = one_line(run(recipe, "--out", str(data / "x"), "--data", str(data)))
    assert "lies in --data, which is only read" in said and not (data / "x").exists()


def test_a_folder_begins_anew_only_where_a_recipe_began_it_and_none_is_at_work(recipe):
    """What is anyone's own is not moved, nor what is being read or written."""
    root = recipe.parents[1]
    out, first, second = root / "out", root / "first", root / "second"
    for folder in (first, second, out / "data"):
        folder.mkdir(parents=True)
    (out / "thesis.tex").touch()
    said = run(recipe, "--out", str(out), "--raw-dir", str(first)).stderr
    assert "a data folder that no recipe began" in said and (out / "thesis.tex").exists()
    (out / "raw-dir.txt").write_text(str(first))
    (out / "corpus").mkdir()
    said = run(recipe, "--out", str(out), "--raw-dir", str(out / "corpus")).stderr
    assert "which would begin anew; move it out" in said
    for held in (out / "data", out / "grid" / "grid.lock"):
        held.parent.mkdir(exist_ok=True)
        with locked(held) as lock:
            assert lock is not None
            said = run(recipe, "--out", str(out), "--raw-dir", str(second)).stderr
            assert "another run is working there" in said
    assert not list(out.glob("before-*"))


def test_what_is_noted_goes_through_no_link(recipe):
    root = recipe.parents[1]
    (root / "precious").write_text("mine")
    (root / "out").mkdir()
    (root / "out" / "raw-dir.txt").symlink_to(root / "precious")
    (root / "first").mkdir()
    run(recipe, "--out", str(root / "out"), "--raw-dir", str(root / "first"))
    assert (root / "precious").read_text() == "mine"
    assert (root / "out" / "raw-dir.txt").read_text() == str(root / "first")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_what_ends_a_recipe_ends_its_children(recipe, number):
    env = {**os.environ, "PYTHON": sys.executable, "SLEEP": "97.531"}
    command = ["bash", str(recipe), "--out", str(recipe.parents[1] / "out")]
    process = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL)
    sleeping = ["pgrep", "-f", "sleep 97.531"]
    deadline = time.monotonic() + 30
    while subprocess.run(sleeping, capture_output=True).returncode and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    assert process.wait(timeout=30) != 0
    assert subprocess.run(sleeping, capture_output=True).returncode == 1
    assert ["engine", "report"] not in [call[:2] for call in calls(recipe)]
