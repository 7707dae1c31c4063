"""Charts of grids with two axes or more: heat maps of BLEU, and the highest lr that trains."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import altair as alt
import pandas as pd

from ..cells.grid import Grid
from .charts import SIGNS, Figure, Look, colour, layered, title_of
from .results import at, best_of, coordinates, highest_rate, inits_of
from .settings import counted

SCHEME: Any = "cividis"  # the same to the colour-blind
NONE = "none"  # where no rate trains


def heat_maps(grid: Grid, groups: pd.DataFrame, look: Look) -> Figure | None:
    """BLEU over the first two coordinates, a panel an init and further values.

    All panels share one colour scale. The setting with the lowest validation loss of each init is
    framed, what did not train bears a sign. None without two coordinates of several values.
    """
    axes = coordinates(grid)
    if len(axes) < 2 or len(grid.axes[axes[1]]) < 2:
        return None
    data = groups.copy()
    chosen = {tuple(one["cells"]) for one in best_of(groups).values()}
    data["best"] = [tuple(cells) in chosen for cells in data["cells"]]
    data["where"] = [at(one, axes) for _, one in data.iterrows()]
    data["runs"] = data["states"].map(counted)
    data["text"] = [_text(one) for _, one in data.iterrows()]
    data["further"] = [at(one, axes[2:]) for _, one in data.iterrows()]
    data = data.rename(columns={axes[0]: "x", axes[1]: "y"})
    top = data["bleu"].max()
    panels = [
        _heat_map(grid, mine, 1.0 if math.isnan(top) or top == 0 else top, look,
                  f"{init}{', ' if further else ''}{further}")
        for (further, init), mine in data.groupby(["further", "init"], sort=False)
    ]  # fmt: skip
    signs = sorted({state for states in groups["states"] for state in states if SIGNS.get(state)})
    words = ", ".join(f"{SIGNS[s]} {s}" for s in signs if SIGNS[s] != s)
    caption = "Mean over seeds. Framed: lowest validation loss of the init. " + (
        f"{words} (of some seeds, or all)." if words else ""
    )
    title = f"BLEU on {grid.subset} by {title_of(axes[0])} and {title_of(axes[1])}"
    return Figure("heatmap", title, caption.strip(), panels, len(inits_of(grid)))


def _text(setting: pd.Series) -> str:
    signs = dict.fromkeys(SIGNS.get(state, state) for state in setting["states"])
    number = "" if math.isnan(setting["bleu"]) else f"{setting['bleu']:.1f}"
    return " ".join([*([number] if number else []), *(sign for sign in signs if sign)])


def _heat_map(grid: Grid, data: pd.DataFrame, top: float, look: Look, title: str) -> alt.LayerChart:
    axes = coordinates(grid)
    columns = ["x", "y", "bleu", "bleu_spread", "valid_nll", "where", "runs", "text", "best"]
    across, down = grid.axes[axes[0]], grid.axes[axes[1]]
    base = alt.Chart(data[["init", *columns]]).encode(
        x=alt.X("x:N", sort=across, title=title_of(axes[0]), axis=alt.Axis(labelAngle=0)),
        y=alt.Y("y:N", sort=down[::-1], title=title_of(axes[1])),
        tooltip=[
            "init:N", alt.Tooltip("where:N", title="at"),
            alt.Tooltip("bleu:Q", title="BLEU", format=".2f"),
            alt.Tooltip("bleu_spread:Q", title="± over seeds", format=".2f"),
            alt.Tooltip("valid_nll:Q", title="validation loss (bits)", format=".3f"), "runs:N",
        ],
    )  # fmt: skip
    legend = alt.Legend(title="BLEU", orient="right") if look.legend else None
    fill = alt.Color(
        "bleu:Q", scale=alt.Scale(scheme=SCHEME, domain=[0, top]), legend=legend, title="BLEU"
    )
    dark = f"isValid(datum.bleu) && datum.bleu < {0.55 * top}"
    known = base.transform_filter("isValid(datum.bleu)")
    frame = base.transform_filter("datum.best")
    layers = [
        base.mark_rect(fill="white", stroke="#dddddd"),
        known.mark_rect(stroke="white", strokeWidth=1).encode(color=fill),
        frame.mark_rect(filled=False, stroke="black", strokeWidth=3, strokeOpacity=1),
        base.mark_text(fontSize=11).encode(
            text="text:N",
            color=alt.condition(dark, alt.value("white"), alt.value("black")),
        ),
    ]
    if look.width != "container":
        look = replace(look, width=max(120, 52 * len(across)))
    return layered(layers, look, 34 * len(down), title)


def trainability(grid: Grid, groups: pd.DataFrame, look: Look) -> Figure | None:
    """The highest lr at which every seed trains, over the second coordinate, a line an init.

    None without several lrs and a second coordinate of several values.
    """
    axes = coordinates(grid)
    if axes[:1] != ["lr"] or len(axes) < 2 or min(len(grid.axes[axis]) for axis in axes[:2]) < 2:
        return None
    second, inits = axes[1], inits_of(grid)
    rates = sorted(grid.axes["lr"], key=float)
    lines = []
    for (init, value), mine in groups.groupby(["init", second], sort=False):
        lines.append({"init": init, "x": value, "y": highest_rate(mine) or NONE})
    data = pd.DataFrame(lines)
    base = alt.Chart(data).encode(
        x=alt.X("x:N", sort=grid.axes[second], title=title_of(second), axis=alt.Axis(labelAngle=0)),
        xOffset=alt.XOffset("init:N", sort=inits),
        y=alt.Y("y:N", sort=[*rates[::-1], NONE], title="highest learning rate that trains"),
        color=colour(inits, look),
        tooltip=["init:N", alt.Tooltip("x:N", title=second), alt.Tooltip("y:N", title="up to lr")],
    )
    layers = [base.mark_line(strokeWidth=1.5, opacity=0.5), base.mark_point(filled=True, size=90)]
    panel = layered(layers, look, 40 * (len(rates) + 1))
    caption = (
        f"Every seed trains, at any of the further axes. The grid ends at {rates[-1]}: a point "
        "there says that at least this rate trains."
    )
    return Figure("trainability", "How high a learning rate trains", caption, [panel], 1)
