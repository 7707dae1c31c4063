"""What fairseq-train's JSON log says: curves, speed, and why it ended."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

LINE = re.compile(r"\| (train_inner|valid) \| (\{.*\})\s*$")
# fairseq's own words when loss or gradient is not finite. Its NanDetector, meant to say where,
# itself dies with StopIteration on NaN gradients, so that is what a diverged run may end with.
NOT_FINITE = re.compile(
    r"FloatingPointError|gradients are Nan/Inf|Minimum loss scale reached|nan_detector\.py"
    r"|Nan/Inf|NaN or Inf found",
    re.IGNORECASE,
)


def curves(log: Path) -> dict[str, list[dict[str, float]]]:
    """Training and validation curves of a log, also one of several attempts.

    Returns:
        {"train": [{"update", "nll", "ups"}], "valid": [{"update", "nll"}]}, nll in bits per
        token, ordered by update. What a killed attempt logged after its last checkpoint is
        overwritten by the attempt that resumed, so no update counts twice.
    """
    found: dict[str, dict[int, dict[str, float]]] = {"train": {}, "valid": {}}
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    for line in text.splitlines():
        match = LINE.search(line)
        if not match:
            continue
        try:
            values = json.loads(match.group(2))
        except ValueError:
            continue  # a line cut by a kill
        kind = "train" if match.group(1) == "train_inner" else "valid"
        prefix = "" if kind == "train" else "valid_"
        update = int(values[f"{prefix}num_updates"])
        point = {"update": update, "nll": _float(values.get(f"{prefix}nll_loss"), values, prefix)}
        if kind == "train":
            point["ups"] = float(values.get("ups", "nan"))
        found[kind][update] = point
    return {kind: [by[update] for update in sorted(by)] for kind, by in found.items()}


def _float(text: Any, values: dict[str, Any], prefix: str) -> float:
    # Without label smoothing fairseq logs `loss` only; it is the same quantity.
    return float(text if text is not None else values.get(f"{prefix}loss", "nan"))


def not_finite(log: Path) -> bool:
    """Whether the last lines of the log say that loss or gradient was NaN or infinite."""
    return bool(NOT_FINITE.search(tail(log, 200)))


def last_error(log: Path) -> str:
    """The line of the log that says why the process failed: its last line that is not blank."""
    lines = [line.strip() for line in tail(log, 50).splitlines() if line.strip()]
    return lines[-1][-300:] if lines else "its log is empty"


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


def is_stuck(points: list[dict[str, float]], plateau: float) -> bool:
    """Whether the last point of a curve is not below the plateau (NaN never is)."""
    return bool(points) and not points[-1]["nll"] < plateau
