"""Validation loss over updates."""

from __future__ import annotations

import math

import altair as alt
import pandas as pd

from ..cells.grid import Grid
from ..cells.records import Status
from .charts import NLL, Figure, Look, colour, layered, rounded, title_of
from .results import coordinates, inits_of
from .settings import ceiling, picked, settings_of, with_settings

RUN = ["run", "init", "where", "setting", "best", "status"]  # of a run, whatever the update


def curves(
    grid: Grid, groups: pd.DataFrame, points: pd.DataFrame, plateau: float, look: Look
) -> Figure | None:
    """Validation loss over updates: a panel a learning rate, a line a run; None without any.

    Args:
        points: as `details.curves_of` reads them.
        plateau: the unigram plateau, bits per token; NaN where it is not known.
    """
    if points.empty:
        return None
    axes = coordinates(grid)
    of_cell = with_settings(grid, groups).explode("cells")
    of_cell = of_cell[["cells", "setting", "best", "where", "x"]].rename(columns={"cells": "cell"})
    points = points.merge(of_cell, on="cell")
    points["run"] = points["cell"].factorize()[0]
    top = ceiling(points.loc[points["status"] != Status.DIVERGED, "nll"], plateau)
    lost = points[points["nll"].isna()]["run"].nunique()
    points = points[points["nll"].notna()]
    above = points[points["nll"] > top]["run"].nunique()
    if points.empty:
        return None
    panels = [
        _panel(
            grid, mine, plateau, (float(points["nll"].min()), top), look,
            f"{title_of(axes[0])} {value}" if axes else "",
        )
        for value, mine in points.groupby("x", sort=False)
    ]  # fmt: skip
    others = "Of the other axes, what " + ("is chosen above." if look.hover else "is best.")
    caption = (
        "A line a run; dotted: the unigram plateau, which a model reaches that knows how frequent "
        "words are and nothing else. "
        + (f"Of {above} diverged runs, what lies above {top:.1f} bits is drawn at the edge (▲). "
           if above else "")
        + (f"{lost} runs have validations whose loss was not finite: their lines lack these "
           "points. " if lost else "")
        + (others if settings_of(grid) else "")
    )  # fmt: skip
    return Figure("curves", "Validation loss over updates", caption.strip(), panels, 3)


def _panel(
    grid: Grid, points: pd.DataFrame, plateau: float, domain: tuple[float, float], look: Look,
    title: str,
) -> alt.LayerChart:  # fmt: skip
    # Updates by run here, all else of a run once: a page of a hundred runs stays small.
    of_run = [*RUN, *(["seed"] if "seed" in points else [])]
    runs = alt.LookupData(points[of_run].drop_duplicates("run"), "run", of_run[1:])
    points = points.assign(y=points["nll"].clip(upper=domain[1]), off=points["nll"] > domain[1])
    # One sign a run says that it left the picture.
    points["off"] &= points.groupby("run")["off"].cumsum() <= 1
    base = alt.Chart(rounded(points[["run", "update", "nll", "y", "off"]]))
    base = picked(grid, base.transform_lookup("run", runs)).encode(
        x=alt.X("update:Q", title="updates", axis=alt.Axis(tickCount=5, format="~s")),
        y=alt.Y("y:Q", title=NLL, scale=alt.Scale(domain=list(domain), nice=False, zero=False)),
        color=colour(inits_of(grid), look),
        detail="run:N",
    )
    sign = base.mark_point(shape="triangle-up", size=45, filled=True, opacity=1)
    layers = [base.mark_line(strokeWidth=1.6, opacity=0.8), sign.transform_filter("datum.off")]
    if look.hover:
        tooltip = [
            "init:N", alt.Tooltip("where:N", title="at"),
            *(["seed:N"] if "seed" in of_run else []), "update:Q",
            alt.Tooltip("nll:Q", title=NLL, format=".3f"), "status:N",
        ]  # fmt: skip
        layers.append(base.mark_point(size=80, opacity=0, filled=True).encode(tooltip=tooltip))
    if not math.isnan(plateau):
        rule = alt.Chart(pd.DataFrame({"y": [plateau]}))
        layers.append(rule.mark_rule(strokeDash=[2, 3], color="#777777").encode(y="y:Q"))
    return layered(layers, look, 220, title)
