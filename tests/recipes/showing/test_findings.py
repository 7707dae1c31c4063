"""The sentences on top of a report say what the tables say, and what limits it."""

from __future__ import annotations

import dataclasses
import math

import pytest

from recipes.engine.cells.records import Status
from recipes.engine.showing import findings, significance
from recipes.engine.showing.results import best_of, over_seeds


@pytest.fixture(scope="module")
def compared(two_axes):
    return significance.compare(two_axes)


def test_the_finding_names_each_init_with_its_bleu_and_setting(two_axes, compared):
    first = findings.sentences(two_axes, compared)[0]
    for init, one in best_of(two_axes.groups).items():
        wanted = f"{init} {one['bleu']:.2f} ± {one['bleu_spread']:.2f} (lr {one['lr']}, beta2"
        assert wanted in first


@pytest.mark.parametrize(
    ("p", "said"), [(0.2, "may be chance (p = 0.20"), (0.01, "(p = 0.010"), (1e-5, "(p < 0.001")]
)
def test_a_difference_is_called_chance_unless_tested_otherwise(two_axes, compared, p, said):
    told = [dataclasses.replace(one, p_seeds=p) for one in compared]
    text = findings.sentences(two_axes, told)[0]
    assert said in text and "over 2 seeds" in text
    assert ("leads" in text) == (p < 0.05)


def test_without_seeds_the_bootstrap_speaks_and_is_named(two_axes, compared):
    told = [dataclasses.replace(one, p=0.01, p_seeds=math.nan) for one in compared]
    assert "(p = 0.010 over sentences, one seed)" in findings.sentences(two_axes, told)[0]


def changed(results, init: str, state: Status):
    frame = results.frame.copy()
    frame.loc[frame["init"] == init, "status"] = state
    return dataclasses.replace(results, frame=frame, groups=over_seeds(results.grid, frame))


def test_an_init_that_trains_nowhere_is_said_to(two_axes):
    text = findings.sentences(changed(two_axes, "none", Status.DIVERGED), [])
    assert text[0].startswith("gradinit ") and text[0].endswith(" BLEU on test.")
    assert "none trains with every seed at no setting of this grid (8 diverged)." in text


def test_a_best_that_does_not_read_its_source_is_best_and_said_to_be(two_axes, compared):
    text = findings.sentences(changed(two_axes, "gradinit", Status.BLIND), compared)[0]
    assert "gradinit" in text and "not reading its source)" in text


def test_no_run_trains(two_axes):
    nothing = changed(changed(two_axes, "none", Status.DIVERGED), "gradinit", Status.FAILED)
    text = findings.sentences(nothing, [])
    assert text[0] == "No run of this grid trains."
    assert "8 of 16 cells have no result." in text


def test_a_best_at_the_edge_of_the_rates_is_not_called_tuned(two_axes, compared):
    text = findings.sentences(two_axes, compared)
    assert any("gradinit is best at the highest learning rate tried" in one for one in text)
    assert any("none is best at the lowest learning rate tried" in one for one in text)
