"""Whether one init is better: as sacreBLEU says over sentences, and as a t-test over seeds."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from sacrebleu.metrics import BLEU
from sacrebleu.significance import PairedTest

from recipes.engine.cells.texts import read_lines
from recipes.engine.showing import significance, tables
from recipes.engine.showing.results import read


@pytest.fixture(scope="module")
def compared(two_axes):
    return significance.compare(two_axes)


def test_every_place_where_both_train_is_compared_and_the_two_best(compared):
    assert [one.what for one in compared] == ["best cells", "1e-3 0.9", "1e-3 0.98"]
    assert {(one.first, one.second) for one in compared} == {("none", "gradinit")}


def test_the_bootstrap_is_sacrebleus_own_on_the_first_seeds(compared, two_axes):
    found = compared[1]
    names = [f"lr-1e-3__beta2-0.9__init-{init}__seed-1" for init in ("none", "gradinit")]
    cells = {cell.name: cell for cell in two_axes.cells}
    texts = [cells[name].read_hypotheses() for name in names]
    reference = read_lines(two_axes.grid.reference_path)
    systems = list(zip("01", texts))
    results = PairedTest(systems, {"BLEU": BLEU()}, [reference], "bs", 1000)()[1]["BLEU"]
    assert found.p == results[1].p_value
    assert found.first_bleu == (results[0].score, results[0].ci)
    assert found.difference == pytest.approx(
        BLEU().corpus_score(texts[1], [reference]).score
        - BLEU().corpus_score(texts[0], [reference]).score
    )


def cells(bleu: dict[str, list[float]]) -> pd.DataFrame:
    lines = [
        {"cell": f"{init}-{seed}", "seed": str(seed), "bleu": value}
        for init, values in bleu.items()
        for seed, value in enumerate(values)
    ]
    return pd.DataFrame(lines)


def paired(first: list[float], second: list[float]) -> tuple[int, float, float, float]:
    names = [[f"{init}-{seed}" for seed in range(len(v))] for init, v in zip("ab", (first, second))]
    return significance.paired_over_seeds(cells({"a": first, "b": second}), *names)


def test_over_seeds_it_is_students_paired_t():
    """Against the t distribution integrated by hand, for 5 seeds at random."""
    random = np.random.default_rng(3)
    first, gain = random.normal(30, 1, 5), random.normal(0.8, 0.7, 5)
    seeds, mean, spread, p = paired(list(first), list(first + gain))
    assert (seeds, mean) == (5, pytest.approx(gain.mean()))
    assert spread == pytest.approx(gain.std(ddof=1))
    t, freedom = abs(mean) / (spread / math.sqrt(5)), 4
    x = np.linspace(-t, t, 200_001)
    density = math.gamma(2.5) / (math.sqrt(freedom * math.pi) * math.gamma(2))
    inside = np.trapezoid(density * (1 + x**2 / freedom) ** -2.5, x)
    assert p == pytest.approx(1 - inside, abs=1e-6)


def test_seeds_are_paired_by_name_and_not_by_place():
    table = cells({"a": [1.0, 2.0, 4.0], "b": [2.0, 3.5, 5.2]})
    forward = significance.paired_over_seeds(table, ["a-0", "a-1", "a-2"], ["b-0", "b-1", "b-2"])
    mixed = significance.paired_over_seeds(table, ["a-2", "a-0", "a-1"], ["b-1", "b-2", "b-0"])
    assert mixed == pytest.approx(forward)
    fewer = significance.paired_over_seeds(table, ["a-0", "a-1"], ["b-1", "b-2"])
    assert fewer[0] == 1 and math.isnan(fewer[3])


def test_without_spread_over_seeds_nothing_is_certain():
    assert math.isnan(paired([1.0, 2.0], [1.5, 2.5])[3])
    assert math.isnan(paired([1.0], [2.0])[1])


def test_the_table_tells_sentences_from_seeds(compared):
    table = tables.differences(compared)
    assert table is not None and table.header[-4:] == [
        "p",
        "seeds",
        "B − A over seeds",
        "p over seeds",
    ]
    assert table.lines[1][0] == "1e-3 0.9" and table.lines[1][-3] == "2"
    alone = tables.differences([dataclasses.replace(one, seeds=1) for one in compared])
    assert alone is not None and alone.header[-1] == "p", "one seed: nothing about seeds"
    assert tables.differences([]) is None


def test_of_many_inits_the_leader_is_compared_with_each_at_their_best(inits_folder, monkeypatch):
    results = read(inits_folder)
    monkeypatch.setattr(significance, "MANY", 2)
    found = significance.compare(results)
    leader = results.groups.sort_values("bleu").iloc[-1]["init"]
    trained = set(results.groups.loc[results.groups["trains"], "init"])
    assert len(trained) > 1 and {one.second for one in found} == trained - {leader}
    assert all((one.what, one.first) == ("best cells", leader) for one in found)
