"""Figures of what GradInit learned: every matrix's scale by layer, the objective by iteration.

This is all the engine knows of the package: SAVE_DIR/gradinit/ with scales.json (blocks with name,
shape, scale) and iterations.jsonl (loss and lookahead_loss of every iteration).
"""

from __future__ import annotations

import re

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from ..cells.cell import Cell
from ..cells.records import Block
from .figures import COLOURS

NAME = re.compile(r"^(encoder|decoder)\.layers\.(\d+)\.(.+)\.weight$")
MARKERS = "osD^vP*Xhd<>"


def by_layer(blocks: list[Block]) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Scales of the layers' matrices: {"encoder": {"fc1": [(layer, scale), …]}, "decoder": …}."""
    found: dict[str, dict[str, list[tuple[int, float]]]] = {"encoder": {}, "decoder": {}}
    for block in blocks:
        match = NAME.match(block.name)
        if match and len(block.shape) > 1:
            side, layer, name = match.groups()
            found[side].setdefault(name, []).append((int(layer), block.scale))
    return {side: {name: sorted(by[name]) for name in sorted(by)} for side, by in found.items()}


def draw_scales(panels: list[Axes], cell: Cell) -> None:
    """Scales over layers on two panels, encoder and decoder; a line per kind of matrix."""
    layers = by_layer(cell.read_scales().blocks)
    names = sorted({name for side in layers.values() for name in side})
    for panel, (side, lines) in zip(panels, layers.items()):
        for name, points in lines.items():
            index = names.index(name)
            # A matrix that ends its branch is what Post-LN wants small: drawn stronger.
            ends = name.endswith(("out_proj", "fc2"))
            panel.plot(
                *zip(*points),
                label=name,
                color=COLOURS[index % len(COLOURS)],
                marker=MARKERS[index % len(MARKERS)],
                markersize=4,
                linestyle="-" if ends else ":",
                linewidth=1.8 if ends else 1.0,
            )
        panel.axhline(1.0, color="grey", linewidth=0.8)
        panel.set_yscale("log")
        panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_formatter(NullFormatter())
        panel.set_title(f"learned scales, {side}")
        panel.set_xlabel("layer")
        panel.set_xticks(sorted({at for points in lines.values() for at, _ in points}))
        panel.legend(fontsize=6, ncol=3, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    panels[0].set_ylabel("scale (1 = unchanged)")


def draw_iterations(panel: Axes, cell: Cell) -> None:
    """Loss before and after the look-ahead, over GradInit's iterations."""
    records = cell.read_iterations()
    for key, label, colour in (
        ("loss", "loss at the scaled init", COLOURS[4]),
        ("lookahead_loss", "loss after the look-ahead", COLOURS[1]),
    ):
        points = [
            (n, getattr(r, key)) for n, r in enumerate(records) if getattr(r, key) is not None
        ]
        if points:
            panel.plot(*zip(*points), label=label, color=colour, linewidth=1.2)
    panel.set_title("GradInit's objective")
    panel.set_xlabel("iteration")
    panel.set_ylabel("nats per token")
    panel.legend(fontsize=7)


def has_scales(cell: Cell) -> bool:
    return (cell.gradinit / "scales.json").exists()


def scales_figure(cell: Cell) -> Figure:
    """Scales by layer and the objective by iteration of one GradInit cell."""
    figure, panels = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    draw_scales(list(panels[:2]), cell)
    panels[0].sharey(panels[1])
    if (cell.gradinit / "iterations.jsonl").exists():
        draw_iterations(panels[2], cell)
    return figure
