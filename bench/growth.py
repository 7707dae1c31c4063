"""How time and memory of an iteration grow with the model and the batch, beside forward+backward.

    python bench/growth.py --out results/bench [--rounds 3] [--small]

One axis at a time from 2+2 layers, width 128, 512 tokens and 4,000 words; --small leaves out each
axis's largest. Writes growth.json and growth.svg: times over those of the least point, with the
slopes fitted to log cost over log size. CPU time, in turns in one process; memory is the most that
tensors take beyond weights and θ⁰.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import torch
import vl_convert
from fairseq_parts import run
from memory import MB, peak
from rich.progress import track
from side_by_side import about, prepare, timed
from torch import Tensor

from fairseq_gradinit.files import replacing, write_json
from fairseq_gradinit.gradinit import Search, Settings
from fairseq_gradinit.run import per_token_loss

BASE = {"layers": 2, "width": 128, "tokens": 512, "words": 4000}
AXES = {
    "layers": (2, 4, 8, 16, 24),
    "width": (64, 128, 256, 512, 1024),
    "tokens": (256, 512, 1024, 2048, 4096),
    "words": (1000, 2000, 4000, 8000, 16000, 32000),
}
LENGTH = 16  # tokens a sentence
PLAIN = "forward+backward"
OBJECTIVES: dict[str, dict[str, Any]] = {
    "look-ahead (paper)": {"preset": "paper", "gamma": 1e9},
    "exact constraint (paper)": {"preset": "paper", "gamma": 1e-6},
    "look-ahead of 3 steps": {
        "preset": "multistep",
        "lookahead": 3,
        "start": "fixed",
        "eta": 1e-4,
        "iters": 10_000,
    },
}


def batch(tokens: int, words: int, seed: int) -> dict[str, Any]:
    """A sample of random words, as fairseq collates it."""
    generator = torch.Generator().manual_seed(seed)
    sentences = tokens // LENGTH

    def ids() -> Tensor:
        return torch.randint(4, words, (sentences, LENGTH), generator=generator)

    target = ids()
    given = {"src_tokens": ids(), "src_lengths": torch.full((sentences,), LENGTH)}
    given["prev_output_tokens"] = target.roll(1, 1)
    return {"net_input": given, "target": target, "ntokens": target.numel()}


def contenders(size: dict[str, int]) -> dict[str, Callable[[], Any]]:
    """forward+backward and an iteration of each objective, at one size."""
    samples = [batch(size["tokens"], size["words"], seed) for seed in range(4)]

    def fresh() -> tuple[Any, Callable[[Any], Tensor]]:
        built = run(size["layers"], size["width"], symbols=size["words"])
        return built.model.eval(), per_token_loss(built.model, built.criterion)

    def iteration(given: dict[str, Any]) -> Callable[[], Any]:
        settings = Settings.of(**given)
        supply = itertools.cycle(samples[: settings.lookahead + 1])
        iterations = iter(Search(*fresh(), supply, settings).__enter__())
        return lambda: next(iterations)

    model, loss_fn = fresh()
    parameters = list(model.parameters())
    plain = {PLAIN: lambda: torch.autograd.grad(loss_fn(samples[0]), parameters)}
    return {**plain, **{name: iteration(given) for name, given in OBJECTIVES.items()}}


def measured(axes: dict[str, tuple[int, ...]], rounds: int) -> list[dict[str, Any]]:
    """A record for each axis, size and contender."""
    found = []
    points = [(axis, value) for axis, values in axes.items() for value in values]
    for axis, value in track(points, "growth", transient=True):
        made = contenders({**BASE, axis: value})
        seconds = timed(made, rounds, f"{axis} {value}")
        for name, call in made.items():
            ratios = [a / b for a, b in zip(seconds[name], seconds[PLAIN])]
            found.append(
                {
                    "axis": axis,
                    "size": value,
                    "what": name,
                    "seconds": round(statistics.median(seconds[name]), 5),
                    "ratio": round(statistics.median(ratios), 3),
                    "memory_mb": round(peak(call) / MB, 2),
                }
            )
    return found


def slopes(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of log cost over log size by least squares, for each axis, contender and kind of cost."""
    table = pd.DataFrame(records)
    fitted = []
    for (axis, what), group in table.groupby(["axis", "what"], sort=False):
        size = np.log(group["size"].to_numpy(float))
        slope = {
            cost: round(float(np.polyfit(size, np.log(group[cost].to_numpy(float)), 1)[0]), 2)
            for cost in ("seconds", "memory_mb")
        }
        fitted.append({"axis": axis, "what": what, **slope})
    return fitted


def picture(records: list[dict[str, Any]], fitted: list[dict[str, Any]]) -> str:
    """SVG: time and memory over each axis, both logarithmic, slopes in the legend's words."""
    slope = {(row["axis"], row["what"]): row for row in fitted}
    rows = []
    for cost, title in (("seconds", "CPU seconds"), ("memory_mb", "MB")):
        row = []
        for axis in dict.fromkeys(record["axis"] for record in records):
            points = [
                {
                    "size": record["size"],
                    "cost": record[cost],
                    "what": f"{record['what']}: {slope[axis, record['what']][cost]:.2f}",
                }
                for record in records
                if record["axis"] == axis
            ]
            scale = alt.Scale(type="log", nice=False)
            row.append(
                alt.Chart(pd.DataFrame(points), width=190, height=150)
                .mark_line(point=True)
                .encode(
                    x=alt.X("size", scale=scale, title=axis).axis(values=sorted(_sizes(points))),
                    y=alt.Y("cost", scale=scale, title=title),
                    color=alt.Color("what", sort=None).legend(
                        title="slope", orient="bottom", columns=1, labelLimit=240
                    ),
                )
            )
        rows.append(alt.hconcat(*row).resolve_scale(color="independent"))
    return vl_convert.vegalite_to_svg(alt.vconcat(*rows).to_dict())


def _sizes(points: list[dict[str, Any]]) -> set[int]:
    return {point["size"] for point in points}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", action="store_true")
    args = parser.parse_args()
    prepare()
    axes = {axis: sizes[: math.ceil(len(sizes) / 2)] for axis, sizes in AXES.items()}
    records = measured(axes if args.small else AXES, args.rounds)
    fitted = slopes(records)
    record = {"about": about(base=BASE), "slopes": fitted, "records": records}
    write_json(args.out / "growth.json", record)
    with replacing(args.out / "growth.svg") as file:
        file.write(picture(records, fitted))
    for row in fitted:
        print(f"{row['axis']:8}{row['what']:26}{row['seconds']:7}{row['memory_mb']:7}")


if __name__ == "__main__":
    main()
