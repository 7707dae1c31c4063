"""What is read from logs, scores and tables: each number in its place, none for another's."""

import io
import math
import sys

import pandas as pd
import pytest
import torch
from rich.console import Console

from recipes.engine.cells import logs, metrics
from recipes.engine.cells.errors import GridError
from recipes.engine.cells.records import Curves, Metric, Point, Score, Seconds, Status
from recipes.engine.showing import tables
from recipes.engine.showing.results import highest_rate, measured
from recipes.engine.showing.significance import Comparison
from recipes.engine.steps.average import last_checkpoints

INNER = (
    'x | INFO | train_inner | {{"num_updates": "{}", "nll_loss": "{}", "loss": "9", "ups": "{}"}}'
)


def log_of(folder, *lines):
    log = folder / "train.log"
    log.write_text("".join(f"{line}\n" for line in lines))
    return log


@pytest.mark.parametrize("speeds, middle", [([9, 1, 2], 2), ([30, 2, 9, 1], 9), ([3], 3)])
def test_the_speed_is_the_median_of_those_logged(tmp_path, speeds, middle):
    lines = [INNER.format(at, 5, speed) for at, speed in enumerate(speeds, 1)]
    assert logs.updates_per_second(log_of(tmp_path, *lines)) == middle


def test_curves_are_of_nll_by_update_and_kept_apart(tmp_path):
    """With label smoothing `loss` is another quantity than `nll_loss`; the log may go back."""
    valid = (
        'x | INFO | valid | {"valid_num_updates": "20", "valid_nll_loss": "4", "valid_loss": "8"}'
    )
    log = log_of(tmp_path, INNER.format(20, 5, 1), valid, INNER.format(10, 6, 1))
    found = logs.curves(log)
    assert found.train == [Point(10, 6.0), Point(20, 5.0)] and found.valid == [Point(20, 4.0)]
    assert found.last == Point(20, 4.0)


def test_a_missing_log_is_an_empty_one(tmp_path):
    log = tmp_path / "none.log"
    assert logs.curves(log) == Curves() and logs.updates_per_second(log) is None
    assert logs.tail(log, 5) == "" and logs.last_update(log) == 0 and not logs.not_finite(log)
    assert logs.last_error(log) == "its log is empty"


def test_the_tail_is_of_the_last_lines_whatever_came_before(tmp_path):
    log = log_of(tmp_path, "FloatingPointError of an earlier attempt", *["line"] * 300, "end")
    assert logs.tail(log, 2) == "line\nend"
    assert not logs.not_finite(log), "more than 200 lines ago"


@pytest.mark.parametrize(
    "said, reason",
    [
        ("ValueError: first\nlater\nKeyError: second\n", "KeyError: second"),
        ("^\nRuntimeError\n", "RuntimeError"),
        ("RuntimeError\n", "RuntimeError"),
        ("ValueError: " + "x" * 999, "ValueError: " + "x" * 288),
        ("y" * 400 + "z", "y" * 299 + "z"),
        ("\n \n", ""),
    ],
)
def test_a_reason_is_the_last_error_and_one_short_line(said, reason):
    assert logs.why(said) == reason


@pytest.mark.parametrize("module, language", [("MeCab", "ja"), ("mecab_ko", "ko")])
def test_a_tokenizer_that_is_not_installed_is_named(monkeypatch, module, language):
    monkeypatch.setitem(sys.modules, module, None)  # as if not installed
    with pytest.raises(GridError, match=rf"--target-lang {language}_X.*'sacrebleu\[{language}\]'"):
        metrics.bleu(f"{language}_X")


def test_each_number_of_a_score_stands_under_its_name():
    score = Score(
        Status.DONE,
        "",
        bleu=Metric(31.0, "b"),
        chrf=Metric(52.0, "c"),
        plateau=9.0,
        curves=Curves([Point(7, 3.0)], [Point(5, 6.0), Point(8, 4.0)]),
        seconds=Seconds(100.0, 10.0, 1.0),
        updates_per_second=2.5,
        tokenized_bleu=Metric(33.0, "t"),
    )
    assert measured(score) == {
        "bleu": 31.0,
        "chrf": 52.0,
        "tokenized_bleu": 33.0,
        "valid_nll": 4.0,
        "updates": 8.0,
        "plateau": 9.0,
        "train_seconds": 100.0,
        "gradinit_seconds": 10.0,
        "decode_seconds": 1.0,
        "updates_per_second": 2.5,
        "signature": "b",
    }
    none = measured(None)
    assert none.keys() == measured(score).keys() and none.pop("signature") == ""
    assert all(math.isnan(value) for value in none.values())


def test_the_highest_rate_is_the_greatest_number_of_those_that_train(two_rates):
    assert highest_rate(two_rates) == "1e-3"
    assert highest_rate(two_rates.assign(trains=False)) == ""
    assert highest_rate(two_rates.drop(columns="lr")) == ""


@pytest.fixture
def two_rates():
    rates = ["9e-4", "1e-3", "2e-3"]  # 1e-3 is the smallest text
    return pd.DataFrame({"lr": rates, "trains": [True, True, False]})


def test_the_newest_epochs_are_the_greatest_numbers(tmp_path):
    for number in (9, 10, 11, 100):
        torch.save({}, tmp_path / f"checkpoint{number}.pt")
    names = [file.name for file in last_checkpoints(tmp_path, 3)]
    assert names == ["checkpoint10.pt", "checkpoint11.pt", "checkpoint100.pt"]


def test_each_number_of_a_comparison_stands_in_its_column():
    one = Comparison("lr 1e-3", "a", "b", (20.0, 0.5), (23.0, 0.25), 0.0321, 4, 1.5, 0.75, 0.0123)
    table = tables.differences([one])
    assert dict(zip(table.header, table.lines[0], strict=True)) == {
        "where": "lr 1e-3",
        "A": "a",
        "B": "b",
        "BLEU of A": "20.00 ± 0.50",
        "BLEU of B": "23.00 ± 0.25",
        "B − A": "+3.00",
        "p": "0.032",
        "seeds": "4",
        "B − A over seeds": "+1.50 ± 0.75",
        "p over seeds": "0.012",
    }


def test_numbers_are_rounded_and_what_is_none_is_blank():
    nan = math.nan
    assert (tables.number(1.236), tables.number(1.2, 0), tables.number(nan)) == ("1.24", "1", "")
    assert tables.spread(1.5, 0.126) == "1.50 ± 0.13" and tables.spread(1.5, nan) == "1.50"
    assert tables.spread(2.0, 1.0, 3) == "2.000 ± 1.000" and tables.spread(nan, nan) == ""


def test_markdown_sets_words_left_numbers_right_and_the_best_bold():
    table = tables.Table("t", ["a", "b"], [["x", "1"], ["y", "2"]], bold=frozenset({(1, 1)}))
    assert table.markdown() == "| a | b |\n| --- | ---: |\n| x | 1 |\n| y | **2** |\n"
    console = Console(file=io.StringIO(), width=40)
    console.print(table.terminal())
    shown = [line.split() for line in console.file.getvalue().splitlines()]
    assert ["│", "x", "│", "1", "│"] in shown and ["│", "y", "│", "2", "│"] in shown
    assert [column.justify for column in table.terminal().columns] == ["left", "right"]
