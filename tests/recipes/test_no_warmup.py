"""Which settings of a compared row need all seeds, and the table that is made of them."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from support.made_grid import HIGHEST, make

from fairseq_gradinit.files import write_text
from recipes import no_warmup
from recipes.engine.cells.errors import GridError
from recipes.engine.cells.grid import Grid, claim
from recipes.engine.showing.results import Results, coordinates, read

ROOT = Path(__file__).parents[2]
RATES = ["5e-4", "1e-3", "2e-3", "4e-3", "8e-3", "1.6e-2"]
INITS = ["none", "warmup", "gradinit"]
AXES = {"init": INITS, "lr": RATES, "seed": ["1", "2", "3"]}
SCREEN = [{"seed": ["1"]}]
BLIND = ("gradinit", "8e-3")  # the lowest loss of its row


def leave_looks(folder: Path) -> Results:
    """What a training leaves beside its score: the source's worth, the model's size."""
    for cell in (results := read(folder)).cells:
        worth = 0.0 if (cell.init, cell.values["lr"]) == BLIND else 1.0
        looks = [{"update": 50, "source_worth": 0.9}, {"update": 350, "source_worth": worth}]
        text = "".join(json.dumps(look) + "\n" for look in looks)
        write_text(cell.gradinit / "watch.jsonl", text)
        size = {"none": "1,000", "warmup": "1,000", "gradinit": "1,012"}[cell.init]
        write_text(cell.train_log, f"| INFO | num. shared model params: {size} (num. trained: 9)\n")
    return results


@pytest.fixture(scope="module")
def screened(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("screened")
    make(folder, AXES, only=SCREEN)
    leave_looks(folder / "grid")
    return folder


@pytest.fixture(scope="module")
def finished(screened) -> Results:
    """The screen, then whatever is missing, until nothing is."""
    for _ in range(10):
        parts = no_warmup.missing(read(screened / "grid"), list(no_warmup.WANTED))
        if not parts:
            return read(screened / "grid")
        parts = [dict(pair.split("=") for pair in part.split()) for part in parts]
        parts = [{name: values.split(",") for name, values in part.items()} for part in parts]
        make(screened, AXES, only=[*SCREEN, *parts])
        leave_looks(screened / "grid")
    raise AssertionError("it does not end")


def settings(results: Results, init: str):
    groups = no_warmup.with_reading(results)
    return no_warmup.chosen(groups[groups["init"] == init], coordinates(results.grid))


@pytest.mark.parametrize("init", ["none", "warmup"])
def test_best_worst_and_highest_are_what_they_say(init, finished):
    found = settings(finished, init)
    best, worst = float(found["best"]["lr"]), found["worst"]
    assert best == HIGHEST[init] == float(found["highest"]["lr"])
    assert best / 4 <= float(worst["lr"]) <= 4 * best and not worst["trains"]


def test_a_model_that_does_not_read_is_neither_best_nor_highest_though_its_loss_is(finished):
    frame = finished.frame.set_index(["init", "lr", "seed"])["valid_nll"]
    assert frame[(*BLIND, "1")] == frame["gradinit"].min()
    found = settings(finished, "gradinit")
    assert found["best"]["lr"] == found["highest"]["lr"] == "4e-3"
    assert found["worst"]["lr"] == "1.6e-2"


def test_what_the_table_names_has_all_seeds_and_not_the_whole_grid(finished):
    for init in INITS:
        mine = finished.groups[finished.groups["init"] == init]
        seeds = dict(zip(mine["lr"], mine["seeds"]))
        assert all(seeds[one["lr"]] == 3 for one in settings(finished, init).values())
        assert min(seeds.values()) == 1


def test_a_seed_that_fails_moves_the_choice_on(screened, finished):
    """The best of the screen, lost by another seed, is not the best; the next gets its seeds."""
    folder = screened / "grid" / "cells" / "init-warmup__lr-2e-3__seed-2"
    score = folder / "score.json"
    kept = score.read_text()
    lost = json.loads(kept)
    lost["status"] = "diverged"
    lost.pop("seal", None)
    try:
        score.write_text(json.dumps(lost))
        results = read(screened / "grid")
        assert settings(results, "warmup")["best"]["lr"] == "1e-3"
        (part,) = no_warmup.missing(results, ["best"])
        assert part == "init=warmup lr=1e-3 seed=1,2,3"
    finally:
        score.write_text(kept)


def test_the_table_has_a_line_a_row_with_its_costs(finished, screened, tmp_path, capsys):
    inference = ["--inference", "gradinit=the package"]
    command = ["table", str(screened / "grid"), "--to", str(tmp_path), *inference]
    assert no_warmup.main(command) == 0
    lines = json.loads((tmp_path / "no_warmup.json").read_text())
    assert [line["row"] for line in lines] == INITS
    assert [line["extra_parameters"] for line in lines] == [0, 0, 12]
    assert [line["inference"] for line in lines] == ["stock", "stock", "the package"]
    assert [line["time"] for line in lines] == [1, 1, 1]
    means = finished.groups.set_index(["init", "lr"])["bleu"]
    assert lines[2]["best"]["bleu"] == pytest.approx(means["gradinit", "4e-3"])
    text = (tmp_path / "no_warmup.md").read_text()
    (bold,) = (line for line in text.splitlines() if "**" in line)
    highest = max((line for line in lines if line["best"]), key=lambda line: line["best"]["bleu"])
    assert bold.startswith(f"| {highest['row']} | **")


def test_a_page_takes_the_table_as_often_as_it_is_given(tmp_path):
    page, table = tmp_path / "page.md", tmp_path / "table.md"
    page.write_text(f"before\n{no_warmup.MARK}\nold\n{no_warmup.MARK}\nafter\n")
    for text in ("| a |", "| b |"):
        table.write_text(text + "\n")
        no_warmup.insert(table, page)
    found = page.read_text()
    assert "| b |" in found and "old" not in found and "| a |" not in found
    assert found.startswith("before\n") and found.endswith("after\n")
    page.write_text("no marks")
    with pytest.raises(GridError, match="found 0 lines"):
        no_warmup.insert(table, page)


def test_no_grid_is_one_line(tmp_path, capsys):
    assert no_warmup.main(["seeds", str(tmp_path)]) == 2
    assert "no grid here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("seeds GRID --want bset", "--want bset: give some of best,worst,highest"),
        ("table GRID --to OUT --baseline nine", "--baseline nine: no row (did you mean none?)"),
        ("table GRID --to OUT --inference nine", "--inference: write ROW=TEXT"),
        ("seeds OTHER", "has no axis init; give a grid of no_warmup_table.sh"),
        ("insert BYTES BYTES", "not UTF-8 (invalid start byte); give a Markdown file"),
    ],
)
def test_bad_arguments_are_one_line(screened, tmp_path, capsys, words, said):
    claim(Grid(data="d", axes={"lr": ["1"]}, flags=["-t", "en"]), tmp_path / "other")
    (tmp_path / "bytes").write_bytes(b"\xff")
    places = {"GRID": screened / "grid", "OTHER": tmp_path / "other", "BYTES": tmp_path / "bytes"}
    places["OUT"] = tmp_path / "out"
    assert no_warmup.main([str(places.get(word, word)) for word in words.split()]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and said in told and told.count("\n") == 1
    assert not (tmp_path / "out").exists()


def run(recipe: str, data: Path, out: Path, rows: str) -> list[dict]:
    command = ["bash", str(ROOT / "recipes" / recipe), "--size", "tiny", "--updates", "80"]
    command += ["--lrs", "2e-2", "--seeds", "1,2", "--rows", rows]
    command += ["--data", str(data), "--out", str(out), "--jobs", "2"]
    env = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-2000:]
    return json.loads((out / "report" / "no_warmup.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["no_warmup_table.sh", "no_warmup_optimizers.sh"])
def test_every_row_makes_updates(recipe, phrases, tmp_path, monkeypatch):
    """Of each row one of its command lines, cut to two updates, in this process."""
    from support.fairseq_runs import USER_DIR
    from support.fairseq_runs import run as train

    command = ["bash", str(ROOT / "recipes" / recipe), "--size", "tiny", "--updates", "8"]
    command += ["--lrs", "2e-2", "--out", str(tmp_path), "--data", str(phrases), "--dry-run"]
    env = {**os.environ, "PYTHON": sys.executable}
    shown = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    lines = [shlex.split(line) for line in shown.splitlines() if "fairseq_cli.train" in line]
    rows = {Path(line[-3]).parent.name.removeprefix("init-").split("__")[0]: line for line in lines}
    assert len(rows) == {"no_warmup_table.sh": 23, "no_warmup_optimizers.sh": 54}[recipe]
    monkeypatch.chdir(ROOT)
    for line in rows.values():
        line[line.index("--user-dir") + 1] = USER_DIR[1]
        cut = ["--max-update", "2", "--disable-validation", "--cpu", "--gradinit-trial", "4"]
        cut += ["--gradinit-iters", "2"] if "--gradinit-preset" in line else []
        train([*line[3:], *cut])
        assert Path(line[-3], "checkpoint_last.pt").exists()


def test_both_stages_and_the_table_by_real_trainings(phrases, tmp_path):
    (line,) = run("no_warmup_table.sh", phrases, tmp_path, "none")
    assert line["best"]["seeds"] == 2 and line["reads"] and line["highest_lr"] == "2e-2"
    assert line["best"]["bleu"] > 1 and line["extra_parameters"] == 0
    assert (tmp_path / "report" / "report.html").exists()


@pytest.mark.slow
def test_optimizers_schedules_and_starts_by_real_trainings(phrases, tmp_path):
    rows = ["adam", "muon+catapult+gradinit", "schedule_free+warmup", "modular_sgd+gradinit"]
    lines = run("no_warmup_optimizers.sh", phrases, tmp_path, ",".join(rows))
    assert {line["row"] for line in lines} == set(rows)
    assert all(line["best"]["seeds"] == 2 for line in lines if line["best"])
