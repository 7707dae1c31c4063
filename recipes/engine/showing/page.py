"""report.html: one file with charts, tables and the JavaScript that draws them."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import jinja2
import vl_convert

from ..cells.records import Config, Made
from . import tables
from .charts import BEST, Figure, specification, title_of
from .colours import colours_of
from .results import Results, coordinates, corpus_of, inits_of
from .settings import settings_of
from .significance import Comparison

TEMPLATE = Path(__file__).with_name("page.html.jinja")


def page(
    title: str,
    results: Results,
    said: list[str],
    figures: list[Figure],
    learned: list[str],
    compared: list[Comparison],
) -> str:
    """A whole HTML document that refers to nothing outside itself.

    Args:
        said: the sentences on top; the first is the finding.
        figures: made for a page.
        learned: names of the cells whose scales can be chosen.
    """
    grid = results.grid
    template = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    ).from_string(TEMPLATE.read_text(encoding="utf-8"))
    charts = {
        f"{figure.stem}-{number}": specification(panel)
        for figure in figures
        for number, panel in enumerate(figure.panels)
    }
    return template.render(
        title=title,
        corpus=corpus_of(grid),
        said=said,
        inits=colours_of(inits_of(grid)),
        settings=settings_of(grid),
        best=BEST,
        others=" and ".join(title_of(axis) for axis in coordinates(grid)[1:]),
        learned=learned,
        figures=figures,
        charts=_json(charts),
        summary=tables.summary(grid, results.groups),
        tables=tables.by_init(grid, results.groups) if coordinates(grid) else [],
        note=tables.note(grid, results.frame),
        tested=tables.differences(compared),
        tested_note=tables.DIFFERENCES_NOTE,
        how=_how(results),
        javascript=_javascript(),
    )


def _javascript() -> str:
    """Vega, Vega-Lite and Vega-Embed, which vl-convert brings along, as `vegaEmbed`."""
    text: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return text.replace("</script", "<\\/script")


def _json(value: Any) -> str:
    """JSON to stand in a script element, which "</" would end."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")


def _how(results: Results) -> str:
    grid = results.grid
    configs = [config for cell in results.cells if (config := cell.read_config())]
    made: list[Config | Made] = [*configs, *(one for config in configs for one in config.earlier)]
    commits = sorted({one.commit for one in made} - {""})
    versions = sorted({f"{name} {text}" for one in made for name, text in one.versions.items()})
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
