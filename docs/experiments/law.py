"""How high a learning rate does each way of starting carry, over width and depth?

    python docs/experiments/law.py run DATA-BIN law.jsonl --widths 64,128 --depths 6,12  # or go on
    python docs/experiments/law.py draw law.jsonl [MORE] --out docs                      # law.png

For each shape and method the rate goes by factors of 2 in lr·width from a guess until the highest
is found at which all seeds read their source after the updates: worth 0.05 nats per token. Adam,
1024-token batches, dropout 0.1, joined embeddings, bf16 autocast. `--decayed`: the rate falls
linearly to 0 at the last update. With --gradinit the trial's verdict is kept beside what came of
it. `draw` prints both tables.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import msgspec
from through_trainer import commands, readings, remembered, transformer, whole

from fairseq_gradinit.files import read_json_lines
from fairseq_gradinit.records import read_scales

GRADINIT = "--gradinit"
FIRST = 0.128  # lr·width, where the search begins
METHODS: dict[str, list[str]] = {
    "none": [],
    "warmup 50": ["--warmup-updates=50"],
    "warmup 100": ["--warmup-updates=100"],
    "Pre-LN": ["--encoder-normalize-before", "--decoder-normalize-before"],
    GRADINIT: ["--gradinit"],
}
COLOURS = dict(zip(METHODS, ("#999999", "#E69F00", "#D55E00", "#0072B2", "#009E73")))
READS = 0.05  # nats per token
STEPS = 5  # of a factor 2, at most, to either side
LOOKS = (20, 40, 60, 100)


class Cell(msgspec.Struct, frozen=True):
    """A line of the file.

    looks: after some updates, loss, source worth, token spreads of encoder and decoder; none after
        an overflow.
    trial: the rates that the trial tried and what it said of each.
    """

    method: str
    width: int
    depth: int
    lr: float
    updates: int
    seed: int
    decayed: bool = False
    tokens: int = 1024
    looks: dict[int, tuple[float | None, ...]] = {}
    trial: list[tuple[float, bool]] = []

    @property
    def place(self) -> tuple[Any, ...]:
        """All but what came out."""
        return tuple(getattr(self, name) for name in self.__struct_fields__[:8])

    @property
    def shape(self) -> tuple[int, int]:
        return self.depth, self.width

    @property
    def step(self) -> int:
        """Where lr·width lies on the ladder."""
        return round(math.log2(self.lr * self.width / FIRST))

    @property
    def reads(self) -> bool:
        return self.updates in self.looks and (self.looks[self.updates][1] or 0.0) >= READS

    def at_step(self, step: int) -> Cell:
        lr = float(f"{FIRST * 2.0**step / self.width:.3g}")
        return msgspec.structs.replace(self, lr=lr)


def train(cell: Cell, flags: argparse.Namespace) -> Cell:
    """The cell with what came out of its updates."""
    given = [*transformer(cell.width, cell.depth), *METHODS[cell.method], f"--lr={cell.lr}"]
    given += ["--optimizer=adam", "--adam-betas=(0.9, 0.98)"]
    if cell.decayed:
        given += ["--lr-scheduler=polynomial_decay", f"--total-num-update={cell.updates}"]
    else:
        given += ["--lr-scheduler=fixed"]
    looks = {look for look in LOOKS if look < cell.updates} | {cell.updates}
    with tempfile.TemporaryDirectory() as folder:
        found = readings(flags, cell.seed, folder, looks, given)
        record = Path(folder) / "gradinit" / "scales.json"
        prediction = read_scales(record).prediction if record.exists() else None
    return msgspec.structs.replace(
        cell,
        looks={update: tuple(map(short, astuple(read))) for update, read in found.items()},
        trial=[(t.learning_rate, t.trains) for t in (prediction.trials if prediction else [])],
    )


def short(number: float | None) -> float | None:
    """Four digits; None for what JSON cannot hold."""
    return float(f"{number:.4g}") if number is not None and math.isfinite(number) else None


def search(first: Cell, seeds: Iterable[int], try_it: Callable[[Cell], Cell]) -> None:
    """Tries rates by factors of 2 until the highest at which all seeds read is enclosed.

    Where the trial's verdict is wanted, every seed is run at every rate, and at one rate more.
    """
    judged = first.method == GRADINIT
    found: dict[int, bool] = {}

    def at(step: int) -> bool:
        if step not in found:
            cells = (msgspec.structs.replace(first.at_step(step), seed=seed) for seed in seeds)
            ends = (try_it(cell).reads for cell in cells)
            found[step] = all(list(ends) if judged else ends)
        return found[step]

    step = 0
    while at(step) and step < STEPS:
        step += 1
    while not at(step) and step > -STEPS:
        step -= 1
    if judged and found[step]:
        at(step + 1), at(step + 2)


def run(flags: argparse.Namespace) -> None:
    """Every cell that the file does not hold."""
    try_it = remembered(flags.out, Cell, lambda cell: train(cell, flags))
    for depth in flags.depths:
        for width in flags.widths:
            for method in flags.methods:
                first = Cell(
                    method, width, depth, 0.0, flags.updates, 0, flags.decayed, flags.tokens
                )
                search(first, flags.seeds, try_it)


def highest(cells: Iterable[Cell]) -> int | None:
    """The highest step of one method and shape at which every seed that was run reads, of those
    that were run with as many seeds as any."""
    by: dict[int, list[Cell]] = {}
    for cell in cells:
        by.setdefault(cell.step, []).append(cell)
    most = max(map(len, by.values()), default=0)
    whole = [step for step, ran in by.items() if len(ran) == most and all(c.reads for c in ran)]
    return max(whole, default=None)


def draw(flags: argparse.Namespace) -> None:
    """law.png: the highest lr·width over width, a panel a depth; and the tables."""
    cells = [c for file in flags.files for c in read_json_lines(file, Cell, "delete the line")]
    depths = sorted({cell.depth for cell in cells})
    widths = sorted({cell.width for cell in cells})
    figure, axes = plt.subplots(
        1, len(depths), figsize=(4 * len(depths) + 1, 3.8), sharey=True, squeeze=False
    )
    figure.set_layout_engine("constrained")
    for axis, depth in zip(axes[0], depths):
        for method, colour in COLOURS.items():
            steps = {
                width: highest(c for c in cells if (c.method, *c.shape) == (method, depth, width))
                for width in widths
            }
            shown = {width: FIRST * 2.0**step for width, step in steps.items() if step is not None}
            axis.plot(list(shown), list(shown.values()), "o-", color=colour, label=method)
            rates = [f"{shown[w] / w:.2g}" if w in shown else "–" for w in widths]
            print(f"| {depth}+{depth} | {method} | {' | '.join(rates)} |")
        axis.set(ylim=(FIRST * 2.0 ** -(STEPS + 1), FIRST * 2.0 ** (STEPS + 1)))
        axis.set(xscale="log", yscale="log", title=f"{depth}+{depth} layers", xlabel="width d")
        axis.set_xticks(widths, [str(width) for width in widths])
        axis.minorticks_off()
    axes[0, 0].set_ylabel("highest lr·d at which all seeds read")
    axes[0, 0].legend(frameon=False, fontsize=8)
    flags.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(flags.out / "law.png", dpi=130, metadata={"Software": None})
    for said in (True, False):
        ended = [cell.reads for cell in cells for rate, trains in cell.trial[:1] if trains == said]
        print(f"trial: {'trains' if said else 'goes astray'}: {sum(ended)} of {len(ended)} read")


def main(arguments: list[str] | None = None) -> None:
    about = __doc__.splitlines()[0]
    parser, running, _ = commands(about, (run, draw), "--methods", METHODS, [6, 12, 18])
    running.add_argument("--seeds", type=whole, default=[1, 2, 3])
    running.add_argument("--updates", type=int, default=200)
    running.add_argument("--decayed", action="store_true")
    flags = parser.parse_args(arguments)
    flags.do(flags)


if __name__ == "__main__":
    main()
