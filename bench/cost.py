"""What the parts of GradInit cost, as a multiple of a plain forward+backward of the same model.

    python bench/cost.py [--layers 6] [--width 128] [--tokens 1024] [--rounds 10] [--out FILE]

All are timed in turns in one process, on the same batches: medians of CPU time with quartiles.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from side_by_side import Row, about, prepare, rows, show, timed
from torch import Tensor, nn

from fairseq_gradinit.files import write_json
from fairseq_gradinit.frequencies import ENOUGH, count_targets, softmax_layer
from fairseq_gradinit.gradinit import Blocks, Search, Settings
from fairseq_gradinit.gradinit.learn import default_optimizer
from fairseq_gradinit.gradinit.start import measured_scales
from fairseq_gradinit.gradinit.trial import try_updates
from fairseq_gradinit.gradinit.unigram import give_frequencies, target_distribution
from fairseq_gradinit.reading import reading
from fairseq_gradinit.watch import WATCHED

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "docs" / "experiments"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))
from reference import Reference, sign_step
from small_model import batches, transformer

K, TRIAL, BASE = 10, 5, "forward+backward"
LOOSE, TIGHT = {"gamma": 1e9}, {"gamma": 1e-6}


@dataclass
class Part:
    """run: what is timed. target: most that one is to cost, if that is known. parts: how many it
    runs at once."""

    run: Callable[[], Any]
    target: float | None = None
    parts: int = 1


class Loss(nn.Module):
    """A model whose forward is its loss."""

    def __init__(self, model: nn.Module, loss_fn: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.model, self.loss_fn = model, loss_fn

    def forward(self, batch: Any) -> Tensor:
        return self.loss_fn(batch)


def every_part(layers: int, width: int, tokens: int) -> dict[str, Part]:
    """Each on a model of its own, so that none finds another's scales."""
    samples = batches(K + 1, tokens)

    def fresh() -> tuple[Any, Callable[[Any], Tensor]]:
        return transformer(layers, width)

    def iteration(settings: Settings) -> Callable[[], Any]:
        supply = itertools.cycle(samples[: settings.lookahead + 1])
        search = Search(*fresh(), supply, settings).__enter__()  # ends with the process
        iterations = iter(search)
        return lambda: next(iterations)

    def textbook(gamma: float) -> Callable[[], Any]:
        slow = Reference(Loss(*fresh()), sign_step(1e-3), gamma=gamma)
        return lambda: slow.iterate(samples[:2])

    multistep = {"start": "fixed", "iters": 10_000, "eta": 1e-4}
    look_ahead, constraint = Settings.of("paper", **LOOSE), Settings.of("paper", **TIGHT)
    difference = Settings.of("paper", constraint="finite-difference", **TIGHT)
    walk = Settings.of("multistep", lookahead=K, **multistep)
    return {
        BASE: Part(_forward_backward(*fresh(), samples[0])),
        "forward": Part(_forward(*fresh(), samples[0])),
        "unigram start, counting and writing, once": Part(_unigram(fresh()[0], samples)),
        "measured start, three passes, once": Part(_start(*fresh(), samples)),
        "paper, look-ahead, an iteration": Part(iteration(look_ahead), 2.05),
        "paper, exact constraint, an iteration": Part(iteration(constraint), 2.8),
        "paper, central difference, an iteration": Part(iteration(difference)),
        f"multistep, K = {K}, an iteration": Part(iteration(walk), 1.05 * (K + 1)),
        "textbook, look-ahead, an iteration": Part(textbook(1e9)),
        "textbook, exact constraint, an iteration": Part(textbook(1e-6)),
        "trial, an update": Part(_trial(*fresh(), samples), parts=TRIAL),
        f"watch, a look at {WATCHED} tokens": Part(_look(fresh()[0], tokens)),
    }


def _forward_backward(
    model: nn.Module, loss_fn: Callable[[Any], Tensor], sample: Any
) -> Callable[[], Any]:
    parameters = list(model.parameters())
    return lambda: torch.autograd.grad(loss_fn(sample), parameters)


def _forward(_: nn.Module, loss_fn: Callable[[Any], Tensor], sample: Any) -> Callable[[], Any]:
    return torch.no_grad()(lambda: loss_fn(sample))


def _unigram(model: Any, samples: list[Any]) -> Callable[[], Any]:
    norm, embeddings, padding = softmax_layer(model)
    many = itertools.cycle(samples)

    def run() -> None:
        counts = count_targets(many, len(embeddings), padding, ENOUGH)
        generator = torch.Generator().manual_seed(1)
        distribution = target_distribution(counts, 0.1)
        give_frequencies(norm, embeddings, distribution, generator, (padding,))

    return run


def _start(
    model: nn.Module, loss_fn: Callable[[Any], Tensor], samples: list[Any]
) -> Callable[[], Any]:
    settings, blocks = Settings.of(), Blocks(model)
    make = default_optimizer(settings)
    return lambda: measured_scales(model, blocks, loss_fn, samples, settings, make)


def _trial(
    model: nn.Module, loss_fn: Callable[[Any], Tensor], samples: list[Any]
) -> Callable[[], Any]:
    settings = Settings.of(trial=TRIAL, eta=1e-4)
    make = default_optimizer(settings)
    return lambda: try_updates(model, loss_fn, samples, settings, make)


def _look(model: nn.Module, tokens: int) -> Callable[[], Any]:
    samples = batches(-(-WATCHED // tokens), tokens)
    return lambda: reading(model, samples)


def measured(layers: int, width: int, tokens: int, rounds: int) -> dict[str, Row]:
    """Every part over forward+backward."""
    parts = every_part(layers, width, tokens)
    seconds = timed({name: part.run for name, part in parts.items()}, rounds, "parts of GradInit")
    targets = {name: part.target for name, part in parts.items() if part.target is not None}
    return rows(seconds, BASE, targets, {name: part.parts for name, part in parts.items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    prepare()
    found = measured(args.layers, args.width, args.tokens, args.rounds)
    show("× forward+backward", found)
    if args.out:
        where = about(layers=args.layers, width=args.width, tokens=args.tokens, rounds=args.rounds)
        write_json(args.out, {"about": where, "rows": found})


if __name__ == "__main__":
    main()
