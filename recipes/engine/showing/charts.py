"""What all charts share: where they are shown, their axes, marks and the choices that filter them.

A chart is made for a page, whose column it fills and whose controls set its choices, or for a file,
where the choices stand at their first values and the legend is in the picture.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
import vl_convert

from fairseq_gradinit.files import replacing, write_text

from ..cells.records import Status
from .colours import colours_of

BEST = "best"  # of a choice: what has the lowest validation loss
TITLES = {
    "lr": "learning rate",
    "beta1": "Adam's β1",
    "beta2": "Adam's β2",
    "momentum": "SGD's momentum",
    "warmup": "warmup (updates)",
    "depth": "layers a side",
}
NLL = "validation loss (bits per token)"
TRAINS = "trains"
# The worst first: a setting of several seeds has the mark of the worst of them.
SHAPES: dict[str, str] = {
    Status.DIVERGED: "cross",
    Status.BLIND: "square",
    Status.UNDERTRAINED: "triangle-up",
    TRAINS: "circle",
}
SIGNS: dict[Status, str] = {
    Status.DIVERGED: "×",
    Status.BLIND: "∅",
    Status.UNDERTRAINED: "△",
    Status.FAILED: "failed",
    Status.RUNNING: "running",
    Status.MISSING: "–",
    Status.DONE: "",
}

LOOKS = {
    "font": "system-ui, Helvetica, Arial, sans-serif",
    "background": "white",
    "axis": {
        "labelFontSize": 11, "titleFontSize": 12, "titleFontWeight": "normal",
        "gridColor": "#eeeeee", "domainColor": "#888888", "tickColor": "#888888",
        "labelColor": "#333333", "titleColor": "#333333",
    },
    "view": {"stroke": "#d9d9d9"},
    "title": {"fontSize": 13, "anchor": "start", "fontWeight": "bold", "color": "#222222"},
    "legend": {"labelFontSize": 12, "labelLimit": 400, "symbolStrokeWidth": 3},
}  # fmt: skip


@dataclass(frozen=True)
class Look:
    """Where a chart is shown.

    Attributes:
        width: of a panel, in pixels, or Vega-Lite's "container".
        legend: whether the picture itself says which colour is which init.
        hover: whether there is a mouse.
    """

    width: Any
    legend: bool
    hover: bool


PAGE, FILE = Look("container", False, True), Look(330, True, False)


@dataclass(frozen=True)
class Figure:
    """Panels that belong together.

    Attributes:
        stem: file name without suffix, and the figure's name in the page.
        title, caption: what it shows; the caption says also what is not in the picture.
        panels: the charts, in reading order.
        columns: panels side by side in a file.
        shared: whether a colour means the same in all panels, and one legend does.
    """

    stem: str
    title: str
    caption: str
    panels: list[alt.LayerChart]
    columns: int
    shared: bool = True


def title_of(axis: str) -> str:
    """The axis for a reader, with its unit."""
    return TITLES.get(axis, axis)


def colour(inits: list[str], look: Look) -> alt.Color:
    """The inits' colours, the same in every chart."""
    found = colours_of(inits)
    named = alt.Legend(orient="top", title=None, symbolType="stroke", symbolOpacity=1)
    scale = alt.Scale(domain=list(found), range=list(found.values()))
    return alt.Color("init:N", scale=scale, legend=named if look.legend else None)


def shape(marks: Iterable[str]) -> alt.Shape:
    """A point's shape by what became of the runs; a legend only where there is something to say."""
    present = set(marks)
    domain = [mark for mark in SHAPES if mark in present]
    legend = alt.Legend(orient="bottom", title=None) if present - {TRAINS} else None
    scale = alt.Scale(domain=domain, range=[SHAPES[mark] for mark in domain])
    return alt.Shape("mark:N", scale=scale, legend=legend)


def mark_of(states: list[Status]) -> str:
    """What became of the worst of the seeds' runs."""
    return next((mark for mark in SHAPES if mark in states), TRAINS)


def chosen(chart: alt.Chart, **choices: Any) -> alt.Chart:
    """The chart with only those of its lines that are chosen; layers are made of it afterwards.

    Args:
        choices: by field, the value first chosen, or a list of those shown; the page's controls
            set the parameter `pick_FIELD`. The choice BEST is of the lines whose field `best` is
            true, whatever FIELD is.
    """
    for field, value in choices.items():
        name = f"pick_{field}"
        test = f"datum.{field} === {name}"
        if isinstance(value, list):
            test = f"indexof({name}, datum.{field}) >= 0"
        elif value == BEST:
            test = f"{name} === '{BEST}' ? datum.best : {test}"
        chart = chart.add_params(alt.param(name=name, value=value)).transform_filter(test)
    return chart


def layered(layers: list[Any], look: Look, height: int, title: str = "") -> alt.LayerChart:
    """The layers as one panel, `height` pixels high."""
    return alt.LayerChart(layer=layers, width=look.width, height=height, title=title)


def rounded(data: pd.DataFrame) -> pd.DataFrame:
    """The data as a chart carries them: more digits than a hover shows only make a page larger."""
    numbers = data.select_dtypes("float").columns
    return data.assign(**{name: data[name].round(4) for name in numbers})


def dressed(chart: Any) -> dict[str, Any]:
    """The Vega-Lite specification of a chart, with the type and the lines that all have."""
    # Altair's own check of what these modules write takes most of a report's time.
    found: dict[str, Any] = chart.to_dict(validate=False)
    return {**found, "config": LOOKS}


def specification(panel: alt.LayerChart) -> dict[str, Any]:
    """The Vega-Lite specification of one panel, for a page."""
    return {**dressed(panel), "autosize": {"type": "fit-x", "contains": "padding"}}


def save(figure: Figure, corpus: str, folder: Path) -> None:
    """Writes STEM.svg and STEM.png into `folder`, each whole or not at all.

    corpus: its name, which stands in the title, "" where it has none.

    Raises:
        FileError: a file cannot be written.
    """
    across = min(figure.columns, len(figure.panels))
    heading = " – ".join(part for part in (figure.title, corpus) if part)
    title = alt.Title(
        textwrap.wrap(heading, 42 * across),
        subtitle=textwrap.wrap(figure.caption, 62 * across),
        subtitleColor="#5c5f66",
        offset=14,
        fontSize=15,
    )
    whole = alt.concat(*figure.panels, columns=figure.columns, title=title)
    meaning: Any = "shared" if figure.shared else "independent"
    whole = whole.resolve_scale(color=meaning, shape=meaning)
    specification = dressed(whole)
    drawn: str = vl_convert.vegalite_to_svg(specification)
    # Vega counts the gradients of a process; the same chart is to be the same file.
    names = list(dict.fromkeys(re.findall(r'id="(gradient_\d+)"', drawn)))
    for number, name in enumerate(names):
        drawn = re.sub(rf"\b{name}\b", f"colours_{number}", drawn)
    write_text(folder / f"{figure.stem}.svg", drawn)
    with replacing(folder / f"{figure.stem}.png", "wb") as file:
        file.write(vl_convert.vegalite_to_png(specification, scale=2))
