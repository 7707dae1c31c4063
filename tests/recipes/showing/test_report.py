"""The report's files: all there, the same twice, and needing nothing but themselves."""

from __future__ import annotations

import re
import shutil

import pytest
from rich.console import Console

from fairseq_gradinit.files import FileError
from recipes.engine.cells.errors import GridError
from recipes.engine.cells.grid import Grid, claim
from recipes.engine.showing.report import name_of, report

STEMS = ("bleu", "curves", "heatmap", "scales", "trainability")


def test_every_file_is_there_and_the_same_twice(written, two_axes_folder, tmp_path):
    target, _ = written
    report(two_axes_folder, tmp_path, Console(quiet=True))
    names = {"grid.tsv", "timings.tsv", "table.md", "report.html"}
    names |= {f"{stem}.{kind}" for stem in STEMS for kind in ("png", "svg")}
    assert {file.name for file in target.iterdir()} == names
    for name in names:
        assert (target / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_the_page_is_about_a_megabyte_and_needs_nothing_else(written):
    page = (written[0] / "report.html").read_text(encoding="utf-8")
    assert len(page) < 1_300_000
    assert 'name="viewport"' in page
    text = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"(src|href|url)\s*[=(]", text), "refers to nothing"
    assert "import(" not in page and "fetch(" not in text


def test_page_table_and_pictures_name_the_corpus_and_escape_it(written):
    target, printed = written
    page = (target / "report.html").read_text(encoding="utf-8")
    assert "Dogs &lt;b&gt;&amp; cats&lt;/b&gt; 1.0" in page and "Dogs <b>" not in page
    assert "Dogs <b>& cats</b> 1.0: BLEU on test, sacreBLEU nrefs:1|" in printed
    assert "Dogs <b>& cats</b> 1.0" in (target / "table.md").read_text(encoding="utf-8")
    assert "Dogs &lt;b&gt;" in (target / "bleu.svg").read_text(encoding="utf-8")


def test_a_picture_holds_its_legend_and_its_lines(written):
    target, _ = written
    scales = (target / "scales.svg").read_text(encoding="utf-8")
    assert scales.count(">self_attn.out_proj<") == 2 and ">one step on<" in scales
    lines = re.findall(r'class="mark-line[^"]*"[^>]*>(.*?)</g>', scales, re.DOTALL)
    assert sum(part.count("<path") for part in lines) == 2 * 4 + 2, "4 matrices a side, 2 losses"
    bleu = (target / "bleu.svg").read_text(encoding="utf-8")
    assert ">none<" in bleu and ">gradinit<" in bleu and "above</text>" not in bleu


def test_the_finding_comes_first_and_the_path_is_printed(written, two_axes_folder):
    target, printed = written
    first = (target / "table.md").read_text(encoding="utf-8").splitlines()[0]
    page = (target / "report.html").read_text(encoding="utf-8")
    finding = first.split(":")[0]
    assert "BLEU on test" in finding
    assert f'<p class="lead">{finding}' in page and finding.split(",")[0] in printed
    assert printed.splitlines()[-1] == f"report: {target / 'report.html'}"
    assert name_of(two_axes_folder) == two_axes_folder.parent.name


def test_a_grid_of_inits_that_still_runs_has_its_report(inits_folder, tmp_path):
    shutil.copytree(inits_folder.parent, tmp_path / "copy")
    folder = tmp_path / "copy" / "grid"
    (folder / "cells" / "init-warmup" / "score.json").unlink()
    report(folder, None, Console(quiet=True))
    assert {f.stem for f in folder.glob("report/*.svg")} == {"bleu", "curves", "scales"}
    text = (folder / "report" / "table.md").read_text(encoding="utf-8")
    assert "1 of 3 cells have no result." in text
    assert "One learning rate an init" in text and "One seed" in text


def test_a_grid_without_results_has_no_report(tmp_path):
    claim(Grid(data="d", axes={"lr": ["1"]}, flags=["-s", "de", "-t", "en"]), tmp_path / "g")
    with pytest.raises(GridError, match="no cell has a result yet; run the grid first"):
        report(tmp_path / "g", None, Console(quiet=True))
    with pytest.raises(GridError, match="no grid here"):
        report(tmp_path / "nowhere", None, Console(quiet=True))


def test_a_report_from_another_folder_names_what_it_misses(two_axes_folder, tmp_path):
    reference = two_axes_folder.parent / "data" / "raw" / "test.en"
    moved = reference.rename(tmp_path / "test.en")
    try:
        with pytest.raises(GridError, match=r"raw/test\.en: not found; report from the folder"):
            report(two_axes_folder, tmp_path / "report", Console(quiet=True))
    finally:
        moved.rename(reference)


def test_a_folder_that_cannot_be_written_is_one_line(inits_folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match=r"file/report/grid\.tsv: cannot be written"):
        report(inits_folder, tmp_path / "file" / "report", Console(quiet=True))
