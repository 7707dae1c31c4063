"""Loss, source worth and token spread over the learning rate, with the rates that matter marked."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import altair as alt

from .files import replacing
from .lr_range_record import LrRange

PANELS = {
    "last_loss": "loss, nats per token",
    "source_worth": "source worth, nats per token",
    "token_spread": "token spread of the encoder",
}
COLOURS = ["#1b7837", "#5aae61", "#a6dba0", "#b2182b", "#2166ac"]


def draw(found: LrRange, folder: Path) -> None:
    """Writes lr_range.svg and lr_range.png. Raises: FileError: they cannot be written."""
    chart = chart_of(found)
    with replacing(folder / "lr_range.svg") as file:
        chart.save(file, format="svg")
    with replacing(folder / "lr_range.png", "wb") as file:
        chart.save(file, format="png", scale_factor=2)


def chart_of(found: LrRange) -> alt.VConcatChart:
    """One panel a quantity that was measured, one over the other."""
    panels = [
        _panel(found, name, title)
        for name, title in PANELS.items()
        if any(_finite(getattr(rate, name)) for rate in found.rates)
    ]
    title = f"after {found.updates} updates at a constant learning rate, undone"
    return alt.vconcat(*panels, title=title).configure_axis(grid=False)


def _panel(found: LrRange, name: str, title: str) -> Any:
    points = [
        {"learning rate": rate.learning_rate, "value": getattr(rate, name), "trains": rate.trains}
        for rate in found.rates
        if _finite(getattr(rate, name))
    ]
    marks = [{"learning rate": eta, "mark": mark} for mark, eta in found.marks().items()]
    etas = [rate.learning_rate for rate in found.rates] + list(found.marks().values())
    domain = [min(etas), max(etas)]
    x = alt.X("learning rate:Q", scale=alt.Scale(type="log", domain=domain), axis=_axis())
    logarithmic = name == "token_spread" and all(point["value"] > 0 for point in points)
    scale = alt.Scale(type="log") if logarithmic else alt.Scale(zero=False)
    y = alt.Y("value:Q", title=title, scale=scale)
    lines = alt.Chart(alt.Data(values=points)).mark_line(color="black").encode(x=x, y=y)
    dots = lines.mark_point(filled=True, size=45, color="black").encode(
        shape=alt.Shape("trains:N", title="trains", scale=alt.Scale(domain=[True, False]))
    )
    colour = alt.Color(
        "mark:N", title=None, scale=alt.Scale(domain=list(found.marks()), range=COLOURS)
    )
    rules = (
        alt.Chart(alt.Data(values=marks))
        .mark_rule(strokeDash=[5, 3], strokeWidth=1.5)
        .encode(x="learning rate:Q", color=colour)
    )
    return alt.layer(rules, lines, dots).properties(width=480, height=150)


def _axis() -> alt.Axis:
    return alt.Axis(format=".0e", tickCount=6)


def _finite(value: Any) -> bool:
    return value is not None and math.isfinite(value)
