"""Average the last checkpoints of a training: `python -m recipes.engine.steps.average`."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

NUMBERED = re.compile(r"checkpoint(?:_(\d+)_(\d+)|(\d+))\.pt$")


def last_checkpoints(folder: Path, count: int) -> list[Path]:
    """The `count` newest checkpoints of epochs; of updates, where there are too few of epochs.

    Raises:
        ValueError: there are fewer of both; the message says how to keep more.
    """
    epochs, updates = [], []
    for file in folder.glob("checkpoint*.pt"):
        match = NUMBERED.search(file.name)
        if match and match.group(2):
            updates.append((int(match.group(2)), file))
        elif match:
            epochs.append((int(match.group(3)), file))
    for numbered in (epochs, updates):
        if len(numbered) >= count:
            return [file for _, file in sorted(numbered)[-count:]]
    raise ValueError(
        f"{folder}: {len(epochs)} checkpoints of epochs and {len(updates)} of updates, --average "
        f"wants {count}; keep more (--keep-last-epochs {count} or --save-interval-updates N "
        f"--keep-interval-updates {count})"
    )


def average(files: list[Path], output: Path) -> None:
    """Write a checkpoint with the mean of the files' parameters, the rest as in the last one."""
    import torch

    # What fairseq puts beside tensors; nothing else is let through torch's safe loading.
    torch.serialization.add_safe_globals([argparse.Namespace])
    total: dict[str, torch.Tensor] = {}
    for file in files:
        state = torch.load(file, map_location="cpu", weights_only=True)
        for name, value in state["model"].items():
            # float64: the sum of many half-precision weights must not lose digits.
            total[name] = total.get(name, 0) + value.double()
    for name, value in state["model"].items():
        mean = total[name] / len(files)
        state["model"][name] = mean.to(value.dtype) if value.is_floating_point() else value
    del state["last_optimizer_state"]
    torch.save(state, output)


def main() -> int:
    parser = argparse.ArgumentParser(prog="recipes.engine.steps.average", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of the checkpoints")
    parser.add_argument("count", type=int, help="how many of the newest")
    parser.add_argument("output", type=Path, help="the checkpoint to write")
    args = parser.parse_args()
    try:
        files = last_checkpoints(args.folder, args.count)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    temporary = args.output.with_suffix(".tmp")
    average(files, temporary)
    temporary.rename(args.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
