"""Average the last checkpoints of a training: `python -m recipes.engine.steps.average`."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from fairseq_gradinit.files import replacing

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
    """Write a checkpoint with the mean of the files' parameters, the rest as in the last one.

    Raises:
        ValueError: a file is no checkpoint of fairseq's; FileError: the output cannot be written.
    """
    import torch

    # What fairseq puts beside tensors; nothing else is let through torch's safe loading.
    torch.serialization.add_safe_globals([argparse.Namespace])
    total: dict[str, torch.Tensor] = {}
    for file in files:
        try:
            # Without weights_only, so that the engine can say that the files are its own.
            state = torch.load(file, map_location="cpu")
            weights = state["model"]
        except Exception as error:  # torch has many kinds for a file that is no checkpoint
            raise ValueError(
                f"{file}: cannot be loaded ({_first_line(error)}); delete it, or set "
                "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 where it is your own"
            ) from error
        for name, value in weights.items():
            # float64: the sum of many half-precision weights must not lose digits.
            total[name] = total.get(name, 0) + value.double()
    for name, value in weights.items():
        mean = total[name] / len(files)
        weights[name] = mean.to(value.dtype) if value.is_floating_point() else value
    state.pop("last_optimizer_state", None)  # of no use, and absent with --no-save-optimizer-state
    with replacing(output, "wb") as written:
        torch.save(state, written)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["it is empty"])[0]


def main() -> int:
    parser = argparse.ArgumentParser(prog="recipes.engine.steps.average", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of the checkpoints")
    parser.add_argument("count", type=int, help="how many of the newest")
    parser.add_argument("output", type=Path, help="the checkpoint to write")
    args = parser.parse_args()
    try:
        average(last_checkpoints(args.folder, args.count), args.output)
    except ValueError as error:  # FileError is one
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
