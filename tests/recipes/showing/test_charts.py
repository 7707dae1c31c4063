"""What the charts hold: every setting, the colours of the inits, and what lies beyond an axis."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest

from recipes.engine.cells.grid import Grid
from recipes.engine.cells.records import Status
from recipes.engine.showing import details
from recipes.engine.showing.charts import FILE, PAGE, specification
from recipes.engine.showing.colours import KNOWN, OTHERS, colours_of
from recipes.engine.showing.curve_charts import curves
from recipes.engine.showing.grid_charts import heat_maps, trainability
from recipes.engine.showing.rate_charts import over_rate
from recipes.engine.showing.report import figures
from recipes.engine.showing.results import over_seeds
from recipes.engine.showing.settings import settings_of, with_settings


def lines(spec: dict, field: str) -> list[dict]:
    """The lines of a chart's data that have `field`."""
    data = spec["datasets"].values()
    return [line for lines in data for line in lines if field in line]


def test_an_init_has_one_colour_whatever_else_is_in_the_grid():
    names = ["aaa", "none", "gradinit", "mine", "warmup"]
    for start in range(len(names)):
        found = colours_of(names[start:])
        for init in names[start:]:
            assert found[init] == colours_of([init])[init]
    assert colours_of(["Pre_LN"])["Pre_LN"] == KNOWN["preln"]


def test_inits_of_one_grid_are_told_apart():
    names = [*KNOWN, *(f"init-{n}" for n in range(len(OTHERS) - 1))]  # default beside gradinit
    found = colours_of(names)
    assert len(set(found.values())) == len(found)
    assert len(colours_of([f"init-{n}" for n in range(30)])) == 30, "then colours repeat"


def test_every_setting_is_in_the_chart_over_the_rate(two_axes):
    figure = over_rate(two_axes.grid, two_axes.groups, 8.0, PAGE)
    bleu, loss = (specification(panel) for panel in figure.panels)
    found = {(one["init"], one["where"]): one["y"] for one in lines(bleu, "where")}
    assert len(found) == len(two_axes.groups)
    for _, one in two_axes.groups.iterrows():
        where = f"lr {one['lr']}, beta2 {one['beta2']}"
        assert found[one["init"], where] == pytest.approx(one["bleu"], abs=1e-4)
    titles = [layer["encoding"]["y"].get("title") for layer in loss["layer"]]
    assert "validation loss (bits per token)" in titles


def test_the_best_setting_at_each_rate_has_the_lowest_loss_of_those_that_train(two_axes):
    data = with_settings(two_axes.grid, two_axes.groups)
    for (_, _), mine in data.groupby(["init", "lr"]):
        (chosen,) = mine[mine["best"]].to_dict("records")
        among = mine[mine["trains"]] if mine["trains"].any() else mine
        assert chosen["valid_nll"] == among["valid_nll"].min()
    assert settings_of(two_axes.grid) == ["best", "beta2 0.9", "beta2 0.98"]


def test_a_loss_beyond_the_axis_is_drawn_at_its_edge_with_its_value(two_axes):
    figure = over_rate(two_axes.grid, two_axes.groups, 8.0, PAGE)
    shown = lines(specification(figure.panels[1]), "above")
    beyond = [one for one in shown if one["above"]]
    assert beyond and all(one["y"] < one["valid_nll"] for one in beyond)
    assert all(one["above"] == f"▲ {one['valid_nll']:.1f}" for one in beyond)
    assert "are drawn at the edge" in figure.caption
    inside = [one for one in shown if not one["above"]]
    assert all(one["y"] == one["valid_nll"] for one in inside)


def test_curves_have_a_panel_a_rate_and_say_what_they_leave_out(two_axes):
    points = details.curves_of(two_axes.cells)
    figure = curves(two_axes.grid, two_axes.groups, points, 8.0, PAGE)
    assert [panel.title for panel in figure.panels] == ["learning rate 1e-3", "learning rate 2e-3"]
    drawn = [lines(specification(panel), "update") for panel in figure.panels]
    assert sum(map(len, drawn)) == points["nll"].notna().sum(), "every finite loss is drawn"
    lost = points[points["nll"].isna()]["cell"].nunique()
    assert lost and f"{lost} runs have validations whose loss was not finite" in figure.caption
    assert curves(two_axes.grid, two_axes.groups, points.iloc[:0], 8.0, PAGE) is None


def test_a_heat_map_shows_each_setting_once_and_frames_the_best(two_axes):
    figure = heat_maps(two_axes.grid, two_axes.groups, PAGE)
    none, gradinit = (lines(specification(panel), "where") for panel in figure.panels)
    assert len(none) == len(gradinit) == 4
    assert [sum(one["best"] for one in panel) for panel in (none, gradinit)] == [1, 1]
    assert [one["text"] for one in none if one["x"] == "2e-3"] == ["0.0 ×", "0.0 ×"]
    assert "× diverged" in figure.caption
    domains = [
        layer["encoding"]["color"]["scale"]["domain"]
        for panel in figure.panels
        for layer in specification(panel)["layer"]
        if "scale" in layer["encoding"].get("color", {})
    ]
    assert len(domains) == 2 and domains[0] == domains[1], "one colour scale for all panels"


def test_the_highest_rate_that_trains(two_axes):
    (panel,) = trainability(two_axes.grid, two_axes.groups, PAGE).panels
    found = {(one["init"], one["x"]): one["y"] for one in lines(specification(panel), "init")}
    assert {rate for (init, _), rate in found.items() if init == "none"} == {"1e-3"}
    assert {rate for (init, _), rate in found.items() if init == "gradinit"} == {"2e-3"}


def test_scales_of_every_cell_can_be_chosen_and_iterations_are_thinned(two_axes):
    learned = [cell.name for cell in two_axes.cells if cell.init == "gradinit"]
    (figure,) = (f for f in figures(two_axes, learned, PAGE) if f.stem == "scales")
    encoder, _, objective = (specification(panel) for panel in figure.panels)
    assert {one["cell"] for one in lines(encoder, "scale")} == set(learned)
    assert {one["layer"] for one in lines(encoder, "scale")} == set(range(6))
    few = details.iterations_of(two_axes.cells, most=7)
    of_one = few[(few["cell"] == learned[0]) & (few["what"] == "one step on")]
    assert of_one["iteration"].iloc[-1] == 39 and len(of_one) <= 8
    assert lines(objective, "nats")


def test_a_grid_without_a_second_axis_has_no_heat_map():
    frame = pd.DataFrame({"lr": ["1", "2"], "init": "all", "cell": ["a", "b"]})
    frame = frame.assign(status=Status.DONE, bleu=3.0, chrf=4.0, valid_nll=5.0)
    grid = Grid(data="d", axes={"lr": ["1", "2"]})
    groups = over_seeds(grid, frame)
    assert heat_maps(grid, groups, FILE) is None and trainability(grid, groups, FILE) is None
    assert dataclasses.is_dataclass(over_rate(grid, groups, 8.0, FILE))
