"""What an iteration of GradInit costs, as a multiple of a plain forward+backward.

    python bench/cost.py [--layers 6] [--width 128] [--tokens 1024] [--repeats 10] [--out FILE]

All are timed in turns in one run, on the same batches; medians of CPU time.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from fairseq_gradinit.gradinit import Search, Settings

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "docs" / "experiments"))
from small_model import batches, transformer

K = 10


def contenders(layers: int, width: int, tokens: int) -> dict[str, tuple[Callable[[], Any], int]]:
    """Name to what is timed and the forward+backward passes that it cannot do without."""
    model, loss_fn = transformer(layers, width)
    samples = batches(K + 1, tokens)
    parameters = list(model.parameters())

    def plain() -> None:
        torch.autograd.grad(loss_fn(samples[0]), parameters)

    def iteration(settings: Settings) -> Callable[[], Any]:
        supply = itertools.cycle(samples[: settings.lookahead + 1])
        own_model, own_loss = transformer(layers, width)
        search = Search(own_model, own_loss, supply, settings).__enter__()  # ends with the process
        iterations = iter(search)
        return lambda: next(iterations)

    tight, loose = {"gamma": 1e-6}, {"gamma": 1e9}
    searched = {"start": "fixed", "iters": 10_000}
    return {
        "forward+backward": (plain, 1),
        "paper, look-ahead": (iteration(Settings.of("paper", **loose)), 2),
        "paper, constraint, exact": (iteration(Settings.of("paper", **tight)), 2),
        "paper, constraint, central difference": (
            iteration(Settings.of("paper", constraint="finite-difference", **tight)),
            3,
        ),
        f"multistep, K = {K}": (
            iteration(Settings.of("multistep", lookahead=K, **searched)),
            K + 1,
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--out")
    args = parser.parse_args()
    torch.set_num_threads(1)
    timed = contenders(args.layers, args.width, args.tokens)
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for repeat in range(args.repeats + 1):
        for name, (run, _) in timed.items():
            start = time.process_time()  # of this process: neighbours do not count
            run()
            if repeat > 0:  # the first warms up
                seconds[name].append(time.process_time() - start)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    plain = medians["forward+backward"]
    rows = {
        name: {"ratio": round(medians[name] / plain, 2), "passes": passes}
        for name, (_, passes) in timed.items()
    }
    print(f"{'':40}{'× forward+backward':>20}{'passes':>8}")
    for name, row in rows.items():
        print(f"{name:40}{row['ratio']:20}{row['passes']:8}")
    if args.out:
        about = {
            **vars(args),
            "torch": torch.__version__,
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, 1 thread",
            "forward_backward_cpu_seconds": round(plain, 4),
        }
        with open(args.out, "w", encoding="utf-8") as file:
            json.dump({"about": about, "rows": rows}, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
