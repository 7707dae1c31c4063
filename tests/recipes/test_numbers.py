"""Each number of a result against its definition, computed in another way."""

import math
import statistics
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import sacrebleu
import torch
from scipy import stats

from recipes.engine.cells.grid import Grid
from recipes.engine.cells.records import Curves, Point, Status, Watch
from recipes.engine.cells.verdict import verdict
from recipes.engine.showing.results import over_seeds
from recipes.engine.showing.significance import paired_over_seeds
from recipes.engine.showing.tables import summary
from recipes.engine.steps.average import average
from recipes.engine.steps.decode import parse
from recipes.engine.steps.score import measure, tokenized_bleu

HYPOTHESES = ["the Cat sat on the mat .", "A dog runs over green grass", "he is there"]
REFERENCES = ["The cat sat on a mat .", "a dog ran over the green grass", "he was there"]
BLEUS, CHRFS, LOSSES = [20.0, 29.0, 23.0], [50.0, 41.0, 44.0], [5.0, 4.0, 4.5]


def of_seeds(*states, bleu=BLEUS):
    """A frame of one setting with a seed a state."""
    count = len(states)
    return pd.DataFrame(
        {
            "init": "all",
            "seed": [str(seed) for seed in range(1, count + 1)],
            "lr": "1e-3",
            "cell": [f"c{number}" for number in range(count)],
            "status": states,
            "bleu": bleu[:count],
            "chrf": CHRFS[:count],
            "valid_nll": LOSSES[:count],
        }
    )


GRID = Grid(data="data", axes={"lr": ["1e-3"], "seed": ["1", "2", "3"]}, flags=[])
GRID_OF_SEEDS = Grid(data="data", axes={"seed": ["1", "2", "3"]}, flags=[])


def test_over_seeds_is_the_mean_and_the_sample_standard_deviation():
    (line,) = over_seeds(GRID, of_seeds(*[Status.DONE] * 3)).to_dict("records")
    for name, values in (("bleu", BLEUS), ("chrf", CHRFS), ("valid_nll", LOSSES)):
        assert line[name] == pytest.approx(statistics.mean(values))
        assert line[f"{name}_spread"] == pytest.approx(statistics.stdev(values))
    assert line["seeds"] == 3


@pytest.mark.parametrize(
    "last, complete, trains",
    [
        (Status.DONE, True, True),
        (Status.DIVERGED, True, False),
        (Status.FAILED, False, False),
        (Status.RUNNING, False, False),
    ],
)
def test_a_setting_trains_where_all_its_seeds_do(last, complete, trains):
    bleu = BLEUS if complete else [20.0, 29.0, math.nan]
    frame = of_seeds(Status.DONE, Status.DONE, last, bleu=bleu)
    (line,) = over_seeds(GRID, frame).to_dict("records")
    assert (line["complete"], line["trains"]) == (complete, trains)
    assert math.isnan(line["bleu"]) != complete


def test_seeds_are_paired():
    gains = [1.0, 2.5, 0.5]
    frame = pd.DataFrame(
        {
            "cell": ["a1", "a2", "a3", "b3", "b1", "b2"],
            "seed": ["1", "2", "3", "3", "1", "2"],
            "bleu": [20.0, 21.0, 25.0, 25.5, 21.0, 23.5],
        }
    )
    count, mean, spread, p = paired_over_seeds(frame, ["a1", "a2", "a3"], ["b3", "b1", "b2"])
    assert count == 3 and mean == pytest.approx(statistics.mean(gains))
    assert spread == pytest.approx(statistics.stdev(gains))
    assert p == pytest.approx(stats.ttest_1samp(gains, 0).pvalue)


def test_bleu_and_chrf_are_sacrebleus_and_told_apart(tmp_path):
    found = measure(HYPOTHESES, REFERENCES, "en", tmp_path / "test.en")
    bleu = sacrebleu.corpus_bleu(HYPOTHESES, [REFERENCES]).score
    chrf = sacrebleu.corpus_chrf(HYPOTHESES, [REFERENCES]).score
    assert found["bleu"].score == pytest.approx(bleu, abs=1e-4)
    assert found["chrf"].score == pytest.approx(chrf, abs=1e-4)
    assert abs(bleu - chrf) > 1
    assert "case:mixed" in found["bleu"].signature and "nc:6" in found["chrf"].signature


def test_tokenized_bleu_is_uncased_and_splits_nothing(tmp_path):
    cell = SimpleNamespace(tokenized=tmp_path / "h", tokenized_reference=tmp_path / "r")
    cell.tokenized.write_text("".join(f"{line}\n" for line in HYPOTHESES))
    cell.tokenized_reference.write_text("".join(f"{line}\n" for line in REFERENCES))
    found = tokenized_bleu(cell)
    lower = [[line.lower() for line in lines] for lines in (HYPOTHESES, REFERENCES)]
    right = sacrebleu.corpus_bleu(lower[0], [lower[1]], tokenize="none", force=True).score
    cased = sacrebleu.corpus_bleu(HYPOTHESES, [REFERENCES], tokenize="none", force=True).score
    assert found.score == pytest.approx(right, abs=1e-4) and abs(right - cased) > 1
    assert "case:lc" in found.signature and "tok:none" in found.signature


def test_of_the_n_best_the_first_is_taken(tmp_path):
    log = tmp_path / "generate.log"
    log.write_text(
        "T-0\tr\nH-0\t-0.1\tbest\nD-0\t-0.1\tbest\nH-0\t-0.9\tworse\nD-0\t-0.9\tworse\n"
        "H-0\t-2\tworst\nD-0\t-2\tworst\n"
    )
    assert parse(log)["D"] == ["best"] and parse(log)["H"] == ["best"]


def test_an_average_loses_no_digit_of_half_precision(tmp_path):
    """2048 + 1 is 2048 in fp16: a sum in the weights' own precision would stand still."""
    values = [2048.0, 1.0, 1.0, 1.0, 1.0, 2048.0, 4.0, 4.0]
    files = []
    for number, value in enumerate(values):
        files.append(tmp_path / f"checkpoint{number}.pt")
        torch.save({"model": {"w": torch.tensor([value, 0.1]).half()}, "args": None}, files[-1])
    average(files, tmp_path / "averaged.pt")
    found = torch.load(tmp_path / "averaged.pt", weights_only=True)["model"]["w"]
    assert found.tolist() == [float(np.float16(np.mean(values))), float(np.float16(0.1))]


def test_an_average_of_single_precision_is_that_of_double(tmp_path):
    values = [2.0**24, 1.0, 1.0, 1.0, 1.0]
    files = []
    for number, value in enumerate(values):
        files.append(tmp_path / f"checkpoint{number}.pt")
        torch.save({"model": {"w": torch.tensor([value])}, "args": None}, files[-1])
    average(files, tmp_path / "averaged.pt")
    found = torch.load(tmp_path / "averaged.pt", weights_only=True)["model"]["w"]
    assert found.item() == np.float32(sum(values) / 5) != np.float32(2.0**24 / 5)


@pytest.mark.parametrize(
    "loss, bleu, worth, status",
    [
        (7.99, 30.0, 1.0, Status.DONE),
        (8.0, 30.0, 1.0, Status.DIVERGED),
        (None, 30.0, 1.0, Status.DIVERGED),
        (7.0, 1.0, 0.0, Status.DONE),
        (7.0, 0.99, 0.051, Status.UNDERTRAINED),
        (7.0, 0.99, 0.049, Status.BLIND),
    ],
)
def test_a_verdict_turns_where_it_says(loss, bleu, worth, status):
    curves = Curves(valid=[Point(1, 5.0), Point(2, loss)])
    assert verdict(curves, 8.0, bleu, [Watch(1, 9.0), Watch(2, worth)])[0] is status


def test_an_unfinished_setting_has_no_spread_and_a_bad_loss_leaves_one_of_the_rest():
    frame = of_seeds(Status.DONE, Status.DONE, Status.RUNNING, bleu=[20.0, 29.0, math.nan])
    frame.loc[2, ["chrf", "valid_nll"]] = math.nan
    (line,) = over_seeds(GRID, frame).to_dict("records")
    assert math.isnan(line["bleu_spread"]) and math.isnan(line["chrf_spread"])
    assert math.isnan(line["chrf"])
    assert line["valid_nll"] == pytest.approx(statistics.mean(LOSSES[:2]))
    assert line["valid_nll_spread"] == pytest.approx(statistics.stdev(LOSSES[:2]))


def test_an_average_holds_no_state_of_an_optimizer(tmp_path):
    state = {"model": {"w": torch.ones(1)}, "last_optimizer_state": {"a": 1}, "args": None}
    torch.save(state, tmp_path / "checkpoint1.pt")
    average([tmp_path / "checkpoint1.pt"], tmp_path / "averaged.pt")
    assert torch.load(tmp_path / "averaged.pt", weights_only=True).keys() == {"model", "args"}


def test_settings_keep_the_order_of_the_grid():
    frame = pd.concat([of_seeds(Status.DONE).assign(lr=lr) for lr in ("4e-3", "1e-3", "2e-3")])
    grid = Grid(data="data", axes={"lr": ["4e-3", "1e-3", "2e-3"], "seed": ["1"]}, flags=[])
    assert list(over_seeds(grid, frame)["lr"]) == ["4e-3", "1e-3", "2e-3"]


def test_a_summary_without_coordinates_has_each_number_under_its_head():
    table = summary(GRID_OF_SEEDS, over_seeds(GRID_OF_SEEDS, of_seeds(*[Status.DONE] * 3)))
    assert dict(zip(table.header, table.lines[0], strict=True)) == {
        "init": "all",
        "BLEU on test": "24.00 ± 4.58",
        "chrF": "45.00 ± 4.58",
        "validation loss (bits)": "4.500 ± 0.500",
        "cells": "3 done",
    }
