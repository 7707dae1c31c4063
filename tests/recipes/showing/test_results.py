"""Data frames of a grid: what a setting is, which is the best, and what is never hidden."""

from __future__ import annotations

import math
import statistics

import pandas as pd
import pytest

from recipes.engine.cells.grid import Grid
from recipes.engine.cells.records import Status
from recipes.engine.showing.results import best, best_of, highest_rate, over_seeds


def test_a_setting_is_the_mean_of_its_seeds_and_their_sample_deviation(two_axes):
    for _, setting in two_axes.groups.iterrows():
        mine = two_axes.frame[two_axes.frame["cell"].isin(setting["cells"])]
        bleu = list(mine["bleu"])
        assert setting["seeds"] == len(bleu) == 2
        assert setting["bleu"] == pytest.approx(statistics.fmean(bleu))
        assert setting["bleu_spread"] == pytest.approx(statistics.stdev(bleu))
        same = mine.drop(columns=["seed", "cell"]).iloc[:, :3].nunique()
        assert (same == 1).all(), "seeds of one setting differ by seed only"


def test_the_best_is_chosen_on_validation_and_trains(two_axes):
    chosen = best_of(two_axes.groups)
    assert chosen["none"]["lr"] == "1e-3"
    for init, one in chosen.items():
        mine = two_axes.groups[(two_axes.groups["init"] == init) & two_axes.groups["trains"]]
        assert one["valid_nll"] == mine["valid_nll"].min()
    assert best(two_axes.groups[~two_axes.groups["trains"]]) is None


def frame(*lines: tuple[str, str, float, float]) -> pd.DataFrame:
    """Cells of one init: lr, status, BLEU, validation loss."""
    columns = ["lr", "status", "bleu", "valid_nll"]
    cells = pd.DataFrame(lines, columns=columns).assign(init="all", chrf=0.0)
    cells["status"] = cells["status"].map(Status)
    return cells.assign(cell=[f"lr-{lr}-{n}" for n, lr in enumerate(cells["lr"])])


@pytest.mark.parametrize("word", ["undertrained", "not reading its source"])
def test_a_run_of_low_bleu_whose_loss_falls_is_hidden_nowhere(word):
    cells = frame(("1e-3", "done", 9.0, 5.0), ("4e-3", word, 0.01, 4.5), ("8e-3", "diverged", 0, 9))
    groups = over_seeds(Grid(data="d", axes={"lr": ["1e-3", "4e-3", "8e-3"]}), cells)
    chosen = best(groups)
    assert chosen is not None and chosen["lr"] == "4e-3"
    assert highest_rate(groups) == "4e-3"


def test_a_setting_of_which_one_seed_diverged_does_not_train():
    cells = frame(("1e-3", "done", 9.0, 5.0), ("1e-3", "diverged", 0.0, math.nan))
    (setting,) = over_seeds(Grid(data="d", axes={"lr": ["1e-3"]}), cells).to_dict("records")
    assert setting["complete"] and not setting["trains"]
    assert setting["bleu"] == 4.5, "a diverged seed counts with the BLEU it got"
    assert setting["valid_nll"] == 5.0


def test_a_setting_with_an_unfinished_seed_has_no_mean():
    cells = frame(("1e-3", "done", 9.0, 5.0), ("1e-3", "running", math.nan, math.nan))
    (setting,) = over_seeds(Grid(data="d", axes={"lr": ["1e-3"]}), cells).to_dict("records")
    assert not setting["complete"] and not setting["trains"] and math.isnan(setting["bleu"])
