"""The tables: equal to those of stored grids, and whole for grids that are not."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from recipes.engine.cells.grid import Grid
from recipes.engine.cells.records import Status
from recipes.engine.showing import tables
from recipes.engine.showing.results import over_seeds

STORED = Path(__file__).parent / "stored"


@pytest.mark.parametrize("name", sorted(file.stem for file in STORED.glob("*.tsv")))
def test_a_stored_grid_gives_its_stored_table(name):
    """Grids that were run (results/), with the table that was made of each at the time."""
    stored = pd.read_csv(STORED / f"{name}.tsv", sep="\t", dtype=str, keep_default_na=False)
    axes = list(stored.columns[: stored.columns.get_loc("status")])
    cells = stored.assign(cell=[str(number) for number in range(len(stored))])
    cells["status"] = stored["status"].map(Status)
    for column, digits in (("bleu", "bleu"), ("chrf", "chrf"), ("valid_nll", "valid_nll_bits")):
        cells[column] = pd.to_numeric(stored[digits])
    grid = Grid(data="d", axes={axis: list(dict.fromkeys(stored[axis])) for axis in axes})
    made = tables.by_init(grid, over_seeds(grid, cells))
    text = "\n".join(f"### {table.title}\n\n{table.markdown()}" for table in made)
    assert text.strip() == (STORED / f"{name}.md").read_text(encoding="utf-8").strip()


def test_grid_tsv_has_a_line_a_cell_and_no_times(two_axes):
    header, *lines = tables.grid_tsv(two_axes.grid, two_axes.frame).splitlines()
    assert header.split("\t") == [
        "lr", "beta2", "init", "seed", "status", "bleu", "chrf", "tokenized_bleu",
        "valid_nll_bits", "updates", "reason", "bleu_signature",
    ]  # fmt: skip
    assert len(lines) == 16
    first = dict(zip(header.split("\t"), lines[0].split("\t")))
    assert first["updates"] == "400" and first["bleu_signature"].startswith("nrefs:1|")


def test_timings_leave_out_cells_without_a_result(two_axes):
    cells = two_axes.frame.copy()
    cells.loc[0, "bleu"] = float("nan")
    lines = tables.timings_tsv(two_axes.grid, cells).splitlines()
    assert len(lines) == 1 + 15 and "60.0\t\t5.0\t5.00" in lines[1]


def setting(states: list[str], bleu: float, spread: float = float("nan")) -> pd.Series:
    return pd.Series({"states": states, "bleu": bleu, "bleu_spread": spread})


@pytest.mark.parametrize(
    "states, text",
    [
        (["done"], "9.00"),
        (["diverged"], "diverged (9.00)"),
        (["undertrained"], "9.00 (undertrained)"),
        (["done", "diverged", "done"], "9.00 (1 of 3 diverged)"),
        (["done", "failed"], "failed"),
        (["missing", "running"], "–"),
    ],
)
def test_what_befell_the_seeds_stands_beside_their_mean(states, text):
    assert tables.setting_text(setting(states, 9.0)) == text


def test_a_summary_has_a_line_for_each_init_also_one_that_never_trains(two_axes):
    groups = two_axes.groups.copy()
    groups.loc[groups["init"] == "none", "trains"] = False
    table = tables.summary(two_axes.grid, groups)
    none, gradinit = (dict(zip(table.header, line)) for line in table.lines)
    assert none["best at"] == "" and none["highest lr that trains"] == "none"
    assert gradinit["highest lr that trains"] == "2e-3" and " ± " in gradinit["BLEU on test"]
    assert "8 done" in gradinit["cells"]
