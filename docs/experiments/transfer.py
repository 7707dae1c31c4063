"""Is one learning rate right at every width and depth? For Adam, Muon and Adam in the modular norm,
each from fairseq's start and from GradInit's.

    python docs/experiments/transfer.py run DATA-BIN transfer.jsonl     # run again to continue
    python docs/experiments/transfer.py draw transfer.jsonl [MORE] --out docs   # transfer.png

A cell is some updates through fairseq's trainer at a constant learning rate, no warmup; then the
loss on some of valid and what the source is worth, nats per token. For each shape, optimizer and
start the rate goes up and down by factors of 2 until the best of those that read their source
lies between two others and the next rate above does not read. Post-LN, 1024-token batches,
dropout 0.1, bf16 autocast. `--optimizers`, `--widths` and `--depths` share the cells out over
several files.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import msgspec
from through_trainer import commands, readings, remembered, transformer

from fairseq_gradinit.files import read_json_lines

ADAM = ["--adam-betas=(0.9, 0.98)"]
# Flags, and where the search for the best rate begins at a width.
OPTIMIZERS: dict[str, tuple[list[str], Callable[[int], float]]] = {
    "adam": (["--optimizer=adam", *ADAM], lambda width: 0.256 / width),
    "muon": (["--optimizer=muon", *ADAM], lambda width: 0.256 / width),
    "modular_adam": (["--optimizer=modular_adam"], lambda width: 0.25),
}
# The published rule would take out what the start writes into the rows: word frequencies.
ROWS = {"modular_adam": ["--modular-rows=start"]}
STARTS = {"none": [], "measured": ["--gradinit", "--gradinit-trial=0"]}
READS = 0.05  # nats per token
STEPS = 6  # of a factor 2, at most, to either side


class Cell(msgspec.Struct, frozen=True):
    """A line of the file. loss and source_worth: None where training overflowed."""

    optimizer: str
    start: str
    width: int
    depth: int
    lr: float
    updates: int
    seed: int
    loss: float | None = None
    source_worth: float | None = None

    @property
    def place(self) -> tuple[Any, ...]:
        """All but what came out."""
        return (*(getattr(self, name) for name in self.__struct_fields__[:7]),)

    @property
    def reads(self) -> bool:
        return self.loss is not None and (self.source_worth or 0.0) >= READS

    @property
    def order(self) -> tuple[bool, float]:
        """The best is the least: of those that read, the lowest loss."""
        return not self.reads, math.inf if self.loss is None else self.loss


def train(cell: Cell, flags: argparse.Namespace) -> Cell:
    """The cell with what came out of its updates."""
    given = [*transformer(cell.width, cell.depth), "--lr-scheduler=fixed", f"--lr={cell.lr}"]
    given += [*OPTIMIZERS[cell.optimizer][0], *STARTS[cell.start]]
    if STARTS[cell.start]:
        given += ROWS.get(cell.optimizer, [])
    with tempfile.TemporaryDirectory() as folder:
        found = readings(flags, cell.seed, folder, [cell.updates], given).get(cell.updates)
    if found is None:
        return cell
    loss = found.loss if math.isfinite(found.loss) else None
    return msgspec.structs.replace(cell, loss=loss, source_worth=found.source_worth)


def search(first: Cell, try_it: Callable[[Cell], Cell]) -> None:
    """Tries rates by factors of 2 from first.lr until the best is enclosed."""
    found: dict[int, Cell] = {}

    def at(step: int) -> Cell:
        lr = float(f"{first.lr * 2.0**step:.3g}")
        return found.setdefault(step, try_it(msgspec.structs.replace(first, lr=lr)))

    at(0)
    while True:
        best = min(found, key=lambda step: found[step].order)
        highest = max((step for step in found if found[step].reads), default=best)
        near = (best - 1, best + 1, highest + 1)
        wanted = [step for step in near if step not in found and abs(step) <= STEPS]
        if not wanted:
            return
        at(wanted[0])


def run(flags: argparse.Namespace) -> None:
    """Every cell that the file does not hold."""
    try_it = remembered(flags.out, Cell, lambda cell: train(cell, flags))
    shapes = [(width, flags.depth) for width in flags.widths]
    shapes += [(flags.width, depth) for depth in flags.depths if (flags.width, depth) not in shapes]
    for width, depth in sorted(shapes):
        for optimizer in flags.optimizers:
            for start in STARTS:
                lr = OPTIMIZERS[optimizer][1](width)
                search(Cell(optimizer, start, width, depth, lr, flags.updates, flags.seed), try_it)


COLOURS = {"adam": "#0072B2", "muon": "#D55E00", "modular_adam": "#009E73"}


def draw(flags: argparse.Namespace) -> None:
    """The best rate, up to the highest that reads, and the loss there, over width and depth."""
    cells = [
        cell for file in flags.files for cell in read_json_lines(file, Cell, "delete the line")
    ]
    figure, axes = plt.subplots(2, 2, figsize=(9, 6.5), sharex="col", layout="constrained")
    for column, (along, other) in enumerate((("width", "depth"), ("depth", "width"))):
        mine = [cell for cell in cells if getattr(cell, other) == getattr(flags, other)]
        for optimizer, colour in COLOURS.items():
            for start in STARTS:
                one = [c for c in mine if (c.optimizer, c.start) == (optimizer, start)]
                curve(axes[:, column], one, along, colour, "-" if start != "none" else "--")
        axes[0, column].set(title=f"over {along}, {other} {getattr(flags, other)}", yscale="log")
        shown = sorted({getattr(cell, along) for cell in mine})
        axes[1, column].set(xlabel=along, xscale="log")
        axes[1, column].set_xticks(shown, [str(value) for value in shown])
        axes[1, column].minorticks_off()
    for optimizer, colour in COLOURS.items():
        axes[0, 0].plot([], [], color=colour, label=optimizer)
    for style, label in (("-", "measured start"), ("--", "no start"), (":", "… to the highest lr")):
        axes[0, 0].plot([], [], style, color="black", label=label)
    axes[0, 0].legend(frameon=False, fontsize=7)
    axes[0, 0].set(ylabel="best --lr (hollow: none reads)")
    axes[1, 0].set(ylabel="validation loss there, nats/token")
    flags.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(flags.out / "transfer.png", dpi=130, metadata={"Software": None})


def curve(axes: Any, cells: list[Cell], along: str, colour: str, style: str) -> None:
    """One optimizer from one start: best rates above, their losses below."""
    by: dict[int, list[Cell]] = {}
    for cell in cells:
        by.setdefault(getattr(cell, along), []).append(cell)
    bests = {place: min(found, key=lambda cell: cell.order) for place, found in sorted(by.items())}
    for axis, name in zip(axes, ("lr", "loss")):
        values = [math.nan if (v := getattr(b, name)) is None else v for b in bests.values()]
        axis.plot(list(bests), values, style, color=colour, linewidth=1)
        for (place, best), value in zip(bests.items(), values):
            fill = colour if best.reads else "white"
            axis.plot(place, value, "o", color=colour, markerfacecolor=fill, markersize=5)
    for place, best in bests.items():
        highest = max((cell.lr for cell in by[place] if cell.reads), default=best.lr)
        axes[0].plot([place, place], [best.lr, highest], ":", color=colour)


def main(arguments: list[str] | None = None) -> None:
    about = __doc__.splitlines()[0]
    made = commands(about, (run, draw), "--optimizers", OPTIMIZERS, [2, 6, 12])
    parser, running, drawing = made
    for name, value in (("updates", 100), ("seed", 1)):
        running.add_argument(f"--{name}", type=int, default=value)
    for command in (running, drawing):  # the shape that both lines share
        command.add_argument("--width", type=int, default=128)
        command.add_argument("--depth", type=int, default=6)
    flags = parser.parse_args(arguments)
    flags.do(flags)


if __name__ == "__main__":
    main()
