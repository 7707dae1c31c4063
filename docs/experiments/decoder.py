"""Draws what the decoder's states at update 60 tell about the loss at update 400.

    python docs/experiments/decoder.py [--starts results/objective/hand_starts.jsonl] [--out docs]

A dot a run of the log on Multi30k that went on to update 400; writes decoder.png.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib.pyplot as plt

AT_60, FLOOR = 3, 1e-4  # where update 60 is in the lists of shares; shares below are drawn there
COLOURS = {4e-3: "#0072B2", 5.6e-3: "#E69F00", 8e-3: "#D55E00"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    starts = Path("results/objective/hand_starts.jsonl")
    parser.add_argument("--starts", type=Path, default=starts)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    arguments = parser.parse_args()
    if not arguments.starts.exists():
        parser.error(f"--starts {arguments.starts}: no such file")
    runs = [json.loads(line) for line in arguments.starts.read_text().splitlines()[1:]]
    runs = [run for run in runs if run["corpus"] == "Multi30k" and run["curve"][-1][0] == 400]
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained", sharey=True)
    for panel, side in zip(axes, ("encoder", "decoder")):
        for lr, colour in COLOURS.items():
            found = [run for run in runs if run["lr"] == lr]
            shares = [max(FLOOR, run[f"{side}_share"][AT_60]) for run in found]
            losses = [run["curve"][-1][1] for run in found]
            panel.plot(shares, losses, "o", color=colour, alpha=0.7, label=f"lr {lr:g}")
        panel.set(xscale="log", xlabel=f"token-specific share ρ of the {side}'s output, update 60")
        panel.grid(alpha=0.3)
    axes[0].set_ylabel("validation loss, update 400, nats/token")
    axes[1].legend(frameon=False)
    arguments.out.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.out / "decoder.png", dpi=130, metadata={"Software": None})


if __name__ == "__main__":
    main()
