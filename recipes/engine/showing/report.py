"""The report of a grid: report.html, which needs nothing but itself, tables, and pictures."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import vl_convert
from rich.console import Console

from fairseq_gradinit.files import FileError, write_text

from ..cells.cell import RESULTS, Cell
from ..cells.errors import GridError
from ..cells.files import read_json
from ..cells.grid import Grid, load
from . import details, findings, significance, tables
from .charts import BEST, FILE, PAGE, Figure, Look, save, specification, title_of
from .colours import colours_of
from .curve_charts import curves
from .grid_charts import heat_maps, trainability
from .rate_charts import over_rate
from .results import best_of, cells_of, coordinates, inits_of, over_seeds, signatures
from .scale_charts import learned
from .settings import settings_of

TEMPLATE = Path(__file__).with_name("page.html.jinja")


def report(folder: Path, to: Path | None, console: Console) -> int:
    """Writes the report and prints what came out; returns the exit code.

    Args:
        folder: of the grid, which may still be running.
        to: where report.html, table.md, grid.tsv, timings.tsv and the figures go (default:
            FOLDER/report).

    Raises:
        GridError: there is no result yet, or a file cannot be read or written.
    """
    grid = load(folder)
    cells = cells_of(grid, folder)
    if not cells["status"].isin(RESULTS).any():
        raise GridError(f"{folder}: no cell has a result yet; run the grid first")
    target = to or folder / "report"
    groups = over_seeds(grid, cells)
    try:
        compared = significance.compare(grid, folder, cells, groups)
    except FileNotFoundError as error:  # a relative --data, and another folder than the grid's
        raise GridError(
            f"{error.filename}: not found; report from the folder that the grid ran in"
        ) from error
    said = findings.sentences(grid, cells, groups, compared)
    try:
        _write(grid, folder, target, cells, groups, compared, said)
    except FileError as error:
        raise GridError(f"--to {target}: {error}") from error
    console.print(tables.summary(grid, groups).terminal())
    console.print(" ".join(said), highlight=False, markup=False)
    for signature in signatures(cells):
        console.print(f"BLEU on {grid.subset}, sacreBLEU {signature}", highlight=False)
    console.print(f"report: {target / 'report.html'}", highlight=False, soft_wrap=True)
    return 0


def _write(
    grid: Grid, folder: Path, target: Path, cells: pd.DataFrame, groups: pd.DataFrame,
    compared: list[significance.Comparison], said: list[str],
) -> None:  # fmt: skip
    write_text(target / "grid.tsv", tables.grid_tsv(grid, cells))
    write_text(target / "timings.tsv", tables.timings_tsv(grid, cells))
    shown = [tables.summary(grid, groups)]
    shown += tables.by_init(grid, groups) if coordinates(grid) else []
    tested = tables.differences(compared)
    note = tables.note(grid, signatures(cells))
    parts = [" ".join(said), *(f"### {t.title}\n\n{t.markdown()}".lstrip("# \n") for t in shown)]
    parts += [note, *([f"### Differences\n\n{tested.markdown()}", tables.DIFFERENCES_NOTE]
                      if tested else [])]  # fmt: skip
    write_text(target / "table.md", "\n\n".join(part.strip() for part in parts) + "\n")
    for figure in figures(grid, folder, cells, groups, FILE):
        save(figure, target)
    drawn = figures(grid, folder, cells, groups, PAGE)
    inits = inits_of(grid)
    page = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        TEMPLATE.read_text(encoding="utf-8")
    )
    write_text(
        target / "report.html",
        page.render(
            title=name_of(folder),
            said=said,
            inits=colours_of(inits),
            settings=settings_of(grid),
            best=BEST,
            others=" and ".join(title_of(axis) for axis in coordinates(grid)[1:]),
            learned=_learned(grid, folder, cells, groups),
            figures=drawn,
            charts=_json({f"{figure.stem}-{number}": specification(panel) for figure in drawn
                          for number, panel in enumerate(figure.panels)}),
            summary=shown[0],
            tables=shown[1:],
            note=note.replace("`", ""),
            tested=tested,
            tested_note=tables.DIFFERENCES_NOTE,
            how=_how(grid, folder, cells),
            javascript=_javascript(),
        ),
    )  # fmt: skip


def name_of(folder: Path) -> str:
    """What the grid is called: recipes leave it in OUT/grid, where OUT has the name."""
    folder = folder.resolve()
    return folder.parent.name if folder.name == "grid" else folder.name


def figures(
    grid: Grid, folder: Path, cells: pd.DataFrame, groups: pd.DataFrame, look: Look
) -> list[Figure]:
    """All figures that the grid has something for, in reading order."""
    plateau = float(cells["plateau"].max())
    scored = groups[groups["complete"]]
    found = [
        over_rate(grid, scored, plateau, look) if not scored.empty else None,
        curves(grid, groups, details.curves_of(grid, folder, cells), plateau, look),
        heat_maps(grid, groups, look),
        trainability(grid, groups, look),
    ]
    choices = _learned(grid, folder, cells, groups)
    if choices:
        iterations = details.iterations_of(folder, cells)
        found.append(learned(choices[0], details.scales_of(folder, cells), iterations, look))
    return [figure for figure in found if figure is not None]


def _learned(grid: Grid, folder: Path, cells: pd.DataFrame, groups: pd.DataFrame) -> list[str]:
    """The cells that hold scales; first the one a user would take: the best of its init."""
    names = list(dict.fromkeys(details.scales_of(folder, cells)["cell"]))
    best = [one["cells"][0] for one in best_of(groups).values()]
    return sorted(names, key=lambda name: name not in best)


def _javascript() -> str:
    """Vega, Vega-Lite and Vega-Embed, which vl-convert brings along, as `vegaEmbed`."""
    text: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return text.replace("</script", "<\\/script")


def _json(value: Any) -> str:
    """JSON to stand in a script element, which "</" would end."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")


def _how(grid: Grid, folder: Path, cells: pd.DataFrame) -> str:
    files = [Cell(folder / "cells" / name).config for name in cells["cell"]]
    configs = [read_json(file) for file in files if file.exists()]
    commits = sorted({config["commit"] for config in configs})
    versions = sorted({f"{k} {v}" for config in configs for k, v in config["versions"].items()})
    lines = [
        f"data: {grid.data}",
        "axes: " + "; ".join(f"{axis} = {', '.join(v)}" for axis, v in grid.axes.items()),
        *(f"init {name}: {shlex.join(flags)}" for name, flags in grid.inits.items()),
        f"fairseq-train {shlex.join(grid.flags)}",
        f"fairseq-generate {shlex.join(grid.generate_flags)}",
        f"decoded: {f'average of {grid.average}' if grid.average else grid.checkpoint} "
        f"checkpoint{'s' if grid.average else ''}",
        f"commits: {', '.join(commits)}",
        ", ".join(versions),
    ]
    return "\n".join(lines)
