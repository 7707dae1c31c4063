"""Tables, figures and the page, from the results of stub cells."""

from __future__ import annotations

import itertools
import json
import re

import msgspec
import pytest
from rich.console import Console

from fairseq_gradinit.files import write_json
from recipes.engine.cells.cell import cells_of, describe
from recipes.engine.cells.errors import GridError
from recipes.engine.cells.grid import Grid, claim
from recipes.engine.showing import figures, report, significance, table
from recipes.engine.showing.html import from_markdown
from recipes.engine.showing.rows import best, groups_of, rows_of
from recipes.engine.steps.score import measure

ADJECTIVES = [("red", "old", "big"), ("black", "small", "young"), ("white", "new", "green", "tall")]
SENTENCES = [
    "the {} dog sees a {} cat near the {} house".format(*words)
    for words in itertools.product(*ADJECTIVES)
]


@pytest.fixture
def grid_folder(tmp_path):
    """2 lr × 2 β₂ × {none, gradinit} × 2 seeds with scores made up: none trains at lr 1e-3 only."""
    raw = tmp_path / "data" / "raw"
    raw.mkdir(parents=True)
    (raw / "test.en").write_text("\n".join(SENTENCES) + "\n")
    axes = {"lr": ["1e-3", "2e-3"], "beta2": ["0.9", "0.98"], "init": ["none", "gradinit"]}
    axes["seed"] = ["1", "2"]
    grid = Grid(
        data=str(tmp_path / "data"),
        axes=axes,
        inits={"none": [], "gradinit": ["--gradinit"]},
        flags=["-s", "de", "-t", "en"],
    )
    folder = tmp_path / "grid"
    claim(grid, folder)
    for number, cell in enumerate(cells_of(grid, folder)):
        describe(grid, cell)
        trains = cell.init == "gradinit" or cell.values["lr"] == "1e-3"
        worse = 3 if cell.init == "none" else 6
        texts = [line if i % worse else "x" for i, line in enumerate(SENTENCES)]
        cell.hypotheses.write_text("\n".join(texts if trains else SENTENCES[:0]) + "\n")
        score = measure(
            texts if trains else [""] * len(SENTENCES), SENTENCES, "en", raw / "test.en"
        )
        nll = 5.0 - 0.1 * number if trains else None
        score.update(
            status="done" if trains else "diverged",
            reason="" if trains else "loss or gradient not finite after update 8",
            plateau=8.0,
            curves={"train": [], "valid": [{"update": 1, "nll": 9.0}, {"update": 2, "nll": nll}]},
            seconds={"train": 60.0, "gradinit": None, "decode": 5.0},
            updates_per_second=5.0,
        )
        write_json(cell.score, score)
    learned = cell.gradinit
    learned.mkdir(parents=True)
    blocks = [
        {"name": f"{side}.layers.{layer}.{name}.weight", "shape": [4, 4], "scale": 0.1 + layer}
        for side in ("encoder", "decoder")
        for layer in (0, 1)
        for name in ("fc1", "fc2")
    ]
    (learned / "scales.json").write_text(json.dumps({"blocks": blocks, "seconds": 9.0}))
    (learned / "iterations.jsonl").write_text('{"loss": 9.0, "lookahead_loss": 7.0}\n' * 3)
    return grid, folder


def test_tables(grid_folder):
    grid, folder = grid_folder
    rows = rows_of(grid, folder)
    lines = table.grid_tsv(grid, rows).splitlines()
    assert len(lines) == 17 and lines[0].startswith("lr\tbeta2\tinit\tseed\tstatus\tbleu")
    assert "seconds" not in lines[0], "times differ from run to run and have a file of their own"
    text = table.markdown(grid, rows)
    none, gradinit = text.split("### ")[1:]
    assert none.count("diverged (0.00)") == 2 and "diverged (" not in gradinit.split("BLEU on")[0]
    assert "± 0.00" in gradinit, "seed spread"
    assert text.count("**") == 4, "one best cell for each init"


def test_the_best_cell_is_chosen_on_valid_and_is_one_that_trains(grid_folder):
    grid, folder = grid_folder
    groups = groups_of(grid, rows_of(grid, folder)).values()
    none = best([group for group in groups if group.init == "none"])
    assert none.at == ("1e-3", "0.98")  # its made-up validation loss is lower than 0.9's
    assert best([group for group in groups if not group.trains]) is None


def test_bootstrap_tells_a_real_difference(grid_folder):
    grid, folder = grid_folder
    found = significance.compare(grid, rows_of(grid, folder))
    assert [c.what for c in found] == ["best cells", "1e-3 0.9", "1e-3 0.98"]
    assert all(c.difference > 5 and c.p < 0.05 for c in found)


def test_report_is_complete_reproducible_and_self_contained(grid_folder, tmp_path):
    _, folder = grid_folder
    report.report(folder, None, Console(quiet=True))
    report.report(folder, tmp_path / "again", Console(quiet=True))
    names = sorted(file.name for file in (folder / "report").iterdir())
    pictures = [f"{n}.{k}" for n in ("bleu", "curves", "scales", "trainability")
                for k in ("png", "svg")]  # fmt: skip
    assert names == sorted(["grid.tsv", "timings.tsv", "table.md", "report.html", *pictures])
    for name in names:
        same = (folder / "report" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
        assert same, name
        assert (folder / "report" / name).stat().st_size < 600_000, name
    page = (folder / "report" / "report.html").read_text()
    assert 'name="viewport"' in page
    assert not re.search(r'(src|href)="(?!#|data:)', page.replace("xlink:href", "href")), (
        "no outside file"
    )
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    wanted = set(re.findall(r'href="#([^"]+)"', page)) | set(re.findall(r"url\(#([^)]+)\)", page))
    assert wanted <= set(ids)


def test_heat_map_hatches_diverged_cells_and_frames_the_best(grid_folder):
    grid, folder = grid_folder
    figure = figures.heat_maps(grid, rows_of(grid, folder))
    none, gradinit = figure.axes[:2]
    hatched = [[p for p in panel.patches if p.get_hatch()] for panel in (none, gradinit)]
    assert [len(patches) for patches in hatched] == [2, 0]
    assert [len(panel.patches) for panel in (none, gradinit)] == [3, 1]
    limits = {panel.images[0].get_clim() for panel in (none, gradinit)}
    assert len(limits) == 1, "one colour scale for all panels"


def test_highest_trainable_rate(grid_folder):
    grid, folder = grid_folder
    (panel,) = figures.trainability(grid, rows_of(grid, folder)).axes
    heights = {line.get_label(): list(line.get_ydata()) for line in panel.get_lines()}
    assert heights == {"none": [1e-3, 1e-3], "gradinit": [2e-3, 2e-3]}


def test_a_grid_without_results_has_no_report(tmp_path):
    claim(Grid(data="d", axes={"lr": ["1"]}), tmp_path / "g")
    with pytest.raises(GridError, match="no cell has a result yet"):
        report.report(tmp_path / "g", None, Console(quiet=True))
    with pytest.raises(GridError, match="no grid here"):
        report.report(tmp_path / "nowhere", None, Console(quiet=True))


def test_a_report_from_another_folder_names_what_it_misses(grid_folder, tmp_path):
    (tmp_path / "data" / "raw" / "test.en").unlink()
    with pytest.raises(GridError, match=r"raw/test\.en: not found; report from the folder that"):
        report.report(grid_folder[1], tmp_path / "report", Console(quiet=True))


def test_markdown_in_the_page_is_escaped():
    assert from_markdown("### a<b\n\n| x | **y** |\n| --- | --- |\n| 1 | `2` |") == (
        "<h3>a&lt;b</h3>\n"
        '<div class="wide"><table><tr><th>x</th><th><strong>y</strong></th></tr>'
        "<tr><td>1</td><td><code>2</code></td></tr></table></div>"
    )


def test_a_grid_is_a_value(grid_folder):
    grid, folder = grid_folder
    assert json.loads((folder / "grid.json").read_text()) == msgspec.to_builtins(grid)
