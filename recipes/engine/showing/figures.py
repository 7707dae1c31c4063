"""Figures of a grid. Colours are told apart by the colour-blind (cividis, Okabe–Ito)."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no display on a cluster
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..cells.grid import Grid
from .rows import Group, Row, best, coordinates, groups_of, inits_of

# Okabe and Ito's palette, without yellow, which white paper swallows.
COLOURS = ["#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
STYLES = ["-", "--", ":", "-."]
MAP = "cividis"
# Fixed: the same scores give the same bytes, so a committed figure changes only with its data.
plt.rcParams.update(
    {
        "svg.hashsalt": "grid",
        "svg.fonttype": "path",
        "font.size": 9,
        "hatch.linewidth": 0.6,
        "savefig.dpi": 130,
    }
)


def save(figure: Figure, stem: Path) -> None:
    """Write stem.png and stem.svg, each whole or not at all."""
    for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
        temporary = stem.with_suffix(f".{kind}.tmp")
        figure.savefig(temporary, format=kind, metadata=metadata, bbox_inches="tight")
        temporary.rename(stem.with_suffix(f".{kind}"))
    plt.close(figure)


def colour(grid: Grid, init: str) -> str:
    return COLOURS[inits_of(grid).index(init) % len(COLOURS)]


def heat_maps(grid: Grid, rows: list[Row]) -> Figure | None:
    """BLEU over lr × the second coordinate, a panel per init (and a row per further value).

    Diverged cells are hatched, cells without a result are white with their status, and the
    cell with the lowest validation loss of each init is framed. None without two coordinates.
    """
    axes = coordinates(grid)
    if len(axes) < 2:
        return None
    groups = groups_of(grid, rows)
    further = list(dict.fromkeys(group.at[2:] for group in groups.values()))
    inits = inits_of(grid)
    across, down = grid.axes[axes[0]], grid.axes[axes[1]]
    width = max(6.0, 2.1 + 0.62 * len(across) * len(inits))
    height = max(2.4, 1.1 + 0.5 * len(down) * len(further))
    figure, panels = plt.subplots(
        len(further),
        len(inits),
        figsize=(width, height),
        squeeze=False,
        sharey=True,
        layout="constrained",
    )
    top = max([g.bleu for g in groups.values() if not math.isnan(g.bleu)], default=1.0)
    for line, rest in enumerate(further):
        for column, init in enumerate(inits):
            panel = panels[line][column]
            mine = {g.at[:2]: g for g in groups.values() if g.init == init and g.at[2:] == rest}
            table = [[mine[(x, y)].bleu for x in across] for y in down]
            image = panel.imshow(table, cmap=MAP, vmin=0, vmax=top, aspect="auto", origin="lower")
            _mark(panel, mine, across, down, top)
            panel.set_title(" ".join([init, *rest]))
            panel.set_xticks(range(len(across)), across, rotation=45, ha="right")
            panel.set_yticks(range(len(down)), down)
            panel.set_xlabel(axes[0])
        panels[line][0].set_ylabel(axes[1])
    figure.colorbar(image, ax=panels, label=f"BLEU on {grid.subset}")
    return figure


def _mark(
    panel: Axes, mine: dict[tuple[str, ...], Group], across: list[str], down: list[str], top: float
) -> None:
    chosen = best(list(mine.values()))
    for x, lr in enumerate(across):
        for y, other in enumerate(down):
            group = mine[(lr, other)]
            corner = (x - 0.5, y - 0.5)
            if not group.complete:
                panel.text(x, y, group.rows[0].status, ha="center", va="center", fontsize=6)
                continue
            dark = group.bleu < 0.6 * top
            panel.text(
                x,
                y,
                f"{group.bleu:.1f}",
                ha="center",
                va="center",
                fontsize=8,
                color="white" if dark else "black",
            )
            if not group.trains:
                panel.add_patch(
                    Rectangle(
                        corner, 1, 1, fill=False, hatch="////", edgecolor="#bbbbbb", linewidth=0
                    )
                )
            if group is chosen:
                panel.add_patch(
                    Rectangle(
                        (x - 0.46, y - 0.46),
                        0.92,
                        0.92,
                        fill=False,
                        edgecolor="#D55E00",
                        linewidth=2,
                    )
                )


def trainability(grid: Grid, rows: list[Row]) -> Figure | None:
    """The highest lr at which every seed trains, over the second coordinate, a line per init.

    A triangle at the upper edge means that the highest lr of the grid still trains; a cross
    below the axis that none does. None without an lr axis.
    """
    axes = coordinates(grid)
    if "lr" not in axes:
        return None
    groups = groups_of(grid, rows)
    second = axes[1] if len(axes) > 1 else ""
    ticks = grid.axes[second] if second else [""]
    rates = sorted(float(lr) for lr in grid.axes["lr"])
    figure, panel = plt.subplots(figsize=(5, 3.2), layout="constrained")
    inits = inits_of(grid)
    for index, init in enumerate(inits):
        shift = 0.12 * (index - (len(inits) - 1) / 2)  # lines that coincide stay visible
        highest = []
        for tick in ticks:
            good = [
                float(g.at[0])
                for g in groups.values()
                if g.init == init and g.trains and (not second or g.at[1] == tick)
            ]
            highest.append(max(good, default=rates[0] / 2))
        panel.plot(
            [x + shift for x in range(len(ticks))],
            highest,
            label=init,
            color=colour(grid, init),
            marker="os^Dv"[index % 5],
            linestyle=STYLES[index % 4],
        )
    panel.set_yscale("log")
    panel.set_yticks([rates[0] / 2, *rates], ["none", *(f"{rate:g}" for rate in rates)])
    panel.minorticks_off()
    panel.set_xticks(range(len(ticks)), ticks)
    panel.set_xlabel(second)
    panel.set_ylabel("highest trainable lr of the grid")
    panel.legend()
    return figure


def learning_curves(grid: Grid, rows: list[Row]) -> Figure:
    """Validation loss over updates; one panel per init when there are many cells."""
    inits = inits_of(grid)
    count = 1 if _few(grid, rows) else len(inits)
    figure, panels = plt.subplots(
        1, count, figsize=(2.2 + 3 * count, 3.4), squeeze=False, sharey=True, layout="constrained"
    )
    draw_curves(list(panels[0]), grid, rows)
    return figure


def _few(grid: Grid, rows: list[Row]) -> bool:
    return len(rows) <= 2 * len(inits_of(grid))


def draw_curves(panels: list[Axes], grid: Grid, rows: list[Row]) -> None:
    """Curves on one panel (colour is the init) or on one per init (colour is the first axis)."""
    axes, inits, few = coordinates(grid), inits_of(grid), _few(grid, rows)
    highest = max([nll for row in rows for _, nll in _valid(row)[:1]], default=12.0) + 0.5
    for row in rows:
        # A diverged loss leaves the picture at its upper edge and does not squeeze the others.
        drawn = [(update, min(nll, highest)) for update, nll in _valid(row)]
        if not drawn:
            continue
        panel = panels[0 if few else inits.index(row.init)]
        places = [grid.axes[axis].index(row.values[axis]) for axis in axes]
        shade = (
            plt.get_cmap(MAP)(0.9 * places[0] / max(len(grid.axes[axes[0]]) - 1, 1))
            if (places)
            else colour(grid, row.init)
        )
        second = places[1] if len(places) > 1 else 0
        label = row.init if few else f"{axes[0]} {row.values[axes[0]]}"
        panel.plot(
            *zip(*drawn),
            color=colour(grid, row.init) if few else shade,
            linewidth=1.2,
            linestyle=STYLES[second % 4],
            label=label if not second else None,
        )
        if not row.trains:
            panel.plot(*drawn[-1], marker="x", color="black", markersize=7)
    plateau = next((row.score.plateau for row in rows if row.score), None)
    for index, panel in enumerate(panels):
        if plateau is not None:
            panel.axhline(plateau, color="grey", linewidth=0.8, linestyle=":")
            panel.annotate(
                "unigram plateau",
                (1, plateau),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="bottom",
                fontsize=7,
                color="grey",
            )
        panel.set_xlabel("updates")
        panel.legend(fontsize=7)
        panel.set_title("validation loss (× diverged)" if few else inits[index])
    panels[0].set_ylabel("bits per token")


def _valid(row: Row) -> list[tuple[int, float]]:
    """The valid curve without points that are not finite (null in score.json)."""
    points = row.score.curves.valid if row.score else []
    return [(point.update, point.nll) for point in points if point.nll is not None]
