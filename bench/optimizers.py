"""An optimizer's step beside torch's AdamW on the same model, and what power iteration takes.

    python bench/optimizers.py [--width 128] [--layers 6] [--wide 512] [--rounds 15] [--out FILE]

Every optimizer of the package as fairseq builds it, on parameters with random gradients, in turns
in one process. At d = `--wide`: the share of σ_max by power iteration in a whole update.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import torch
from fairseq_parts import Run, run
from side_by_side import Row, about, prepare, quartiles, rows, show, timed

from fairseq_gradinit.files import write_json
from fairseq_gradinit.optim import spectral
from fairseq_gradinit.optim.schedule_free import gradient_point
from fairseq_gradinit.probes.probes import Probes

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "docs" / "experiments"))
from small_model import batches

BETAS = "--adam-betas=(0.9, 0.98)"
BASE = "torch.optim.AdamW"
FLAGS: dict[str, tuple[str, ...]] = {
    "adam": (BETAS,),
    "gi_adam": (BETAS,),
    "radam": (BETAS,),
    "schedule_free": (BETAS, "--schedule-free-form=adamw"),
    "rotational": (BETAS, "--weight-decay=0.1"),
    "adamw2": (BETAS,),
    "modular_sgd": (),
    "modular_adam": (),
    "muon": (BETAS,),
}
UPDATE = "an update"
INTERVAL = 100  # of the probes


def steps(layers: int, width: int, rounds: int) -> dict[str, Row]:
    """Of each optimizer, over AdamW's."""
    contenders: dict[str, Any] = {}
    for name, flags in FLAGS.items():
        built = run(layers, width, f"--optimizer={name}", *flags)
        _give_gradients(built.model)
        contenders["fairseq's adam" if name == "adam" else name] = _step(built.optimizer)
    plain = run(layers, width, "--optimizer=adam", BETAS).model
    _give_gradients(plain)
    adamw = torch.optim.AdamW(plain.parameters(), lr=1e-4, betas=(0.9, 0.98))
    contenders = {BASE: adamw.step, **contenders}
    return rows(timed(contenders, rounds, f"optimizers' steps at d = {width}"), BASE)


def _step(optimizer: Any) -> Any:
    def step() -> None:
        with gradient_point(optimizer):  # where schedule_free's gradients are taken
            pass
        optimizer.step()

    return step


def power_iteration(width: int, rounds: int, layers: int = 1) -> Row:
    """The share of σ_max in an update of modular_adam on 1,024 tokens."""
    built, sample = run(layers, width, "--optimizer=modular_adam"), batches(1, 1024)[0]
    spent = [0.0]
    plain = spectral.sigma_max

    def watched(*args: Any, **kwargs: Any) -> torch.Tensor:
        start = time.process_time()
        found = plain(*args, **kwargs)
        spent[0] += time.process_time() - start
        return found

    shares: list[float] = []
    seconds: list[float] = []
    spectral.sigma_max = watched
    try:
        for at in range(rounds + 1):
            spent[0], start = 0.0, time.process_time()
            built.update(sample)
            if at > 0:  # the first takes ten iterations instead of one
                seconds.append(time.process_time() - start)
                shares.append(spent[0] / seconds[-1])
    finally:
        spectral.sigma_max = plain
    low, middle, high = quartiles(shares)
    return Row(round(middle, 4), round(low, 4), round(high, 4), quartiles(seconds)[1], 0.05)


def probed(layers: int, width: int, rounds: int) -> dict[str, Row]:
    """An update at which the probes measure, over one at which they do not."""
    sample = batches(1, 1024)[0]
    sample["nsentences"] = len(sample["target"])
    contenders: dict[str, Any] = {}
    for name, intervals in (
        (UPDATE, None),
        ("an update with --gradient-flow-interval's probes", (1, 0)),
        ("an update with the top eigenvalues too", (1, 1)),
    ):
        built = run(layers, width, "--optimizer=adam", BETAS)
        contenders[name] = _updating(built, sample, intervals)
    return rows(timed(contenders, rounds, "probes"), UPDATE)


def _updating(built: Run, sample: Any, intervals: tuple[int, int] | None) -> Any:
    if intervals is None:
        return lambda: built.update(sample)
    probes = Probes(built.model, *intervals, lambda record: None)

    def update() -> None:
        probes.before_forward(sample, built.criterion, built.optimizer, 0)
        built.backward(sample)
        built.optimizer.clip_grad_norm(0.0)
        with probes.around_step(built.optimizer):
            built.optimizer.step()

    return update


def _give_gradients(model: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in (("layers", 6), ("width", 128), ("wide", 512), ("rounds", 15)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    prepare()
    found = steps(args.layers, args.width, args.rounds)
    share = {f"σ_max, part of an update at d = {args.wide}": power_iteration(args.wide, 5)}
    show("step, × torch's AdamW", found)
    show("share", share)
    if args.out:
        where = about(layers=args.layers, width=args.width, rounds=args.rounds)
        write_json(args.out, {"about": where, "steps": found, "share": share})


if __name__ == "__main__":
    main()
