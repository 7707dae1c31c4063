"""What happens inside a Post-LN Transformer in its first updates, with and without warmup.

    python docs/experiments/collapse.py DATA_BIN [--lr 4e-3] [--updates 400] [--seed 1] [--out docs]

Trains one small model from several starts, in a plain loop (Adam, lr decayed linearly, no
clipping), and looks inside at chosen updates. Writes collapse.jsonl and collapse.png. About 15
minutes on one core. What the numbers mean: docs/why_warmup.md.
"""

from __future__ import annotations

import argparse
import json
import logging
import types
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.ticker import ScalarFormatter
from small_model import Setup
from torch import Tensor, nn
from tqdm import tqdm

from fairseq_gradinit.gradinit import Settings, learn_scales
from fairseq_gradinit.gradinit.measures import token_spread
from fairseq_gradinit.reading import encoder_spread
from fairseq_gradinit.run import per_token_loss

WARMUP = 150
LOOK_AT = (0, 1, 2, 3, 5, 8, 12, 20, 30, 45, 60, 90, 120, 160, 200, 250, 300, 350, 400)
STARTS: dict[str, dict[str, Any]] = {  # label: what differs from a run without warmup
    "no warmup": {},
    "warmup": {"warmup": WARMUP},
    "branches × 0.1": {"branch_scale": 0.1, "encoder_scale": 1.0, "iters": 0},
    "learned from 0.1, within 3": {
        "branch_scale": 0.1,
        "encoder_scale": 1.0,
        "max_change": 3.0,
        "lookahead_lr": 1.0,
        "min_embedding_scale": 0.0,
    },
    "GradInit (default)": {"lookahead_lr": Settings.of("multistep").lookahead_lr},
}
PANELS = {
    "loss": "validation loss, nats/token",
    "gap": "… with other sentences' sources, minus that",
    "token_spread": "token spread ρ, encoder output",
    "decoder_spread": "… decoder output",
    "branch_ratio": "encoder: ‖branch‖ / ‖residual‖",
    "entropy": "cross-attention entropy / log length",
    "agreement": "cosine of successive steps, encoder",
    "update_size": "encoder: ‖Δθ‖ / ‖θ‖ of matrices",
    "encoder_gradient": "share of ‖g‖² that is the encoder's",
}
COLOURS = ["#D55E00", "#000000", "#E69F00", "#CC79A7", "#0072B2"]


class Probe:
    """Looks inside a model on fixed validation batches."""

    def __init__(self, model: Any, batches: list[Any]) -> None:  # a fairseq Transformer
        self.model, self.batches = model, batches
        self.rows: list[dict[str, float]] = []

    def look(self, update: int, steps: Sequence[Tensor]) -> None:
        """steps: what the last two updates, or fewer, added to `encoder_vector`."""
        row = {"update": float(update)}
        if steps:
            row["update_size"] = float(steps[-1].norm() / self.encoder_vector().norm())
        if len(steps) == 2:
            row["agreement"] = float(torch.cosine_similarity(steps[0], steps[1], dim=0))
        square = {True: 0.0, False: 0.0}
        for name, parameter in self.model.named_parameters():
            if parameter.grad is not None and "embed_tokens" not in name:
                square[name.startswith("encoder.")] += float(parameter.grad.pow(2).sum())
        if sum(square.values()):
            row["encoder_gradient"] = square[True] / sum(square.values())
        self.model.eval()
        with torch.no_grad():
            row.update(self._forward())
        self.model.train()
        self.rows.append(row)

    def encoder_vector(self) -> Tensor:
        matrices = [p for n, p in self.model.encoder.layers.named_parameters() if p.dim() > 1]
        return torch.cat([matrix.detach().flatten() for matrix in matrices])

    def _forward(self) -> dict[str, float]:
        ratios: list[float] = []

        def measured(layer: nn.Module, branch: Tensor, residual: Tensor) -> Tensor:
            ratios.append(float(branch.norm() / residual.norm()))
            return residual + branch

        for layer in self.model.encoder.layers:
            layer.residual_connection = types.MethodType(measured, layer)
        sample = self.batches[0]
        extra = self.model(**sample["net_input"])[1]
        attention = extra["attn"][0]  # [sentences, targets, sources]
        for layer in self.model.encoder.layers:
            del layer.residual_connection
        lengths = sample["net_input"]["src_lengths"].clamp_min(2).log()[:, None]
        entropy = -(attention * attention.clamp_min(1e-9).log()).sum(-1) / lengths
        gains = [
            (norm.weight - 1).abs().mean()
            for norm in self.model.encoder.modules()
            if isinstance(norm, nn.LayerNorm)
        ]
        kept = sample["target"].ne(self.model.decoder.padding_idx)
        states = extra["inner_states"][-1].transpose(0, 1)  # [sentences, targets, width]
        right, wrong = self._loss(rolled=False), self._loss(rolled=True)
        spread = encoder_spread(self.model, sample)
        assert spread is not None  # every Transformer here has an encoder
        return {
            "branch_ratio": sum(ratios) / len(ratios),
            "entropy": float(entropy[kept].mean()),
            "token_spread": spread,
            "decoder_spread": token_spread(states[kept]),
            "gain": float(torch.stack(gains).mean()),
            "loss": right,
            "gap": wrong - right,
        }

    def _loss(self, rolled: bool) -> float:
        """Nats per token; rolled: every target beside the source of the sentence before it."""
        total, tokens = 0.0, 0
        for sample in self.batches:
            given = dict(sample["net_input"])
            if rolled:
                for key in ("src_tokens", "src_lengths"):
                    given[key] = given[key].roll(1, 0)
            target = sample["target"]
            scores = self.model.get_normalized_probs(self.model(**given), log_probs=True)
            kept = target.ne(self.model.decoder.padding_idx)
            total -= float(scores.gather(-1, target[..., None])[..., 0][kept].sum())
            tokens += int(kept.sum())
        return total / tokens


def run(label: str, arguments: argparse.Namespace) -> list[dict[str, float]]:
    setup, given = Setup(arguments), dict(STARTS[label])
    model, warmup = setup.model, given.pop("warmup", 1)
    loss_fn = per_token_loss(model, setup.criterion)
    if given:
        learned = {"start": "fixed", "iters": 40, **given}
        settings = Settings.of("multistep", eta=arguments.lr, seed=arguments.seed, **learned)
        train = setup.batches("train", arguments.seed + 1000)
        learn_scales(model, loss_fn, train, settings, setup.optimizer)
    probe = Probe(model, list(setup.batches("valid", 1))[: arguments.batches])
    optimizer = setup.optimizer(list(model.parameters()))
    train = setup.batches("train", arguments.seed)
    model.train()
    steps: deque[Tensor] = deque(maxlen=2)
    probe.look(0, steps)
    for update in tqdm(range(1, arguments.updates + 1), desc=label):
        rise, rest = min(1.0, update / warmup), 1 - (update - 1) / arguments.updates
        for group in optimizer.param_groups:
            group["lr"] = arguments.lr * rise * rest
        optimizer.zero_grad()
        loss_fn(next(train)).backward()
        before = probe.encoder_vector()
        optimizer.step()
        steps.append(probe.encoder_vector() - before)
        if update in LOOK_AT:
            probe.look(update, steps)
    return probe.rows


def draw(runs: dict[str, list[dict[str, float]]], path: Path) -> None:
    figure, axes = plt.subplots(3, 3, figsize=(12, 9), constrained_layout=True)
    for panel, (key, title) in zip(axes.flat, PANELS.items()):
        for (label, rows), colour in zip(runs.items(), COLOURS):
            points = [(row["update"], row[key]) for row in rows if key in row]
            panel.plot(*zip(*points), color=colour, label=label, marker=".", markersize=4)
        panel.set_title(title, fontsize=10)
        panel.set_xscale("symlog", linthresh=1)
        panel.set_xticks([0, 1, 10, 100])
        panel.xaxis.set_major_formatter(ScalarFormatter())
        if key in ("branch_ratio", "update_size", "encoder_gradient"):
            panel.set_yscale("log")
    for panel in axes[-1]:
        panel.set_xlabel("update")
    axes[0, 0].legend(fontsize=8)
    save(figure, path)


def save(figure: plt.Figure, path: Path) -> None:
    temporary = path.with_suffix(".tmp.png")
    figure.savefig(temporary, dpi=110, metadata={"Software": None})
    temporary.rename(path)


def options_parser(description: str) -> argparse.ArgumentParser:
    """With what every page's script is told: the data, a seed and where to write."""
    parser = argparse.ArgumentParser(description=description)
    made = "data-bin, as data_prep/multi30k_de_en.sh makes it"
    parser.add_argument("data", type=data_bin, help=made)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    return parser


def data_bin(given: str) -> str:
    if not list(Path(given).glob("dict.*.txt")):
        raise argparse.ArgumentTypeError(f"{given}: no data-bin here; make one with data_prep")
    return given


def main() -> None:
    parser = options_parser(__doc__.splitlines()[0])
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--updates", type=int, default=400)
    parser.add_argument("--batches", type=int, default=12, help="validation batches looked at")
    arguments = parser.parse_args()
    for name in ("updates", "batches"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name}: found {getattr(arguments, name)}; give 1 or more")
    torch.set_num_threads(1)
    logging.getLogger().setLevel(logging.WARNING)  # which importing fairseq lowers
    runs = {label: run(label, arguments) for label in STARTS}
    arguments.out.mkdir(parents=True, exist_ok=True)
    settings = {key: value for key, value in vars(arguments).items() if key not in ("data", "out")}
    # Four digits, a look a line: small and readable in a diff.
    lines = [
        json.dumps({"start": label, **{key: float(f"{row[key]:.4g}") for key in row}})
        for label, rows in runs.items()
        for row in rows
    ]
    temporary = arguments.out / "collapse.jsonl.tmp"
    temporary.write_text("\n".join([json.dumps(settings), *lines]) + "\n", encoding="utf-8")
    temporary.rename(arguments.out / "collapse.jsonl")
    draw(runs, arguments.out / "collapse.png")


if __name__ == "__main__":
    main()
