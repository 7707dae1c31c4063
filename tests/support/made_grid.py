"""A finished grid whose scores are made up: what the report reads, without an hour of training."""

from __future__ import annotations

import itertools
import json
import math
import random
from pathlib import Path
from typing import Any

from recipes.engine.cells.cell import Cell, cell_of, describe
from recipes.engine.cells.grid import Grid, Point, claim, points
from recipes.engine.steps.score import measure

ADJECTIVES = [("red", "old", "big"), ("black", "small", "young"), ("white", "new", "green", "tall")]
SENTENCES = [
    "the {} dog sees a {} cat near the {} house".format(*words)
    for words in itertools.product(*ADJECTIVES)
]
PLATEAU = 8.0
HIGHEST = {"none": 1e-3, "warmup": 2e-3, "gradinit": 8e-3}  # lr at which each init trains
INITS = {"none": [], "warmup": ["--warmup-updates", "9"], "gradinit": ["--gradinit"]}


def make(folder: Path, axes: dict[str, list[str]], updates: int = 400) -> Grid:
    """A grid at `folder`/grid with a result in each cell, and its data beside it.

    An init trains up to its HIGHEST lr, better the higher; beyond it every second cell has a loss
    that is not finite and the others stay above the plateau. Cells of gradinit have scales.
    """
    raw = folder / "data" / "raw"
    raw.mkdir(parents=True)
    (raw / "test.en").write_text("\n".join(SENTENCES) + "\n")
    grid = Grid(
        data=str(folder / "data"),
        axes=axes,
        inits={name: INITS[name] for name in axes.get("init", [])},
        flags=["-s", "de", "-t", "en", "--max-update", str(updates)],
    )
    claim(grid, folder / "grid")
    for number, point in enumerate(points(grid)):
        describe(grid, folder / "grid", point)
        cell = cell_of(folder / "grid", point)
        _score(cell, point, number, raw / "test.en", updates)
        if point.values.get("init") == "gradinit":
            learn(cell)
    return grid


def _score(cell: Cell, point: Point, number: int, reference: Path, updates: int) -> None:
    chance = random.Random(point.name)
    rate, highest = float(point.values.get("lr", 1e-3)), HIGHEST[point.values.get("init", "none")]
    trains = rate <= highest
    wrong = 0.1 + 0.15 * math.log2(highest / rate) if trains else 1.0
    texts = ["x" if chance.random() < wrong else line for line in SENTENCES]
    cell.hypotheses.write_text("\n".join(texts) + "\n")
    last = 5 * wrong + 2 + 0.2 * chance.random()
    valid: list[dict[str, Any]] = []
    for update in range(updates // 20, updates + 1, updates // 20):
        share = update / updates
        nll = 9.5 + (last - 9.5) * (1 - math.exp(-5 * share)) if trains else 8.6 + 9 * share
        valid.append({"update": update, "nll": nll})
    if not trains and number % 2:
        valid[-1]["nll"] = None
    score: dict[str, Any] = measure(texts if trains else [""] * len(texts), reference)
    score |= {
        "status": "done" if trains else "diverged",
        "reason": "" if trains else "loss or gradient not finite after update 8",
        "plateau": PLATEAU,
        "curves": {"train": [], "valid": valid},
        "seconds": {"train": 60.0, "gradinit": None, "decode": 5.0},
        "updates_per_second": 5.0,
    }
    cell.score.write_text(json.dumps(score))


def learn(cell: Cell, layers: int = 6, iterations: int = 40) -> None:
    """SAVE_DIR/gradinit of a cell as the package leaves it, as far as the report reads it."""
    chance = random.Random(cell.name)
    names = ["self_attn.q_proj", "self_attn.out_proj", "fc1", "fc2"]
    blocks = [
        {
            "name": f"{side}.layers.{layer}.{name}.weight",
            "shape": [4, 4],
            "scale": (0.1 if name.endswith(("out_proj", "fc2")) else 1) * chance.uniform(0.8, 1.2),
        }
        for side in ("encoder", "decoder")
        for layer in range(layers)
        for name in names
    ]
    blocks.append({"name": "encoder.layer_norm.weight", "shape": [4], "scale": 1.0})
    cell.gradinit.mkdir(parents=True)
    (cell.gradinit / "scales.json").write_text(json.dumps({"blocks": blocks, "seconds": 9.0}))
    lines = [
        {"iteration": k, "loss": 9 - k / iterations, "lookahead_loss": 8.5 - 2 * k / iterations}
        for k in range(iterations)
    ]
    (cell.gradinit / "iterations.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
