"""The one learning rate of a schedule that is no table over epochs."""

from __future__ import annotations

from typing import Any


def target_lr(cfg: Any, name: str) -> float:
    """--lr of a schedule's configuration. Raises: SystemExit: it has several."""
    rates = list(cfg.lr) if hasattr(cfg.lr, "__iter__") else [cfg.lr]
    if len(rates) != 1:
        raise SystemExit(
            f"fairseq-train: error: --lr: found {len(rates)} rates, one per epoch; --lr-scheduler "
            f"{name} takes one"
        )
    return float(rates[0])
