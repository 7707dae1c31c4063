"""BLEU and validation loss over the learning rate."""

from __future__ import annotations

import altair as alt
import pandas as pd

from ..cells.grid import Grid
from .charts import NLL, Figure, Look, colour, layered, rounded, shape, title_of
from .results import coordinates, inits_of
from .settings import ceiling, picked, settings_of, with_settings

FIELDS = [
    "init", "x", "y", "low", "high", "above", "setting", "best", "where", "mark", "runs", "bleu",
    "bleu_spread", "valid_nll",
]  # fmt: skip


def over_rate(grid: Grid, groups: pd.DataFrame, plateau: float, look: Look) -> Figure:
    """BLEU and validation loss over the first coordinate: a line an init, a band over its seeds."""
    data = with_settings(grid, groups)
    top = ceiling(data.loc[data["trains"], "valid_nll"], plateau)
    panels = []
    for field, title in (("bleu", f"BLEU on {grid.subset}"), ("valid_nll", NLL)):
        shown = data[data[field].notna()].copy()
        shown["y"] = shown[field] if field == "bleu" else shown[field].clip(upper=top)
        shown["low"] = shown["y"] - shown[f"{field}_spread"]
        shown["high"] = shown["y"] + shown[f"{field}_spread"]
        # A band ends where its axis does; a mean beyond the edge has none.
        shown["low"] = shown["low"].clip(lower=0).where(shown["y"] == shown[field])
        shown["above"] = [f"▲ {v:.1f}" if v > y else "" for v, y in zip(shown[field], shown["y"])]
        panels.append(_panel(grid, shown, field, title, look))
    gone = int(groups["valid_nll"].isna().sum() - (~groups["complete"]).sum())
    axes = coordinates(grid)
    others = " and ".join(title_of(axis) for axis in axes[1:])
    another = "; choose another above" if look.hover else ""
    caption = (
        "Mean over seeds; bands and bars: ± the sample standard deviation over them. "
        + (f"Each point has the {others} of the lowest validation loss{another}. "
           if settings_of(grid) else "")
        + (f"Losses above {top:.1f} bits, of diverged runs, are drawn at the edge (▲ value). "
           if (data["valid_nll"] > top).any() else "")
        + (f"{gone} settings have no finite loss and no point in the second panel. " if gone > 0
           else "")
    )  # fmt: skip
    name = title_of(axes[0]) if axes else "init"
    return Figure("bleu", f"BLEU and validation loss by {name}", caption.strip(), panels, 2)


def _panel(grid: Grid, data: pd.DataFrame, field: str, title: str, look: Look) -> alt.LayerChart:
    axes, inits = coordinates(grid), inits_of(grid)
    values = grid.axes[axes[0]] if axes else []
    rates = [float(value) for value in values] if axes and axes[0] == "lr" else []
    if len(rates) > 1 and min(rates) > 0:
        data = data.assign(x=data["x"].astype(float))
        scale = alt.Scale(type="log", domain=[min(rates) / 1.15, max(rates) * 1.15], nice=False)
        ticks = alt.Axis(values=rates, format="~g" if max(rates) >= 0.05 else "~e", labelAngle=0)
        x = alt.X("x:Q", scale=scale, axis=ticks, title=title_of("lr"))
    elif len(values) > 1:
        x = alt.X("x:N", sort=values, axis=alt.Axis(labelAngle=0), title=title_of(axes[0]))
    else:
        x = alt.X("init:N", sort=inits, axis=alt.Axis(labelAngle=0), title=None)
    y = alt.Y("y:Q", title=title, scale=alt.Scale(zero=field == "bleu", nice=True))
    base = picked(grid, alt.Chart(rounded(data[FIELDS])))
    base = base.encode(x=x, color=colour(inits, look))
    tooltip = [
        alt.Tooltip("init:N"), alt.Tooltip("where:N", title="at"),
        alt.Tooltip("bleu:Q", title="BLEU", format=".2f"),
        alt.Tooltip("bleu_spread:Q", title="± over seeds", format=".2f"),
        alt.Tooltip("valid_nll:Q", title="validation loss (bits)", format=".3f"),
        alt.Tooltip("runs:N"),
    ]  # fmt: skip
    band = base.mark_area(opacity=0.15) if len(values) > 1 else base.mark_rule(strokeWidth=2)
    layers = [
        band.encode(alt.Y("low:Q", title=title), alt.Y2("high:Q")).transform_filter(
            "isValid(datum.low)"
        ),
        base.mark_point(filled=True, size=70, opacity=1).encode(
            y=y, shape=shape(data["mark"]), tooltip=tooltip
        ),
        base.mark_text(dy=-10, fontSize=10).encode(y=y, text="above:N"),
    ]
    if len(values) > 1:
        layers.insert(1, base.mark_line(strokeWidth=2).encode(y=y))
    return layered(layers, look, 260)
