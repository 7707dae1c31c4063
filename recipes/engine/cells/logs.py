"""What fairseq-train's JSON log says: curves, speed, and why it ended."""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .records import Curves, Point

LINE = re.compile(r"\| (train_inner|valid) \| (\{.*\})\s*$")
# fairseq's own words when loss or gradient is not finite. Its NanDetector, meant to say where,
# itself dies with StopIteration on NaN gradients, so that is what a diverged run may end with.
NOT_FINITE = re.compile(
    r"FloatingPointError|gradients are Nan/Inf|Minimum loss scale reached|nan_detector\.py"
    r"|Nan/Inf|NaN or Inf found",
    re.IGNORECASE,
)
# Python's last word on an error, with or without its module: `torch.cuda.OutOfMemoryError: …`.
ERROR = re.compile(r"^([\w.-]+: error: |([a-z_]\w*\.)*[A-Z]\w*(Error|Exception|Interrupt)\b)")
LONGEST_REASON = 300


def curves(log: Path) -> Curves:
    """Training and validation curves of a log, also one of several attempts.

    What a killed attempt logged after its last checkpoint is overwritten by the attempt that
    resumed, so no update counts twice.
    """
    found: dict[str, dict[int, Point]] = {"train_inner": {}, "valid": {}}
    for kind, values in _records(log):
        prefix = "" if kind == "train_inner" else "valid_"
        # Without label smoothing fairseq logs `loss` only; it is the same quantity.
        name = "nll_loss" if f"{prefix}nll_loss" in values else "loss"
        try:
            update, nll = int(values[f"{prefix}num_updates"]), float(values[prefix + name])
        except (KeyError, TypeError, ValueError, OverflowError):
            continue  # not a line of fairseq's
        found[kind][update] = Point(update, nll if math.isfinite(nll) else None)
    train, valid = ([by[update] for update in sorted(by)] for by in found.values())
    return Curves(train, valid)


def updates_per_second(log: Path) -> float | None:
    """The median speed that the log tells, None where it tells none."""
    speeds = []
    for kind, values in _records(log):
        if kind == "train_inner":
            try:
                speeds.append(float(values["ups"]))
            except (KeyError, TypeError, ValueError):
                continue
    return statistics.median_high(speeds) if speeds else None


def _records(log: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if not log.exists():
        return
    with open(log, encoding="utf-8", errors="replace", newline="\n") as file:
        for line in file:
            match = LINE.search(line)
            if not match:
                continue
            try:
                values = json.loads(match.group(2))
            except (ValueError, RecursionError):
                continue  # a line cut by a kill
            yield match.group(1), values


def not_finite(log: Path) -> bool:
    """Whether the last lines of the log say that loss or gradient was NaN or infinite."""
    return bool(NOT_FINITE.search(tail(log, 200)))


def last_error(log: Path) -> str:
    """The line of the log that says why the process failed."""
    return why(tail(log, 200)) or "its log is empty"


def why(said: str) -> str:
    """The line of a program's output that names its error: Python's, else the last one."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    named = [at for at, line in enumerate(lines) if ERROR.match(line)]
    if not named:
        return lines[-1][-LONGEST_REASON:] if lines else ""
    at = named[-1]
    text = lines[at]
    if ":" not in text and at and not lines[at - 1].startswith("^"):
        text += f" at {lines[at - 1]}"  # an error without a word: the code that raised it
    return text[:LONGEST_REASON]


def tail(log: Path, lines: int) -> str:
    """The last `lines` lines of a log, "" when there is none."""
    if not log.exists():
        return ""
    with open(log, "rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - 500 * lines))
        text = file.read().decode("utf-8", errors="replace")
    return "\n".join(text.splitlines()[-lines:])


def last_update(log: Path) -> int:
    """The last update a running cell has logged, 0 before the first line."""
    found = re.findall(r'num_updates": "?(\d+)', tail(log, 20))
    return int(found[-1]) if found else 0
