"""Axes → cells → command lines, and every refusal in one line with its remedy."""

from __future__ import annotations

import json

import pytest

from recipes.engine.arguments import grid_of, parse
from recipes.engine.cells.cell import Cell as CellFolder
from recipes.engine.cells.cell import describe, status, train_command
from recipes.engine.cells.errors import GridError
from recipes.engine.cells.grid import Grid, claim, load, points, train_flags

INITS = {"none": [], "gradinit": ["--gradinit"]}


def grid(**changes) -> Grid:
    settings = {"data": "d", "axes": {"lr": ["1e-3", "2e-3"]}, "flags": ["-t", "en"]}
    return Grid(**{**settings, **changes})


def test_cells_are_the_product_of_the_axes_in_their_order():
    cells = points(grid(axes={"lr": ["1e-3", "2e-3"], "init": ["none", "gradinit"]}, inits=INITS))
    assert [cell.name for cell in cells] == [
        "lr-1e-3__init-none",
        "lr-1e-3__init-gradinit",
        "lr-2e-3__init-none",
        "lr-2e-3__init-gradinit",
    ]


@pytest.mark.parametrize(
    ("values", "flags"),
    [
        ({"lr": "1e-3"}, ["--lr", "1e-3"]),
        ({"momentum": "0.9"}, ["--momentum", "0.9"]),
        ({"warmup": "100"}, ["--warmup-updates", "100"]),
        ({"depth": "12"}, ["--encoder-layers", "12", "--decoder-layers", "12"]),
        ({"beta2": "0.5"}, ["--adam-betas", "(0.9, 0.5)"]),
        ({"beta1": "0", "beta2": "0.5"}, ["--adam-betas", "(0, 0.5)"]),
        ({"weight_decay": "0.1"}, ["--weight-decay", "0.1"]),
        ({"init": "gradinit"}, ["--gradinit"]),
    ],
)
def test_an_axis_becomes_its_flags(values, flags):
    assert train_flags(grid(inits=INITS, flags=[]), values) == flags


def test_a_beta_axis_keeps_the_other_beta_of_the_fixed_flags():
    one = grid(flags=["--adam-betas", "(0.8, 0.98)"])
    assert train_flags(one, {"beta2": "0.5"})[-1] == "(0.8, 0.5)"


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({}, "no axis given"),
        ({"lr": []}, "--axis lr: an empty value"),
        ({"lr": ["1e-3", ""]}, "--axis lr: an empty value"),
        ({"lr": ["1e-3", "0.001"]}, "1e-3 and 0.001 are the same value twice"),
        ({"depth": ["6", "0"]}, "--axis depth: found 0; give a whole number from 1 on"),
        ({"seed": ["1.5"]}, "--axis seed: found 1.5; give a whole number from 0 on"),
        ({"warmup": ["-1"]}, "--axis warmup: found -1; give a whole number from 0 on"),
        ({"task": ["a b", "a/b"]}, "would share the folder task-a_b"),
        ({"init": ["gradient"]}, "(did you mean gradinit?)"),
        ({"target-lang": ["en"]}, "--target-lang is fixed after -- and is also the axis"),
    ],
)
def test_bad_axes(axes, message):
    with pytest.raises(GridError) as error:
        points(grid(axes=axes, inits=INITS, flags=["--target-lang", "en"]))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_folder_belongs_to_one_grid(tmp_path):
    claim(grid(), tmp_path / "g")
    claim(grid(), tmp_path / "g")  # the same grid again
    with pytest.raises(GridError, match=r"made by another grid \(flags was"):
        claim(grid(flags=["-t", "de"]), tmp_path / "g")
    with pytest.raises(GridError, match="axis lr was 1e-3,2e-3, now 1e-3"):
        claim(grid(axes={"lr": ["1e-3"]}), tmp_path / "g")
    claim(grid(axes={"lr": ["1e-3", "2e-3", "4e-3"]}), tmp_path / "g")  # new cells are welcome
    assert load(tmp_path / "g").axes["lr"][-1] == "4e-3"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("")
    with pytest.raises(GridError, match="not empty and not a grid"):
        claim(grid(), tmp_path / "other")


def test_cell_json_says_what_was_run(tmp_path):
    one = grid(axes={"lr": ["1e-3"], "seed": ["3"]})
    claim(one, tmp_path)
    (point,) = points(one)
    describe(one, tmp_path, point)
    cell = CellFolder(tmp_path / "cells" / point.name)
    config = json.loads(cell.config.read_text())
    assert config["seed"] == "3" and config["values"] == {"lr": "1e-3", "seed": "3"}
    assert config["command"] == train_command(one, point, cell)
    assert "sacrebleu" in config["versions"]
    assert status(cell)[0] == "missing"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["run", "--out", "x", "--jbs", "2"], "unknown --jbs (did you mean --jobs?)"),
        (["run", "--out", "x", "--jobs", "0"], "--jobs 0: give 1 or more"),
        (["run", "--out", "x", "--gpus", "-1"], "--gpus -1: give 0 or more"),
        (["run", "--out", "x"], "--data is missing"),
        (["run", "--out", "x", "--data", "d", "--axis", "lr"], "--axis lr: no NAME="),
        (["run", "--out", "x", "--data", "d", "--axis", "a=1", "--axis", "a=2"], "given twice"),
        (["run", "--out", "x", "--data", "d", "--init", "a='"], "mend the quotes"),
        (["run", "--out", "x", "--cluster", "slrm"], "invalid choice: 'slrm'"),
    ],
)
def test_bad_command_lines(line, message):
    with pytest.raises(GridError) as error:
        grid_of(parse(line))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_mistyped_fairseq_flag_is_found_before_anything_runs(tmp_path):
    from recipes.engine.steps import flags

    for name, text in (("max_updat", "(did you mean --max-update?)"), ("momentun", "--momentum?")):
        one = grid(axes={name: ["1"]}, flags=["--arch", "transformer"])
        with pytest.raises(GridError) as error:
            flags.check(one, points(one))
        assert text in str(error.value) and "\n" not in str(error.value)
    one = grid(axes={"lr": ["1"]}, flags=["--arch", "transfomer"])
    with pytest.raises(GridError, match="invalid choice: 'transfomer'"):
        flags.check(one, points(one))
