"""The one learning rate of a schedule that is no table over epochs."""

from __future__ import annotations

import math
from typing import Any


def target_lr(cfg: Any, name: str) -> float:
    """--lr of a schedule's configuration. Raises: SystemExit: it has several, or is no rate."""
    rates = list(cfg.lr) if hasattr(cfg.lr, "__iter__") else [cfg.lr]
    if not rates or not all(0 <= rate < math.inf for rate in rates):
        found = ",".join(f"{rate:g}" for rate in rates) or "[]"
        raise SystemExit(f"fairseq-train: error: --lr: found {found}; give a number of 0 or more")
    if len(rates) != 1:
        raise SystemExit(
            f"fairseq-train: error: --lr: found {len(rates)} rates, one per epoch; --lr-scheduler "
            f"{name} takes one"
        )
    return float(rates[0])
