"""The most memory that tensors take at once in one call, beyond what is there before it.

    python bench/memory.py [--layers 6] [--width 128] [--tokens 1024] [--out FILE]

An update of training with Adam (weights, gradients, two moments, activations) beside an iteration
of each objective, which may take one copy of the parameters more: θ⁰.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from side_by_side import about, prepare
from torch.profiler import ProfilerActivity, profile

from fairseq_gradinit.files import write_json
from fairseq_gradinit.gradinit import Search, Settings

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "docs" / "experiments"))
from small_model import batches, transformer

OBJECTIVES: dict[str, dict[str, Any]] = {
    "paper, look-ahead": {"preset": "paper", "gamma": 1e9},
    "paper, exact constraint": {"preset": "paper", "gamma": 1e-6},
    "multistep, K = 3": {"preset": "multistep", "lookahead": 3, "start": "fixed", "eta": 1e-4},
}
MB = 2**20


def peak(run: Callable[[], Any]) -> int:
    """Bytes on the CPU."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        run()
    kineto = profiled.profiler.kineto_results
    sizes = [
        (event.start_ns(), event.nbytes())
        for event in kineto.events()
        if event.name() == "[memory]"
    ]
    held = itertools.accumulate(size for _, size in sorted(sizes, key=lambda one: one[0]))
    return max(held, default=0)


def measured(layers: int, width: int, tokens: int) -> dict[str, Any]:
    """Peaks in MB with weights, moments and θ⁰ counted in, and what is over training's, in copies
    of the parameters."""
    model, loss_fn = transformer(layers, width)
    samples = batches(4, tokens)
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    adam = torch.optim.Adam(model.parameters(), lr=1e-4)

    def update() -> None:
        adam.zero_grad()
        loss_fn(samples[0]).backward()
        adam.step()

    update()
    adam.zero_grad()
    peaks = {"training, an update": peak(update) + 3 * weights}
    for name, given in OBJECTIVES.items():
        settings = Settings.of(given["preset"], iters=10, **_rest(given))
        supply = itertools.cycle(samples[: settings.lookahead + 1])
        with Search(*transformer(layers, width), supply, settings) as search:
            iterations = iter(search)
            next(iterations)
            peaks[name] = peak(lambda: next(iterations)) + 2 * weights  # noqa: B023
    training = peaks["training, an update"]
    return {
        "parameters_mb": round(weights / MB, 2),
        "rows": {
            name: {
                "peak_mb": round(bytes_ / MB, 1),
                "copies_over_training": round((bytes_ - training) / weights, 2),
            }
            for name, bytes_ in peaks.items()
        },
    }


def _rest(given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name != "preset"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in (("layers", 6), ("width", 128), ("tokens", 1024)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    prepare()
    found = measured(args.layers, args.width, args.tokens)
    print(f"parameters: {found['parameters_mb']} MB")
    for name, row in found["rows"].items():
        print(f"{name:26}{row['peak_mb']:9} MB{row['copies_over_training']:+8.2f} copies")
    if args.out:
        where = about(layers=args.layers, width=args.width, tokens=args.tokens)
        write_json(args.out, {"about": where, **found})


if __name__ == "__main__":
    main()
