"""fairseq's own decays, for a schedule that has a warmup of its own before them."""

from __future__ import annotations

import traceback
from dataclasses import MISSING, Field, field, fields
from typing import Any, Optional, get_args

from fairseq.optim import FairseqOptimizer
from fairseq.optim.lr_scheduler import (
    LR_SCHEDULER_DATACLASS_REGISTRY,
    LR_SCHEDULER_REGISTRY,
    FairseqLRScheduler,
)

from . import inverse_sqrt_nowarmup  # noqa: F401  (registers it)

# tri_stage and triangular are a warmup and a decay in one, manual and pass_through no decay.
DECAYS = (
    "inverse_sqrt",
    "inverse_sqrt_nowarmup",
    "fixed",
    "polynomial_decay",
    "cosine",
    "step",
    "reduce_lr_on_plateau",
)
OURS = {"_name", "lr", "warmup_updates", "warmup_init_lr"}  # the wrapper's, or of no meaning in it


def decay_flags() -> list[tuple[str, Any, Any]]:
    """The flags of all decays, as `make_dataclass` wants them; None is each decay's own default."""
    takers: dict[str, list[str]] = {}
    found: dict[str, Field[Any]] = {}
    for decay in DECAYS:
        for flag in fields(LR_SCHEDULER_DATACLASS_REGISTRY[decay]):
            if flag.name not in OURS:
                takers.setdefault(flag.name, []).append(decay)
                found.setdefault(flag.name, flag)
    return [(name, *_optional(flag, takers[name])) for name, flag in found.items()]


def build_decay(name: str, cfg: Any, optimizer: FairseqOptimizer) -> FairseqLRScheduler:
    """The schedule `name` with the flags given and the wrapper's --lr and --warmup-updates.

    Raises:
        SystemExit: flags that the schedule cannot do with.
    """
    own = LR_SCHEDULER_DATACLASS_REGISTRY[name]()
    for flag in fields(own):
        value = getattr(cfg, flag.name, None)
        if value is None and _interpolated(flag):
            # ${optimization.max_update}, which the wrapper has under its last name.
            value = getattr(cfg, str(flag.default)[2:-1].split(".")[-1], None)
        if value is not None:
            setattr(own, flag.name, value)
    if name == "cosine" and own.lr_period_updates <= 0 and own.max_update == own.warmup_updates:
        raise SystemExit(  # fairseq's divides by zero after the last update
            f"fairseq-train: error: --max-update: found {own.max_update}, and --catapult-decay "
            "cosine has none left after --warmup-updates; give more, or --lr-period-updates"
        )
    try:
        return LR_SCHEDULER_REGISTRY[name](own, optimizer)
    except (AssertionError, ValueError) as error:
        # Most of fairseq's checks have no words; the line says which it was.
        why = str(error) or str(traceback.extract_tb(error.__traceback__)[-1].line)
        raise SystemExit(
            f"fairseq-train: error: --catapult-decay {name}: its flags do not do ({why}); see "
            "--help, or use another decay"
        ) from None


def _optional(flag: Field[Any], decays: list[str]) -> tuple[Any, Any]:
    if _interpolated(flag) and "help" not in flag.metadata:
        return flag.type, field(default=flag.default)  # another group's value, and no flag
    kinds = [kind for kind in get_args(flag.type) if kind is not type(None)] or [flag.type]
    text = f"{flag.metadata.get('help', '')} (--catapult-decay {' or '.join(decays)})"
    if flag.default is MISSING or kinds[0] is bool:
        return flag.type, field(default=flag.default, metadata={"help": text})
    # fairseq reads typing's Optional alone.
    return Optional[kinds[0]], field(default=None, metadata={"help": text})  # noqa: UP045


def _interpolated(flag: Field[Any]) -> bool:
    return isinstance(flag.default, str) and flag.default.startswith("${")
