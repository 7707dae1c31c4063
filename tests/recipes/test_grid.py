"""Axes → cells → command lines, and every refusal in one line with its remedy."""

from __future__ import annotations

import pytest

from recipes.engine.arguments import grid_of, parse
from recipes.engine.cells import flags
from recipes.engine.cells.cell import cells_of, describe, status, train_command
from recipes.engine.cells.errors import GridError
from recipes.engine.cells.grid import Grid, claim, combinations, load, seed_of, train_flags
from recipes.engine.steps.checks import USER_DIR, check, lines_of, problems

INITS = {"none": [], "gradinit": ["--gradinit"]}


def grid(**changes) -> Grid:
    settings = {"data": "d", "axes": {"lr": ["1e-3", "2e-3"]}, "flags": ["-t", "en"]}
    return Grid(**{**settings, **changes})


def test_cells_are_the_product_of_the_axes_in_their_order():
    axes = {"lr": ["1e-3", "2e-3"], "init": ["none", "gradinit"]}
    assert list(combinations(grid(axes=axes, inits=INITS))) == [
        "lr-1e-3__init-none",
        "lr-1e-3__init-gradinit",
        "lr-2e-3__init-none",
        "lr-2e-3__init-gradinit",
    ]


def test_only_the_parts_asked_for_are_cells():
    axes = {"lr": ["1", "2", "3"], "init": ["none", "gradinit"]}
    parts = [{"init": ["none"], "lr": ["1", "3"]}, {"lr": ["3"]}]
    found = combinations(grid(axes=axes, inits=INITS, only=parts))
    assert list(found) == [
        "lr-1__init-none",
        "lr-3__init-none",
        "lr-3__init-gradinit",
    ]


def test_a_part_of_what_is_no_axis_value_is_refused():
    with pytest.raises(GridError, match="--only lr=4e-3: not among the values of --axis lr"):
        combinations(grid(only=[{"lr": ["1e-3", "4e-3"]}]))


def test_a_grid_grows_by_parts_until_it_is_whole(tmp_path):
    claim(grid(only=[{"lr": ["1e-3"]}]), tmp_path / "g")
    claim(grid(only=[{"lr": ["2e-3"]}]), tmp_path / "g")
    assert list(combinations(load(tmp_path / "g"))) == ["lr-1e-3", "lr-2e-3"]
    claim(grid(), tmp_path / "g")
    claim(grid(only=[{"lr": ["2e-3"]}]), tmp_path / "g")
    assert load(tmp_path / "g").only == []


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


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--seed", "3"], "3"),
        (["--seed=3"], "3"),
        (["--seed=2", "--seed", "3"], "3"),
        (["--seed", "2", "--seed=3"], "3"),
        (["--seed", "-1"], "-1"),
        (["--seed="], ""),
        (["--seed", "--fp16"], ""),
        (["--seed-x", "3", "--seeds=4"], None),
        (["--", "--seed", "3"], None),
    ],
)
def test_a_flag_is_read_as_argparse_reads_it(words, expected):
    assert flags.value(words, "--seed") == expected


@pytest.mark.parametrize("text", ["-s de", "-sde", "-s=de", "--source-lang=de", "-s en -s de"])
def test_short_flags_and_aliases(text):
    assert flags.value(text.split(), "--source-lang") == "de"


@pytest.mark.parametrize("spelling", [["--adam-betas", "(0.8,0.98)"], ["--adam-betas=(0.8,0.98)"]])
@pytest.mark.parametrize("place", ["flags", "init"])
def test_a_beta_axis_keeps_the_other_beta_wherever_it_is_fixed(spelling, place):
    one = grid(**({"flags": spelling} if place == "flags" else {"inits": {"mine": spelling}}))
    assert train_flags(one, {"init": "mine", "beta2": "0.5"})[-1] == "(0.8, 0.5)"


def test_both_spellings_are_refused_where_the_engine_gives_the_flag():
    for words in (["--lr", "1"], ["--lr=1"]):
        with pytest.raises(GridError, match="--lr is fixed after -- and also the axis lr; drop"):
            combinations(grid(flags=words))
    for words in (["--save-dir", "x"], ["--save-dir=x"]):
        with pytest.raises(GridError, match="--save-dir after --: the engine gives its own"):
            combinations(grid(flags=words))
    with pytest.raises(GridError, match="--generate-flags --gen-subset: the engine gives"):
        combinations(grid(generate_flags=["--gen-subset=valid"]))
    for axis in ("save-dir", "save_dir", "log_format"):  # would be overwritten in every cell
        with pytest.raises(GridError, match=f"--axis {axis}: the engine gives its own; drop it"):
            combinations(grid(axes={axis: ["a", "b"]}))


def test_decoding_in_the_other_direction_is_refused():
    trained, backward = ["-s", "de", "-t", "en"], ["-s", "en", "--target-lang=de"]
    combinations(grid(flags=trained, generate_flags=trained))
    with pytest.raises(GridError, match="--generate-flags --source-lang en: the models are train"):
        combinations(grid(flags=trained, generate_flags=backward))


def test_an_empty_part_is_not_the_whole():
    """As of a shell variable that is not set."""
    with pytest.raises(GridError, match="--only: empty, which would be all cells"):
        combinations(grid(only=[{}]))


@pytest.mark.parametrize("betas", ["(1.9, 0.98)", "(0.9, -)", "(0.9, 1e400)"])
def test_fixed_betas_that_no_adam_takes(betas):
    with pytest.raises(GridError, match=r"--adam-betas: found .*; write it as '\(0.9, 0.98\)'"):
        combinations(grid(flags=["--adam-betas", betas]))


def test_languages_and_seed_are_read_in_every_spelling():
    one = grid(flags=["-sde", "--target-lang=en", "--seed=3"])
    assert (one.source, one.target, seed_of(one, {})) == ("de", "en", "3")
    assert seed_of(one, {"seed": "7"}) == "7" and seed_of(grid(), {}) == "1"


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
        ({"target-lang": ["en"]}, "--target-lang is fixed after -- and also the axis"),
        ({"arch": ["a"], "init": ["big"]}, "--arch is fixed in --init big and also the axis"),
        ({"lr": ["0.1", "abc"]}, "--axis lr: found abc; give a number above 0"),
        ({"lr": ["-0.1"]}, "--axis lr: found -0.1; give a number above 0"),
        ({"lr": ["nan"]}, "--axis lr: found nan"),
        ({"beta2": ["1"]}, "--axis beta2: found 1; give a number from 0 to below 1"),
        ({"momentum": ["x"]}, "--axis momentum: found x"),
        ({"lr": ["1e-3", "٣"]}, "--axis lr: found ٣; give a number above 0"),
        ({"seed": ["٣"]}, "--axis seed: found ٣; give a whole number from 0 on"),
        ({"seed": ["4294967296"]}, "--axis seed: found 4294967296; give at most 4294967295"),
        ({"seed": ["9" * 5000]}, "…; give at most 4294967295"),
        ({"max_update": ["1" * 300]}, "would be the name of a folder and has 311 characters"),
        ({"adam_betas": ["(0.9", "0.98)"]}, "hold commas; use the axes beta1 and beta2"),
    ],
)
def test_bad_axes(axes, message):
    with pytest.raises(GridError) as error:
        combinations(
            grid(axes=axes, inits={**INITS, "big": ["-a", "b"]}, flags=["--target-lang", "en"])
        )
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


def test_cells_of_unknown_flags_are_not_taken_over(tmp_path):
    """Someone removed grid.json, perhaps to get around the refusal of other flags."""
    claim(grid(), tmp_path)
    (tmp_path / "cells" / "lr-1e-3").mkdir(parents=True)
    (tmp_path / "grid.lock").touch()
    (tmp_path / "grid.json").unlink()
    with pytest.raises(GridError, match="json is missing, so that nobody knows"):
        claim(grid(flags=["--dropout", "0.3"]), tmp_path)
    assert not (tmp_path / "grid.json").exists()


def test_cell_json_says_what_was_run(tmp_path, monkeypatch):
    one = grid(axes={"lr": ["1e-3"], "seed": ["3"]})
    (cell,) = cells_of(one, tmp_path)
    describe(one, cell)
    config = cell.read_config()
    assert config.seed == "3" and config.values == {"lr": "1e-3", "seed": "3"}
    assert config.command == train_command(one, cell)
    assert "sacrebleu" in config.versions and not config.earlier
    assert status(cell) == ("missing", "")

    module = "recipes.engine.cells.cell._commit"
    monkeypatch.setattr(module, lambda: "mended")
    describe(one, cell)  # nothing of the first attempt is used
    assert cell.read_config().commit == "mended" and not cell.read_config().earlier
    cell.checkpoints.mkdir()
    (cell.checkpoints / "checkpoint_last.pt").touch()
    monkeypatch.setattr(module, lambda: "later")
    for _ in range(2):
        describe(one, cell)
        assert cell.read_config().commit == "later"
        assert [made.commit for made in cell.read_config().earlier] == ["mended"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["run", "--out", "x", "--jbs", "2"], "unknown --jbs (did you mean --jobs?)"),
        (
            ["run", "--out", "x", "--jobs", "0"],
            "argument --jobs: found 0; give a whole number from 1 on",
        ),
        (
            ["run", "--out", "x", "--gpus", "-1"],
            "argument --gpus: found -1; give a whole number from 0 on",
        ),
        (["run", "--out", "x"], "--data is missing"),
        (["run", "--out", "x", "--data", "d", "--jobs", "two"], "found two; give a whole number"),
        (["run", "--out", "x", "--data", "d", "--axis", "lr"], "--axis lr: no NAME="),
        (["run", "--out", "x", "--data", "d", "--axis", "a=1", "--axis", "a=2"], "given twice"),
        (["run", "--out", "x", "--data", "d", "--init", "a='"], "mend the quotes"),
        (["run", "--out", "x", "--data", "d", "--only", "lr"], "--only lr: no NAME="),
        (
            ["run", "--out", "x", "--data", "d", "--axis", "lr=1", "--init", "g=--gradinit"],
            "--init g: used by no cell; add --axis init=g",
        ),
        (["run", "--out", "x", "--cluster", "slrm"], "invalid choice: 'slrm'"),
    ],
)
def test_bad_command_lines(line, message):
    with pytest.raises(GridError) as error:
        grid_of(parse(line))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_what_data_says_of_its_tokens_is_undone(tmp_path):
    """Unless the command line says otherwise."""
    line = ["run", "--out", "x", "--data", str(tmp_path), "--axis", "lr=1"]
    end = ["--", "-s", "de", "-t", "en"]
    assert grid_of(parse([*line, *end])).generate_flags == ["--beam", "5"]
    (tmp_path / "bpe.codes").touch()
    assert grid_of(parse([*line, *end])).generate_flags == ["--beam", "5", "--remove-bpe"]
    (tmp_path / "tokenized").mkdir()
    found = grid_of(parse([*line, "--generate-flags=--remove-bpe=x", *end])).generate_flags
    assert found == [
        *("--remove-bpe=x", "--tokenizer", "moses"),
        *("--source-lang", "de", "--target-lang", "en"),
    ]
    (tmp_path / "sentencepiece.model").touch()
    assert grid_of(parse([*line, *end])).generate_flags[2:4] == ["--remove-bpe", "sentencepiece"]


TRAINS = [
    "-s",
    "de",
    "-t",
    "en",
    "--arch",
    "transformer",
    "--optimizer",
    "sgd",
    "--max-tokens",
    "9",
]
ON = {"plain": [], "x": ["--gradinit", "--user-dir", str(USER_DIR)]}
JUDGED = {
    "--max-updat (did you mean --max-update?)": {"axes": {"max_updat": ["1"]}},
    "(did you mean --momentum?)": {"axes": {"momentun": ["1"]}},
    "argument --dropout: invalid float value: 'abc'": {"axes": {"dropout": ["0.1", "abc"]}},
    "invalid choice: 'transfomer'": {"flags": [*TRAINS, "--arch=transfomer"]},
    "neither --max-tokens nor --batch-size is given; add --max-tokens N": {"flags": TRAINS[:-2]},
    "--lr is empty": {"flags": [*TRAINS, "--lr", "[]"], "axes": {"seed": ["1"]}},
    "fairseq-train: True is the value of no flag": {
        "axes": {"encoder-normalize-before": ["True", "False"]}
    },
    "--lr: found -0.1; give a number above 0": {
        "flags": [*TRAINS, "--lr=-0.1"],
        "axes": {"seed": ["1"]},
    },
    "has no --beem (did you mean --beam?)": {"generate_flags": ["--beem", "5"]},
    "init x: fairseq-train has no --gradinit; add --user-dir ": {
        "axes": {"init": ["x"]},
        "inits": {"x": ["--gradinit"]},
    },
    "init x: --user-dir no/dir: no such folder": {
        "axes": {"init": ["x"]},
        "inits": {"x": ["--user-dir=no/dir"]},
    },
    "": {
        "axes": {"init": ["plain", "x"]},
        "inits": ON,
        "generate_flags": ["--remove-bpe", "sentencepiece"],
    },
}


def test_what_stops_every_cell_is_found_before_anything_runs():
    """One process judges the lines of all these grids, each of which has one thing wrong."""
    named = [
        (message, where, flags)
        for message, changes in JUDGED.items()
        for where, flags in lines_of(grid(**{"flags": TRAINS, **changes}))
    ]
    said: dict[str, list[str]] = {}
    for (message, where, _), text in zip(named, problems([words for *_, words in named])):
        said.setdefault(message, []).extend([where + text] if text else [])
    assert said.pop("") == []
    for message, texts in said.items():
        assert message in texts[0] and "\n" not in texts[0], (message, texts)


def test_a_problem_stops_the_engine():
    with pytest.raises(GridError, match="fairseq-train: neither --max-tokens"):
        check(grid(flags=TRAINS[:-2]))
