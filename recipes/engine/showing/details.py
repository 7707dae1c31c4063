"""What a cell went through, as data frames: its curves, and what GradInit learned in it."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pandas as pd

from ..cells.cell import RESULTS, Cell
from ..cells.files import read_json, read_lines
from ..cells.grid import Grid

MATRIX = re.compile(r"^(encoder|decoder)\.layers\.(\d+)\.(.+)\.weight$")
SIDES = ("encoder", "decoder")


def curves_of(grid: Grid, folder: Path, cells: pd.DataFrame) -> pd.DataFrame:
    """Validation losses of all cells with a result, a line a validation.

    Returns:
        init, the grid's axes, cell, status, update, nll (bits per token, NaN when not finite).
    """
    lines = []
    columns = list(dict.fromkeys(["init", *grid.axes, "cell", "status"]))
    for cell in cells[cells["status"].isin(RESULTS)].to_dict("records"):
        score = read_json(_cell(folder, cell["cell"]).score)
        for point in score["curves"]["valid"]:
            nll = math.nan if point["nll"] is None else point["nll"]
            lines.append({**{c: cell[c] for c in columns}, "update": point["update"], "nll": nll})
    return pd.DataFrame(lines, columns=[*columns, "update", "nll"])


def scales_of(folder: Path, cells: pd.DataFrame) -> pd.DataFrame:
    """Learned scales of the layers' matrices of all cells that have a scales.json.

    Returns:
        cell, side (encoder or decoder), layer, matrix (such as fc1), scale (1 = unchanged), a line
        a matrix.
    """
    lines = []
    for name in cells["cell"]:
        file = _cell(folder, name).gradinit / "scales.json"
        blocks = read_json(file)["blocks"] if file.exists() else []
        for block in blocks:
            match = MATRIX.match(block["name"])
            if match and len(block["shape"]) > 1:
                side, layer, matrix = match.groups()
                lines.append((name, side, int(layer), matrix, block["scale"]))
    return pd.DataFrame(lines, columns=["cell", "side", "layer", "matrix", "scale"])


def iterations_of(folder: Path, cells: pd.DataFrame, most: int = 100) -> pd.DataFrame:
    """GradInit's objective in all cells that have iterations.jsonl.

    Args:
        most: of longer searches every k-th iteration is kept, and the last, for at most so many.

    Returns:
        cell, iteration, what (which loss), nats (per token), a line a loss that is finite.
    """
    lines = []
    for name in cells["cell"]:
        file = _cell(folder, name).gradinit / "iterations.jsonl"
        records = [json.loads(line) for line in read_lines(file)] if file.exists() else []
        step = max(1, math.ceil(len(records) / most))
        for number, record in enumerate(records):
            if number % step and number != len(records) - 1:
                continue
            for key, what in (("loss", "at the scaled init"), ("lookahead_loss", "one step on")):
                if record.get(key) is not None:
                    lines.append((name, number, what, record[key]))
    return pd.DataFrame(lines, columns=["cell", "iteration", "what", "nats"])


def _cell(folder: Path, name: str) -> Cell:
    return Cell(folder / "cells" / name)
