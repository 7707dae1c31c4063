"""Draws BLEU and validation loss over the learning rate, a dot a seed, for three starts.

    python docs/experiments/learning_rates.py [--results results/objective] [--out docs]

Reads the grid.tsv of the questions none, warmup and default of recipes/ablations.sh; writes
learning_rates.png.
"""

from __future__ import annotations

import argparse
import csv
import math
from pathlib import Path
from statistics import fmean

import matplotlib.pyplot as plt

STARTS = {  # question: label, colour
    "none": ("no warmup", "#D55E00"),
    "warmup": ("warmup, 150 updates", "#000000"),
    "default": ("no warmup, GradInit", "#0072B2"),
}
PANELS = {"bleu": "validation BLEU", "valid_nll_bits": "validation loss, bits/token"}


def scores(file: Path, column: str) -> dict[float, list[float]]:
    """Learning rate → the finite scores of its seeds."""
    found: dict[float, list[float]] = {}
    with file.open() as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            score = float(row[column] or "nan")
            if math.isfinite(score):
                found.setdefault(float(row["lr"]), []).append(score)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path("results/objective"))
    parser.add_argument("--out", type=Path, default=Path("docs"))
    arguments = parser.parse_args()
    figure, axes = plt.subplots(1, len(PANELS), figsize=(9, 3.4), layout="constrained")
    rates: set[float] = set()
    for panel, (column, title) in zip(axes, PANELS.items()):
        for question, (label, colour) in STARTS.items():
            file = arguments.results / question / "grid.tsv"
            if not file.exists():
                parser.error(f"--results {arguments.results}: {file} is missing")
            found = sorted(scores(file, column).items())
            rates |= {lr for lr, _ in found}
            panel.plot([lr for lr, _ in found], [fmean(s) for _, s in found], "-", color=colour)
            for lr, seeds in found:
                panel.plot([lr] * len(seeds), seeds, "o", color=colour, alpha=0.6, markersize=4)
            panel.plot([], [], "-o", color=colour, markersize=4, label=label)
        panel.set(title=title, xlabel="learning rate", xscale="log")
        panel.set_xticks(sorted(rates), [f"{1000 * lr:g}e-3" for lr in sorted(rates)])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    axes[0].legend(frameon=False)
    arguments.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.out / "learning_rates.png", dpi=130, metadata={"Software": None})


if __name__ == "__main__":
    main()
