"""Scales learned with bf16 autocast against fp32: the correlation of log α over the blocks.

    python bench/sixteen_bit.py [--widths 64 128] [--layers 2] [--tokens 512] [--out FILE]

The same model, batches and settings twice, for both objectives and for the measured start. Words
are drawn by Zipf's law, each target from its source, so that there is something to learn. What is
compared is log α over where it starts, for the measured start over its fixed part; blocks that
stay there in fp32 are left out. Adding to every key the same vector changes no attention, so the
gradient of k_proj.bias is rounding alone, and Adam makes a walk of it: the correlation with these
biases is given too.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from fairseq_parts import SYMBOLS, run
from rich.progress import track
from side_by_side import about, prepare
from torch import Tensor

from fairseq_gradinit.files import write_json
from fairseq_gradinit.gradinit import Blocks, Search, Settings
from fairseq_gradinit.gradinit.blocks import BRANCH_OUTPUT
from fairseq_gradinit.gradinit.scales import starting_scales
from fairseq_gradinit.run import per_token_loss

LENGTH, TARGET = 16, 0.98
OBJECTIVES: dict[str, dict[str, Any]] = {
    "paper, 60 iterations": {"preset": "paper", "iters": 60, "lr": 1e-2},
    "multistep, 10 iterations": {"preset": "multistep", "iters": 10, "start": "fixed"},
    # At an η where every layer has to be turned down.
    "measured start": {"preset": "multistep", "iters": 0, "start": "measured", "eta": 1e-2},
}


def batches(count: int, tokens: int) -> list[dict[str, Any]]:
    """Samples as fairseq collates them."""
    generator = torch.Generator().manual_seed(0)
    weights = 1 / torch.arange(1, SYMBOLS - 3)
    sentences = tokens // LENGTH
    made = []
    for _ in range(count):
        drawn = torch.multinomial(weights, sentences * LENGTH, True, generator=generator) + 4
        source = drawn.view(sentences, LENGTH)
        target = source.flip(1)
        given = {"src_tokens": source, "src_lengths": torch.full((sentences,), LENGTH)}
        given["prev_output_tokens"] = target.roll(1, 1)
        made.append({"net_input": given, "target": target, "ntokens": target.numel()})
    return made


def learned(
    layers: int, width: int, samples: list[Any], given: dict[str, Any], bf16: bool
) -> tuple[Tensor, list[str], list[str]]:
    """log α over its fixed start [blocks], float64; which step each iteration took; the names."""
    built = run(layers, width)
    loss_fn = per_token_loss(built.model.eval(), built.criterion, bf16)
    settings = Settings.of(**given)
    blocks = Blocks(built.model)
    start = starting_scales(blocks, settings)
    if settings.start == "measured":
        outputs = [block.kind == BRANCH_OUTPUT for block in blocks.blocks]
        start[outputs] = settings.branch_scale
    with Search(built.model, loss_fn, samples, settings) as search:
        steps = [record.step for record in search]
    scales = torch.tensor(search.learned.scales, dtype=torch.float64)
    names = [block.name for block in blocks.blocks]
    return (scales / start).clamp_min(1e-6).log(), steps, names


def agreement(one: Tensor, other: Tensor, names: list[str]) -> dict[str, Any]:
    """Pearson's r and the root mean square difference over blocks that moved in `one`."""
    moved = one.abs() > 1e-12
    every = torch.stack([one[moved], other[moved]])
    moved &= torch.tensor([not name.endswith("k_proj.bias") for name in names])
    pair = torch.stack([one[moved], other[moved]])
    return {
        "correlation": round(float(torch.corrcoef(pair)[0, 1]), 4),
        "with_key_biases": round(float(torch.corrcoef(every)[0, 1]), 4),
        "rms_difference": round(float((pair[0] - pair[1]).square().mean().sqrt()), 4),
        "rms": round(float(pair[0].square().mean().sqrt()), 4),
        "blocks": int(moved.sum()),
        "target": TARGET,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    prepare()
    samples = batches(64, args.tokens)
    cases = [(width, name) for width in args.widths for name in OBJECTIVES]
    found: dict[str, Any] = {}
    for width, name in track(cases, "16 bit", transient=True):
        given = OBJECTIVES[name]
        (one, steps, names), (other, steps16, _) = (
            learned(args.layers, width, samples, given, bf16) for bf16 in (False, True)
        )
        same = sum(a == b for a, b in zip(steps, steps16))
        found[f"d = {width}, {name}"] = {
            **agreement(one, other, names),
            "same_steps": f"{same} of {len(steps)}",
        }
        print(f"d = {width}, {name}", found[f"d = {width}, {name}"], flush=True)
    if args.out:
        where = about(layers=args.layers, tokens=args.tokens)
        write_json(args.out, {"about": where, "rows": found})


if __name__ == "__main__":
    main()
