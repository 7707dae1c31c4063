"""The report of a grid: page, tables and pictures, and a sentence that says what came out."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from fairseq_gradinit.files import FileError, write_text

from ..cells.errors import GridError
from . import details, findings, page, significance, tables
from .charts import FILE, PAGE, Figure, Look, save
from .curve_charts import curves
from .grid_charts import heat_maps, trainability
from .rate_charts import over_rate
from .results import Results, best_of, coordinates, corpus_of, read
from .scale_charts import learned


def report(folder: Path, to: Path | None, console: Console) -> int:
    """Writes the report and prints what came out; returns the exit code.

    Args:
        folder: of the grid, which may still be running.
        to: where report.html, table.md, grid.tsv, timings.tsv and each chart as SVG and PNG go
            (default: FOLDER/report).

    Raises:
        GridError: there is no grid or no result yet, or a text that it was made of is gone.
        FileError: a file is not what it should be, or cannot be written.
    """
    results = read(folder)
    if not any(state.is_result for state in results.frame["status"]):
        raise GridError(f"{folder}: no cell has a result yet; run the grid first")
    try:
        compared = significance.compare(results)
    except FileError as error:
        missing = error.__cause__
        if not isinstance(missing, FileNotFoundError):
            raise
        # A relative --data, and another folder than the grid's.
        raise GridError(
            f"{missing.filename}: not found; report from the folder that the grid ran in"
        ) from error
    said = findings.sentences(results, compared)
    target = to or folder / "report"
    write_text(target / "grid.tsv", tables.grid_tsv(results.grid, results.frame))
    write_text(target / "timings.tsv", tables.timings_tsv(results.grid, results.frame))
    write_text(target / "table.md", _markdown(results, compared, said))
    cells = _learned(results)
    for figure in figures(results, cells, FILE):
        save(figure, corpus_of(results.grid), target)
    drawn = figures(results, cells, PAGE)
    write_text(
        target / "report.html", page.page(name_of(folder), results, said, drawn, cells, compared)
    )
    console.print(tables.summary(results.grid, results.groups).terminal())
    console.print(" ".join(said), highlight=False, markup=False)
    console.print(tables.measured_by(results.grid, results.frame), highlight=False, soft_wrap=True)
    console.print(f"report: {target / 'report.html'}", highlight=False, soft_wrap=True)
    return 0


def name_of(folder: Path) -> str:
    """What the grid is called: recipes leave it in OUT/grid, where OUT has the name."""
    folder = folder.resolve()
    return folder.parent.name if folder.name == "grid" else folder.name


def figures(results: Results, cells: list[str], look: Look) -> list[Figure]:
    """All figures that the grid has something for, in reading order.

    cells: those that hold scales, the one to show first.
    """
    grid, groups = results.grid, results.groups
    plateau = float(results.frame["plateau"].max())
    scored = groups[groups["complete"]]
    found = [
        None if scored.empty else over_rate(grid, scored, plateau, look),
        curves(grid, groups, details.curves_of(results.cells), plateau, look),
        heat_maps(grid, groups, look),
        trainability(grid, groups, look),
    ]
    if cells:
        iterations = details.iterations_of(results.cells)
        found.append(learned(cells[0], details.scales_of(results.cells), iterations, look))
    return [figure for figure in found if figure is not None]


def _learned(results: Results) -> list[str]:
    """The cells that hold scales; first the one a user would take: the best of its init."""
    names = list(dict.fromkeys(details.scales_of(results.cells)["cell"]))
    best = [one["cells"][0] for one in best_of(results.groups).values()]
    return sorted(names, key=lambda name: name not in best)


def _markdown(results: Results, compared: list[significance.Comparison], said: list[str]) -> str:
    grid, tested = results.grid, tables.differences(compared)
    parts = [" ".join(said), tables.summary(grid, results.groups).markdown()]
    if coordinates(grid):
        for table in tables.by_init(grid, results.groups):
            parts += [f"### {table.title}", table.markdown()]
    parts.append(tables.note(grid, results.frame))
    if tested:
        parts += ["### Differences", tested.markdown(), tables.DIFFERENCES_NOTE]
    return "\n\n".join(part.strip() for part in parts) + "\n"
