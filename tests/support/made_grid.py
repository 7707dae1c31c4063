"""A finished grid whose scores are made up: what the report reads, without an hour of training."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Sequence
from pathlib import Path

from fairseq_gradinit.files import write_json, write_text
from recipes.engine.cells.cell import Cell, cells_of, describe
from recipes.engine.cells.grid import Grid, claim
from recipes.engine.cells.records import Curves, Point, Score, Seconds, Status
from recipes.engine.steps.score import measure

ADJECTIVES = [("red", "old", "big"), ("black", "small", "young"), ("white", "new", "green", "tall")]
SENTENCES = [
    "the {} dog sees a {} cat near the {} house".format(*words)
    for words in itertools.product(*ADJECTIVES)
]
PLATEAU = 8.0
HIGHEST = {"none": 1e-3, "warmup": 2e-3, "gradinit": 8e-3}  # lr at which each init trains
INITS = {"none": [], "warmup": ["--warmup-updates", "9"], "gradinit": ["--gradinit"]}


def make(
    folder: Path,
    axes: dict[str, list[str]],
    updates: int = 400,
    only: Sequence[dict[str, list[str]]] = (),
) -> Grid:
    """A grid at `folder`/grid with a result in each cell, and its data beside it.

    An init trains up to its HIGHEST lr, better the higher; beyond it every second cell has a loss
    that is not finite and the others stay above the plateau. Cells of gradinit have scales. To a
    grid that exists cells are added.
    """
    raw = folder / "data" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    (raw / "test.en").write_text("\n".join(SENTENCES) + "\n")
    grid = Grid(
        data=str(folder / "data"),
        axes=axes,
        inits={name: INITS[name] for name in axes.get("init", [])},
        flags=["-s", "de", "-t", "en", "--max-update", str(updates)],
        only=list(only),
    )
    claim(grid, folder / "grid")
    for number, cell in enumerate(cells_of(grid, folder / "grid")):
        if cell.score.exists():
            continue
        describe(grid, cell)
        write_json(cell.score, _score(cell, number, raw / "test.en", updates))
        if cell.init == "gradinit":
            learn(cell)
    return grid


def _score(cell: Cell, number: int, reference: Path, updates: int) -> Score:
    chance = random.Random(cell.name)
    rate, highest = float(cell.values.get("lr", 1e-3)), HIGHEST.get(cell.init, 1e-3)
    trains = rate <= highest
    wrong = 0.1 + 0.15 * math.log2(highest / rate) if trains else 1.0
    texts = ["x" if chance.random() < wrong else line for line in SENTENCES]
    write_text(cell.hypotheses, "\n".join(texts) + "\n")
    last = 5 * wrong + 2 + 0.2 * chance.random()
    valid = []
    for update in range(updates // 20, updates + 1, updates // 20):
        share = update / updates
        nll = 9.5 + (last - 9.5) * (1 - math.exp(-5 * share)) if trains else 8.6 + 9 * share
        valid.append(Point(update, nll))
    if not trains and number % 2:
        valid[-1] = Point(updates, None)
    return Score(
        status=Status.DONE if trains else Status.DIVERGED,
        reason="" if trains else "loss or gradient not finite after update 8",
        **measure(texts if trains else [""] * len(texts), SENTENCES, "en", reference),
        plateau=PLATEAU,
        curves=Curves(valid=valid),
        seconds=Seconds(train=60.0, decode=5.0),
        updates_per_second=5.0,
    )


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
    write_json(cell.gradinit / "scales.json", {"blocks": blocks, "seconds": 9.0})
    lines = [
        {"iteration": k, "loss": 9 - k / iterations, "lookahead_loss": 8.5 - 2 * k / iterations}
        for k in range(iterations)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    write_text(cell.gradinit / "iterations.jsonl", text)
