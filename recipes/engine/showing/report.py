"""The report: tables, figures and one page with all of them."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from rich.console import Console

from fairseq_gradinit.files import write_text

from ..cells.errors import GridError
from ..cells.grid import Grid, load
from . import figures, html, significance, table
from .rows import Row, best, groups_of, rows_of
from .scales import has_scales, scales_figure


@dataclass(frozen=True)
class Picture:
    """A figure of the report: file name without suffix, caption, the figure itself."""

    stem: str
    caption: str
    figure: Figure


def report(folder: Path, to: Path | None, console: Console) -> int:
    """Write grid.tsv, timings.tsv, table.md, the figures and report.html; returns the exit code."""
    grid = load(folder)
    rows = rows_of(grid, folder)
    if not any(row.status.is_result for row in rows):
        raise GridError(f"{folder}: no cell has a result yet; run the grid first")
    target = to or folder / "report"
    try:
        target.mkdir(parents=True, exist_ok=True)
        _write(grid, rows, folder, target)
    except FileNotFoundError as error:  # a relative --data, and another folder than the grid's
        raise GridError(
            f"{error.filename}: not found; report from the folder that the grid ran in"
        ) from error
    except OSError as error:
        raise GridError(f"--to {target}: cannot write ({error.strerror})") from error
    console.print(table.terminal(grid, rows))
    for signature in table.signatures(rows):
        console.print(f"BLEU on {grid.subset}, sacreBLEU {signature}", highlight=False)
    missing = sum(not row.status.is_result for row in rows)
    if missing:
        console.print(f"{missing} of {len(rows)} cells have no result yet", highlight=False)
    console.print(f"report: {target / 'report.html'}", highlight=False, soft_wrap=True)
    return 0


def _write(grid: Grid, rows: list[Row], folder: Path, target: Path) -> None:
    write_text(target / "grid.tsv", table.grid_tsv(grid, rows))
    write_text(target / "timings.tsv", table.timings_tsv(grid, rows))
    tables = table.markdown(grid, rows)
    compared = significance.markdown(significance.compare(grid, rows))
    write_text(
        target / "table.md", tables + (f"\n### Differences\n\n{compared}" if compared else "")
    )
    drawn = []
    for number, picture in enumerate(_pictures(grid, rows)):
        figures.save(picture.figure, target / picture.stem)
        drawn.append(html.figure(target / f"{picture.stem}.svg", number, picture.caption))
    sections = [
        html.section("BLEU", html.from_markdown(tables), *drawn[:1]),
        html.section("Differences between inits", html.from_markdown(compared)) if compared else "",
        html.section("Figures", *drawn[1:]) if drawn[1:] else "",
        html.section("How it was run", *_how(grid, rows)),
    ]
    write_text(target / "report.html", html.page(f"Grid {folder.resolve().name}", sections))


def _pictures(grid: Grid, rows: list[Row]) -> list[Picture]:
    found = [
        Picture("bleu", "BLEU by learning rate and second axis; hatched: diverged; "
                "framed: lowest validation loss.", figures.heat_maps(grid, rows)),
        Picture("trainability", "Highest learning rate of the grid at which every seed trains.",
                figures.trainability(grid, rows)),
        Picture("curves", "Validation loss; a cross ends a diverged run.",
                figures.learning_curves(grid, rows)),
    ]  # fmt: skip
    learned = [row for row in rows if has_scales(row.cell)]
    if learned:
        # The cell that a user of this grid would take: its init's lowest validation loss.
        groups = [g for g in groups_of(grid, rows).values() if g.rows[0] in learned]
        chosen = best(groups)
        row = chosen.rows[0] if chosen else learned[0]
        found.append(Picture("scales", f"What GradInit learned, cell {row.cell.name}.",
                             scales_figure(row.cell)))  # fmt: skip
    return [picture for picture in found if picture.figure is not None]


def _how(grid: Grid, rows: list[Row]) -> list[str]:
    configs = [config for row in rows if (config := row.cell.read_config())]
    commits = sorted({config.commit for config in configs})
    versions = sorted({f"{k} {v}" for config in configs for k, v in config.versions.items()})
    inits = [f"{name}: {shlex.join(flags)}" for name, flags in grid.inits.items()]
    lines = [
        "axes: " + "; ".join(f"{axis} = {', '.join(v)}" for axis, v in grid.axes.items()),
        *(f"init {text}" for text in inits),
        f"fairseq-train {shlex.join(grid.flags)}",
        f"fairseq-generate {shlex.join(grid.generate_flags)}",
        f"decoded: {f'average of {grid.average}' if grid.average else grid.checkpoint} "
        f"checkpoint{'s' if grid.average else ''}",
        f"commits: {', '.join(commits)}",
        ", ".join(versions),
    ]
    return [html.pre("\n".join(lines))]
