"""One picture of a small grid, for the quickstart: loss curves beside the learned scales."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from .figures import draw_curves
from .grid import Grid
from .rows import Row
from .scales import draw_scales, has_scales


def overview_figure(grid: Grid, rows: list[Row]) -> Figure:
    """Loss curves of all cells; with a GradInit cell, its scales by layer as well."""
    learned = [row.cell for row in rows if has_scales(row.cell)]
    figure, panels = plt.subplots(
        1, 3 if learned else 1, figsize=(12 if learned else 5, 3.8), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    draw_curves([panels[0][0]], grid, rows)
    if learned:
        draw_scales(list(panels[0][1:]), learned[0])
        panels[0][1].sharey(panels[0][2])
    return figure
