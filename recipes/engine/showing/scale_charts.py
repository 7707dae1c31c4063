"""What GradInit learned in a cell: every matrix's scale by layer, its objective by iteration."""

from __future__ import annotations

import altair as alt
import pandas as pd

from .charts import Figure, Look, chosen, layered, rounded
from .details import SIDES

ENDS_BRANCH = "test(/(out_proj|fc2)$/, datum.matrix)"
COLOURS = ["#999999", "#222222"]  # of the two losses: no init has a grey


def learned(cell: str, scales: pd.DataFrame, iterations: pd.DataFrame, look: Look) -> Figure:
    """Scales over layers, encoder and decoder, and the objective, of the cell first chosen.

    Args:
        cell: the one shown first; the page can choose any other.
        scales, iterations: of all cells, as `details` reads them.
    """
    positive = scales["scale"] > 0
    lost = int((~positive).sum())
    scales = scales[positive]
    if not look.hover:  # nor can another cell be chosen
        scales, iterations = (data[data["cell"] == cell] for data in (scales, iterations))
    panels = [
        _scales(side, mine, cell, look)
        for side in SIDES
        if not (mine := scales[scales["side"] == side]).empty
    ]
    if not iterations.empty:
        panels.append(_objective(iterations, cell, look))
    shown = "Cell first shown" if look.hover else "Cell"
    caption = (
        "Scale 1 leaves a matrix as it was initialised (grey line). Solid: the matrix ends its "
        f"residual branch, which Post-LN wants small. {shown}: {cell}. Of a long search every "
        "k-th iteration is drawn."
        + (f" {lost} scales of 0 have no place on a logarithmic axis." if lost else "")
    )
    return Figure("scales", "What GradInit learned", caption, panels, 3, shared=False)


def _scales(side: str, data: pd.DataFrame, cell: str, look: Look) -> alt.LayerChart:
    data = rounded(data[["cell", "layer", "matrix", "scale"]])
    base = chosen(alt.Chart(data), cell=cell).encode(
        x=alt.X("layer:O", title=f"{side} layer", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("scale:Q", title="scale (1 = unchanged)", axis=alt.Axis(format="~g", tickCount=5),
                scale=alt.Scale(type="log", nice=False, padding=12)),
        color=alt.Color("matrix:N", scale=alt.Scale(scheme="tableau10"),
                        legend=alt.Legend(orient="bottom", columns=3, title=None)),
        tooltip=["matrix:N", "layer:O", alt.Tooltip("scale:Q", format=".4g")],
    )  # fmt: skip
    rule = alt.Chart(pd.DataFrame({"one": [1.0]}))
    layers = [
        rule.mark_rule(color="#999999").encode(y="one:Q"),
        base.transform_filter(ENDS_BRANCH).mark_line(strokeWidth=2.5),
        base.transform_filter(f"!{ENDS_BRANCH}").mark_line(strokeWidth=1.2, strokeDash=[3, 3]),
        base.mark_point(filled=True, size=45, opacity=1),
    ]
    return layered(layers, look, 230, f"learned scales, {side}")


def _objective(data: pd.DataFrame, cell: str, look: Look) -> alt.LayerChart:
    names = sorted(data["what"].unique())
    line = chosen(alt.Chart(rounded(data)), cell=cell).encode(
        x=alt.X("iteration:Q", title="GradInit iteration"),
        y=alt.Y("nats:Q", title="loss (nats per token)", scale=alt.Scale(zero=False)),
        color=alt.Color("what:N", scale=alt.Scale(domain=names, range=COLOURS),
                        legend=alt.Legend(orient="bottom", title=None)),
        tooltip=["what:N", "iteration:Q", alt.Tooltip("nats:Q", format=".3f")],
    )  # fmt: skip
    layers = [line.mark_line(strokeWidth=1.8)]
    if look.hover:
        layers.append(line.mark_point(size=60, opacity=0, filled=True))
    return layered(layers, look, 230, "GradInit's objective")
