"""What is lost by holding the look-ahead's steps constant when ∂L/∂α is taken?

    python docs/experiments/held_steps.py DATA_BIN [--seed 1] [--seeds 3] [--out docs]

At the default's start, for the small model of small_model.py at lr 4e-3: the gradient with steps
held constant beside the one differentiated through them, and how far moves along the former change
the loss after fresh walks, against its own prediction. Writes held_steps.jsonl and held_steps.png
and prints a table. About 4 minutes of one core a seed. What it shows:
docs/explanation/algorithm.md.
"""

from __future__ import annotations

import itertools
import json
import logging
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import matplotlib.pyplot as plt
import torch
from collapse import COLOURS, options_parser, save
from small_model import BETAS, Setup
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from fairseq_gradinit.gradinit import Blocks, Settings
from fairseq_gradinit.gradinit.gradient import gradient_of
from fairseq_gradinit.gradinit.multistep import look_ahead
from fairseq_gradinit.gradinit.scales import starting_scales
from fairseq_gradinit.run import per_token_loss

LR, WALKS, PAIRS = 4e-3, 12, 4  # PAIRS: walks differentiated both ways
STEPS = (1, 2, 3, 10)  # K; differentiated through up to 3
MOVES = (0.02, 0.1, 0.18)  # in log α; the default may go 0.18
EPS = 1e-8  # Adam's
Row = dict[str, Any]


class Loss(nn.Module):
    """A model's loss as a function of its parameters."""

    def __init__(self, setup: Setup, blocks: Blocks) -> None:
        super().__init__()
        self.model = setup.model
        self.loss_fn = per_token_loss(setup.model, setup.criterion)
        self.names = [(block.name, *block.aliases) for block in blocks.blocks]

    def forward(self, batch: Any) -> Tensor:
        return self.loss_fn(batch)

    def at(self, theta: list[Tensor], batch: Any) -> Tensor:
        # `tie_weights` leaves a shared Embedding with θ instead of its own parameter (torch 2.13).
        named = {f"model.{n}": t for names, t in zip(self.names, theta) for n in names}
        return functional_call(self, named, (batch,), tie_weights=False)


def through(setup: Setup, blocks: Blocks, start: Tensor, rate: float, batches: list[Any]) -> Tensor:
    """∂/∂log α of the loss after Adam's steps on all batches but the last, unheld. [blocks]"""
    loss = Loss(setup, blocks)
    logs = start.log().requires_grad_()
    theta = [a.exp() * t for a, t in zip(logs.float(), blocks.theta0)]
    m = v = [torch.zeros_like(t) for t in theta]
    with sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
        for k, batch in enumerate(batches[:-1], start=1):
            found = torch.autograd.grad(
                loss.at(theta, batch), theta, create_graph=True, allow_unused=True
            )
            g = [torch.zeros_like(t) if x is None else x for x, t in zip(found, theta)]
            m = [BETAS[0] * old + (1 - BETAS[0]) * x for old, x in zip(m, g)]
            v = [BETAS[1] * old + (1 - BETAS[1]) * x * x for old, x in zip(v, g)]
            corrected = [(a / (1 - BETAS[0] ** k), b / (1 - BETAS[1] ** k)) for a, b in zip(m, v)]
            # √ has no derivative at 0, the gradient of a token that is not in the batch.
            steps = [rate * a / ((b + 1e-24).sqrt() + EPS) for a, b in corrected]
            theta = [t - step for t, step in zip(theta, steps)]
        return torch.autograd.grad(loss.at(theta, batches[-1]), logs)[0]


class LookAheads:
    """Look-aheads of K steps at m·η from scales, as the default takes them."""

    def __init__(self, setup: Setup, steps: int) -> None:
        self.settings = Settings.of("multistep", eta=LR, lookahead=steps, start="fixed", iters=1)
        self.blocks = Blocks(setup.model)
        self.start = starting_scales(self.blocks, self.settings)
        self.loss_fn = per_token_loss(setup.model, setup.criterion)
        self.make_optimizer = setup.optimizer

    def __call__(self, scales: Tensor, batches: list[Any]) -> tuple[float, Tensor]:
        """The loss after the walk, and its ∂/∂log α with steps held. [blocks]"""
        self.blocks.write(scales)
        _, first = gradient_of(self.loss_fn, self.blocks, batches[0])
        loss, ahead = look_ahead(
            self.blocks, self.loss_fn, first, batches[1:], self.settings, self.make_optimizer
        )
        self.blocks.write(scales)
        return float(loss), self.blocks.dot(ahead) * scales


def compare(setup: Setup, seed: int, steps: int) -> list[Row]:
    walk = LookAheads(setup, steps)
    supply = setup.batches("train", seed)
    drawn = [list(itertools.islice(supply, steps + 1)) for _ in range(2 * WALKS)]
    told = {"seed": seed, "K": steps}
    held = [walk(walk.start, batches)[1] for batches in drawn[:WALKS]]
    rows: list[Row] = []
    for gradient, batches in zip(held[:PAIRS], drawn) if steps <= 3 else ():
        exact = through(setup, walk.blocks, walk.start, walk.settings.lookahead_lr * LR, batches)
        cosine = torch.cosine_similarity(exact, gradient, dim=0).item()
        ratio = (exact.norm() / gradient.norm()).item()
        rows.append({**told, "what": "through", "cosine": cosine, "ratio": ratio})
    mean = torch.stack(held).mean(0)
    before = [walk(walk.start, batches)[0] for batches in drawn[WALKS:]]
    random = torch.randn(len(mean), generator=torch.Generator().manual_seed(seed))
    for what, direction in (("downhill", -mean.sign()), ("at random", random.sign())):
        direction = torch.where(mean == 0, 0.0, direction.double())
        for move in MOVES:
            moved = walk.start * torch.exp(move * direction)
            after = [walk(moved, batches)[0] for batches in drawn[WALKS:]]
            changes = [a - b for a, b in zip(after, before)]
            spread = stdev(changes) / WALKS**0.5
            seen = {"predicted": float(mean @ direction) * move, "changed": fmean(changes)}
            rows.append({**told, "what": what, "move": move, **seen, "standard_error": spread})
    return rows


def draw(rows: list[Row], path: Path) -> None:
    figure, panels = plt.subplots(1, 3, figsize=(13, 4), constrained_layout=True)
    for steps, colour in zip(STEPS, COLOURS):
        of = [row for row in rows if row["K"] == steps]
        for panel, what in zip(panels, ("downhill", "at random")):
            x, y, error = zip(
                *(
                    (row["predicted"], row["changed"], row["standard_error"])
                    for row in of
                    if row["what"] == what
                )
            )
            panel.errorbar(x, y, error, fmt="o", color=colour, label=f"K = {steps}")
            panel.set_title(f"moves {what}", fontsize=10)
            panel.set_xlabel("predicted with steps held, nats")
        exact = [row["cosine"] for row in of if row["what"] == "through"]
        panels[2].scatter([steps] * len(exact), exact, color=colour)
    for panel in panels[:2]:
        panel.axline((0, 0), slope=1, color="grey", linewidth=0.8)
    panels[0].set_ylabel("change of the loss after fresh walks, nats")
    panels[0].legend(fontsize=8)
    panels[2].axhline(0, color="grey", linewidth=0.8)
    panels[2].set_title("cosine with the gradient through the steps", fontsize=10)
    panels[2].set_xlabel("K")
    panels[2].set_xticks([steps for steps in STEPS if steps <= 3])
    save(figure, path)


def main() -> None:
    parser = options_parser(__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="how many, from --seed on")
    arguments = parser.parse_args()
    if arguments.seeds < 1:
        parser.error(f"--seeds: found {arguments.seeds}; give 1 or more")
    arguments.lr = LR
    torch.set_num_threads(1)
    logging.getLogger().setLevel(logging.WARNING)  # which importing fairseq lowers
    rows: list[Row] = []
    seeds = range(arguments.seed, arguments.seed + arguments.seeds)
    for seed, steps in tqdm(list(itertools.product(seeds, STEPS)), desc="seeds and K"):
        arguments.seed = seed
        setup = Setup(arguments)
        setup.model.eval()
        rows += compare(setup, seed, steps)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for row in rows:
        row.update((k, float(f"{x:.4g}")) for k, x in row.items() if isinstance(x, float))
    temporary = arguments.out / "held_steps.jsonl.tmp"
    temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    temporary.rename(arguments.out / "held_steps.jsonl")
    draw(rows, arguments.out / "held_steps.png")
    for steps in STEPS:
        of = [row for row in rows if row["K"] == steps]
        print(f"K = {steps}")
        for what, move in itertools.product(("downhill", "at random"), MOVES):
            found = [row for row in of if (row["what"], row.get("move")) == (what, move)]
            predicted = fmean(row["predicted"] for row in found)
            changed = fmean(row["changed"] for row in found)
            print(f"  {what} by {move}: predicted {predicted:.3f}, changed {changed:.3f} nats")
        pairs = [(row["cosine"], row["ratio"]) for row in of if row["what"] == "through"]
        for cosine, ratio in pairs:
            print(f"  through the steps: cosine {cosine:.2f}, {ratio:.3g} times as long")


if __name__ == "__main__":
    main()
