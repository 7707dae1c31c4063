"""How to differentiate the gradient norm: double backward, or finite differences at which ε.

    python bench/constraint.py [--layers 3] [--width 64] [--tokens 512] [--iters 60] [--out FILE]

Against double backward in float64 on the same batch: cosine of ∂‖g‖/∂α over the blocks, and the
share of blocks with the right sign (Adam on α turns wrong signs into a random walk). Then the
scales that each ends with after the same iterations of the paper's constraint. ε is relative:
the shift's root mean square over that of the parameters.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch
from torch import Tensor

from fairseq_gradinit.gradinit import Blocks, Settings, gradient, learn_scales

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "docs" / "experiments"))
from small_model import batches, transformer

EPSILONS = (1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
Agreement = dict[str, float]


def scale_gradient(
    args: argparse.Namespace, algorithm: str, constraint: str, dtype: torch.dtype
) -> Tensor:
    """∂‖g‖/∂α at α = 1 on one batch, [blocks]."""
    model, loss_fn = transformer(args.layers, args.width)
    model.to(dtype)
    settings = Settings.of("paper", algorithm=algorithm, constraint=constraint, gamma=1e-9)
    blocks = Blocks(model)
    batch = batches(1, args.tokens)[0]
    _, g = gradient.gradient_of(loss_fn, blocks, batch)
    derivative = gradient.norm_derivative(loss_fn, blocks, batch, g, settings)
    return blocks.dot(derivative).double()


def final_scales(args: argparse.Namespace, algorithm: str, constraint: str) -> Tensor:
    """log α after `--iters` steps of the constraint alone."""
    model, loss_fn = transformer(args.layers, args.width)
    settings = Settings.of(
        "paper", algorithm=algorithm, constraint=constraint, gamma=1e-9, iters=args.iters, lr=1e-2
    )
    samples = batches(2 * args.iters, args.tokens)
    learned = learn_scales(model, loss_fn, samples, settings)
    return torch.tensor(learned.scales).clamp_min(settings.min_scale).log()


def agreement(found: Tensor, exact: Tensor) -> Agreement:
    """Cosine and share of equal signs over the blocks that matter at all."""
    cosine = torch.nn.functional.cosine_similarity(found, exact, dim=0)
    live = exact != 0
    signs = (found.sign() == exact.sign())[live].double().mean()
    return {"cosine": round(float(cosine), 4), "signs": round(float(signs), 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--iters", type=int, default=60)
    parser.add_argument("--out")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows: dict[str, Agreement] = {}
    default = gradient.RELATIVE_EPSILON
    for algorithm in ("adam", "sgd"):
        exact = scale_gradient(args, algorithm, "exact", torch.float64)
        fp32 = scale_gradient(args, algorithm, "exact", torch.float32)
        rows[f"{algorithm}, exact in fp32"] = agreement(fp32, exact)
        for epsilon in EPSILONS:
            gradient.RELATIVE_EPSILON = epsilon
            found = scale_gradient(args, algorithm, "finite-difference", torch.float32)
            rows[f"{algorithm}, central difference, ε = {epsilon:g}"] = agreement(found, exact)
        gradient.RELATIVE_EPSILON = default
        one, other = (
            final_scales(args, algorithm, constraint)
            for constraint in ("exact", "finite-difference")
        )
        rows[f"{algorithm}, final log scales, ε = {default:g}"] = {
            **agreement(other, one),
            "rms_difference": round(float((one - other).pow(2).mean().sqrt()), 4),
            "rms": round(float(one.pow(2).mean().sqrt()), 4),
        }
    for name, row in rows.items():
        print(f"{name:42}", "  ".join(f"{key} {value}" for key, value in row.items()))
    if args.out:
        with open(args.out, "w", encoding="utf-8") as file:
            json.dump({"about": {**vars(args), "torch": torch.__version__}, "rows": rows}, file)
            file.write("\n")


if __name__ == "__main__":
    main()
