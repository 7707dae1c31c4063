"""What a cell went through, as data frames: its curves, and what GradInit learned in it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

import pandas as pd

from ..cells.cell import Cell
from .results import ALL

MATRIX = re.compile(r"^(encoder|decoder)\.layers\.(\d+)\.(.+)\.weight$")
SIDES = ("encoder", "decoder")


def curves_of(cells: Iterable[Cell]) -> pd.DataFrame:
    """Validation losses of all cells with a result, a line a validation.

    Returns:
        init and the other axes, cell, status, update, nll (bits per token, NaN when not finite).
    """
    lines = []
    for cell in cells:
        score = cell.read_score()
        if score is None:
            continue
        named = {"init": ALL, **cell.values, "cell": cell.name, "status": score.status}
        for point in score.curves.valid:
            nll = math.nan if point.nll is None else point.nll
            lines.append({**named, "update": point.update, "nll": nll})
    return pd.DataFrame(lines)


def scales_of(cells: Iterable[Cell]) -> pd.DataFrame:
    """Learned scales of the layers' matrices of all cells that have a scales.json.

    Returns:
        cell, side (encoder or decoder), layer, matrix (such as fc1), scale (1 = unchanged), a line
        a matrix.
    """
    lines = []
    for cell in cells:
        scales = cell.read_scales()
        for block in scales.blocks if scales else []:
            match = MATRIX.match(block.name)
            if match and len(block.shape) > 1:
                side, layer, matrix = match.groups()
                lines.append((cell.name, side, int(layer), matrix, block.scale))
    return pd.DataFrame(lines, columns=["cell", "side", "layer", "matrix", "scale"])


def iterations_of(cells: Iterable[Cell], most: int = 100) -> pd.DataFrame:
    """GradInit's objective in all cells that have iterations.jsonl.

    Args:
        most: of longer searches every k-th iteration is kept, for at most so many, and the last.

    Returns:
        cell, iteration, what (which loss), nats (per token), a line a loss that is finite.
    """
    lines = []
    for cell in cells:
        records = cell.read_iterations()
        step = max(1, math.ceil(len(records) / most))
        for number, record in enumerate(records):
            if number % step and number != len(records) - 1:
                continue
            losses = {"at the scaled init": record.loss, "one step on": record.lookahead_loss}
            for what, nats in losses.items():
                if nats is not None:
                    lines.append((cell.name, number, what, nats))
    return pd.DataFrame(lines, columns=["cell", "iteration", "what", "nats"])
