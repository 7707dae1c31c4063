"""How high a learning rate can any initialization carry?

    python docs/experiments/ceiling.py DATA_BIN [--seed 1] [--out docs]

Trains the small model of small_model.py from GradInit's start at a learning rate that it bears,
then goes on from there, weights and Adam's moments kept, at higher ones; beside it the same rates
from the first update on. What a trained model does not bear, no start will. Writes ceiling.jsonl
and ceiling.png and prints a table. About 6 minutes on one core. What it shows:
docs/explanation/ceiling.md.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import math
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from collapse import COLOURS, Probe, options_parser, save
from small_model import Setup
from torch import nn
from tqdm import tqdm

from fairseq_gradinit.gradinit import Settings, learn_scales
from fairseq_gradinit.run import per_token_loss

BEARS, UPDATES = 4e-3, 200  # the lr and length of the first training
RATES = (4e-3, 5.6e-3, 8e-3, 1.1e-2, 1.6e-2)
LOOK_AT = (5, 10, 20, 40, 80)
FROM_START, FROM_TRAINED = "from the start", f"after {UPDATES} updates at {BEARS:g}"
PANELS = {
    "loss": "validation loss, nats/token",
    "gap": "… with other sentences' sources, minus that",
    "token_spread": "token spread ρ, encoder output",
    "decoder_spread": "… decoder output",
}


def train(
    setup: Setup,
    pair: tuple[nn.Module, torch.optim.Optimizer],
    lr: float,
    updates: int,
    seed: int,
    label: str,
) -> list[dict[str, float]]:
    """At a constant lr; what the probe sees at LOOK_AT, up to an update that overflows."""
    model, optimizer = pair
    loss_fn, batches = per_token_loss(model, setup.criterion), setup.batches("train", seed)
    probe = Probe(model, list(setup.batches("valid", 1))[:12])
    model.train()
    for group in optimizer.param_groups:
        group["lr"] = lr
    for update in tqdm(range(1, updates + 1), desc=f"{label}, lr {lr:g}"):
        optimizer.zero_grad()
        loss = loss_fn(next(batches))
        if not math.isfinite(loss.item()):
            break
        loss.backward()
        optimizer.step()
        if update in LOOK_AT:
            probe.look(update, ())
    return probe.rows


def runs(arguments: argparse.Namespace) -> list[dict[str, str | float]]:
    seed, rows = arguments.seed, []
    setup = Setup(arguments)
    model = setup.model
    start = Settings.of("multistep", eta=BEARS, start="fixed", seed=seed)
    loss_fn = per_token_loss(model, setup.criterion)
    learn_scales(model, loss_fn, setup.batches("train", seed), start, setup.optimizer)
    first = (model, setup.optimizer(list(model.parameters())))
    trained = copy.deepcopy(first)  # together, so that the optimizer keeps to its own model
    train(setup, trained, BEARS, UPDATES, seed, "first training")
    for label, origin in ((FROM_START, first), (FROM_TRAINED, trained)):
        for lr in RATES:
            pair = copy.deepcopy(origin)
            for row in train(setup, pair, lr, max(LOOK_AT), seed + 1000, label):
                rows.append({"origin": label, "lr": lr, **row})
    return rows


def draw(rows: list[dict[str, str | float]], path: Path) -> None:
    figure, axes = plt.subplots(2, 4, figsize=(14, 6), constrained_layout=True, sharey="col")
    for line, origin in zip(axes, (FROM_START, FROM_TRAINED)):
        for panel, (key, title) in zip(line, PANELS.items()):
            for lr, colour in zip(RATES, COLOURS):
                found = [row for row in rows if (row["origin"], row["lr"]) == (origin, lr)]
                points = [(row["update"], row[key]) for row in found]
                if points:
                    panel.plot(*zip(*points), color=colour, label=f"lr {lr:g}", marker=".")
            panel.set_title(f"{title}\n{origin}", fontsize=9)
            if key.endswith("spread"):
                panel.set_yscale("log")
    for panel in axes[-1]:
        panel.set_xlabel("update at this lr")
    axes[0, 0].legend(fontsize=8)
    save(figure, path)


def main() -> None:
    arguments = options_parser(__doc__.splitlines()[0]).parse_args()
    arguments.lr = BEARS  # what Setup's optimizer starts at
    torch.set_num_threads(1)
    logging.getLogger().setLevel(logging.WARNING)  # which importing fairseq lowers
    rows = runs(arguments)
    arguments.out.mkdir(parents=True, exist_ok=True)
    keys = ("origin", "lr", "update", *PANELS)
    for row in rows:  # four digits, a look a line: small and readable in a diff
        row.update((key, float(f"{row[key]:.4g}")) for key in keys[1:])
    temporary = arguments.out / "ceiling.jsonl.tmp"
    lines = [json.dumps({"seed": arguments.seed})]
    lines += [json.dumps({key: row[key] for key in keys}) for row in rows]
    temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    temporary.rename(arguments.out / "ceiling.jsonl")
    draw(rows, arguments.out / "ceiling.png")
    for row in rows:
        if row["update"] == max(LOOK_AT):
            shown = ", ".join(f"{key} {row[key]:.3g}" for key in PANELS)
            print(f"{row['origin']}, lr {row['lr']:g}: {shown}")


if __name__ == "__main__":
    main()
