"""Heat maps, layer × update, and curves of what the probes have recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from .record import Number, Record

LAYERED = {
    "gradient_norm": ("gradient norm ‖g‖₂ by weight matrix", "log"),
    "update_ratio": ("update over weight ‖Δθ‖₂/‖θ‖₂ by weight matrix", "log"),
    "token_spread": ("token spread by layer (1: all differ, 0: all alike)", "log"),
    "attention_entropy": ("attention entropy by attention (1: uniform, 0: one key)", "linear"),
}
CURVES = {
    "gradient flow": ("egf_1", "egf_2", "gradient_norm_1", "gradient_norm_2"),
    "sharpness": ("gradient_sharpness", "top_eigenvalue", "preconditioned_eigenvalue"),
}
COLUMNS = 150  # more updates than that are thinned out: a page of a long run stays small
WIDTH, ROW = 460, 11
LEAST = 1e-12  # a logarithmic colour cannot show 0


def page(records: Sequence[Record], title: str) -> alt.VConcatChart:
    """All charts of a run below each other.

    Args:
        records: at least one, in the order of updates.
        title: of the page.
    """
    shown = _thinned(records)
    maps = [heat_map(shown, name) for name in LAYERED if any(getattr(r, name) for r in shown)]
    curves = [chart for names in CURVES for chart in curve(shown, names)]
    rows = [alt.hconcat(*curves), *(alt.hconcat(*maps[i : i + 2]) for i in range(0, len(maps), 2))]
    page = alt.vconcat(*(row.resolve_scale(color="independent") for row in rows), title=title)
    return page.resolve_scale(color="independent")


def heat_map(records: Sequence[Record], quantity: str) -> alt.Chart:
    """One of `LAYERED`: a row for each layer in the model's order, a column for each update."""
    title, scale = LAYERED[quantity]
    names = list(dict.fromkeys(name for r in records for name in getattr(r, quantity)))
    rows = [
        {"layer": name, "update": r.update, "value": _shown(value, scale)}
        for r in records
        for name, value in getattr(r, quantity).items()
    ]
    colour = alt.Scale(scheme="viridis", type="log" if scale == "log" else "linear")
    return (
        alt.Chart(alt.Data(values=rows), title=title, width=WIDTH, height=ROW * len(names))
        .mark_rect()
        .encode(
            x=alt.X("update:O", axis=alt.Axis(labelOverlap=True, ticks=False)),
            y=alt.Y("layer:N", sort=names, title=None, axis=alt.Axis(labelLimit=300)),
            color=alt.Color("value:Q", scale=colour, title=None),
            tooltip=["layer:N", "update:O", alt.Tooltip("value:Q", format=".3g")],
        )
    )


def curve(records: Sequence[Record], title: str) -> list[alt.Chart]:
    """One of `CURVES` over updates; none where nothing of it was recorded."""
    rows = [
        {"number": name, "update": r.update, "value": getattr(r, name)}
        for r in records
        for name in CURVES[title]
        if getattr(r, name) is not None
    ]
    if not rows:
        return []
    positive = all(row["value"] > 0 for row in rows)
    scale = alt.Scale(type="log" if positive else "symlog")
    chart = (
        alt.Chart(alt.Data(values=rows), title=title, width=WIDTH, height=160)
        .mark_line(point=len(records) < 30)
        .encode(
            x=alt.X("update:Q"),
            y=alt.Y("value:Q", scale=scale, title=None),
            color=alt.Color("number:N", title=None),
            tooltip=["number:N", "update:Q", alt.Tooltip("value:Q", format=".3g")],
        )
    )
    return [chart]


def _thinned(records: Sequence[Record]) -> list[Record]:
    step = -(-len(records) // COLUMNS)
    return list(records[::step])


def _shown(value: Number, scale: str) -> Any:
    return max(value, LEAST) if value is not None and scale == "log" else value
