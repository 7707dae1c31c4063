"""A warmup that starts at a measured learning rate (Kalra & Barkeshli, NeurIPS 2024, arXiv
2406.09405), then any of fairseq's decays."""

import logging
import math
from dataclasses import dataclass, field, make_dataclass
from typing import Any, Optional

from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.optim import FairseqOptimizer
from fairseq.optim.lr_scheduler import FairseqLRScheduler, register_lr_scheduler
from omegaconf import II

from ..first_update import AtFirstUpdate, wait_for_first_update
from .decays import DECAYS, build_decay, decay_flags
from .measure import BY, measure
from .target import target_lr

logger = logging.getLogger(__name__)

# No `from __future__ import annotations` here: fairseq reads the field types themselves.

RAMPS = ("slope", "released")


@dataclass
class _Flags(FairseqDataclass):
    warmup_updates: int = field(
        default=4000,
        metadata={"help": "T, updates of the full warmup from 0 to --lr, whose slope is kept"},
    )
    catapult_by: ChoiceEnum(BY) = field(  # type: ignore[valid-type]
        default="loss",
        metadata={
            "help": "what the first step must not make worse. loss: the training loss, as "
            "published; it can fall while the encoder collapses, so also: source: the loss with "
            "other sentences' sources minus the loss; spread: how far the encoder's output differs "
            "from token to token"
        },
    )
    catapult_tolerance: float = field(
        default=0.1,
        metadata={"help": "epsilon; the rate looked for makes it worse by at most this share"},
    )
    catapult_cap: Optional[float] = field(  # noqa: UP045
        default=None, metadata={"help": "highest rate tried (default: --lr)"}
    )
    catapult_start: float = field(default=1e-4, metadata={"help": "first rate tried"})
    catapult_ramp: ChoiceEnum(RAMPS) = field(  # type: ignore[valid-type]
        default="slope",
        metadata={
            "help": "from eta_init to --lr. slope: at the full warmup's slope, so that "
            "T * eta_init / lr updates of it are saved; released: over all T updates, as the "
            "authors' code, which saves none"
        },
    )
    catapult_decay: ChoiceEnum(DECAYS) = field(  # type: ignore[valid-type]
        default="inverse_sqrt",
        metadata={
            "help": "fairseq's schedule from update T on, with the decay that goes with "
            "--warmup-updates T"
        },
    )
    lr: Any = II("optimization.lr")


CatapultConfig = make_dataclass("CatapultConfig", decay_flags(), bases=(_Flags,))


@register_lr_scheduler("catapult", dataclass=CatapultConfig)
class CatapultSchedule(FairseqLRScheduler):
    """At schedule value n < T: min(η_init + η_trgt·n/T, η_trgt); from T on, the decay's own rate.

    The decay is built with the full T, so that from update T on the rate is that of the same run
    with the whole warmup. What is saved, T·η_init/η_trgt updates, is trained at η_trgt.

    η_init is measured between gradient and step of update 1 (`measure`), kept in the checkpoint and
    never measured twice. fairseq runs update n at schedule value n − 1, so update 1 is at η_init.
    With `--catapult-ramp released` the rate is η_init + (η_trgt − η_init)·n/T with n from 1, the
    form of the authors' code.
    """

    def __init__(self, cfg: Any, optimizer: FairseqOptimizer) -> None:
        super().__init__(cfg, optimizer)
        self._target = target_lr(cfg, "catapult")
        self._cap = self._target if cfg.catapult_cap is None else cfg.catapult_cap
        _check(cfg, self._target, self._cap)
        self.eta_init: float | None = None
        self._updates = 0
        self.decay = build_decay(str(cfg.catapult_decay), cfg, optimizer)
        wait_for_first_update(optimizer, self)
        self.step_update(0)

    @property
    def pending(self) -> bool:
        """Is η_init neither measured nor come with a checkpoint?"""
        return self.eta_init is None and self._updates == 0

    def prepare(self, at: AtFirstUpdate) -> None:
        """Measures η_init and sets the rate of update 1. Raises: GradInitError."""
        cfg = self.cfg
        found = measure(
            at,
            str(cfg.catapult_by),
            min(self._cap, self._target),
            cfg.catapult_start,
            cfg.catapult_tolerance,
        )
        self.eta_init = min(found.catapult.eta_init, self._target)
        rate = self.step_update(0)
        logger.info(
            f"catapult: eta_init {self.eta_init:.3g} by {cfg.catapult_by} "
            f"({found.catapult.ended}), {found.passes} forward passes after one gradient; "
            f"{self.updates_saved} of {cfg.warmup_updates} updates of warmup saved, update 1 at "
            f"{rate:.3g}"
        )
        if found.collapses and found.spread is not None:
            before, after = found.spread
            logger.warning(
                f"catapult: a step at {self.eta_init:.3g} takes the token spread of the encoder's "
                f"output from {before:.2g} to {after:.2g}, which the loss does not show; give "
                "--catapult-by source or spread"
            )

    @property
    def updates_saved(self) -> int:
        """Updates by which --lr is reached sooner than by the full warmup."""
        if self.eta_init is None or str(self.cfg.catapult_ramp) == "released":
            return 0
        return math.floor(self.cfg.warmup_updates * self.eta_init / self._target)

    def step_begin_epoch(self, epoch: int) -> Any:
        """As the decay's."""
        return self.decay.step_begin_epoch(epoch)

    def step(self, epoch: int, val_loss: Any = None) -> Any:
        """As the decay's."""
        return self.decay.step(epoch, val_loss)

    def step_update(self, num_updates: int) -> float:
        """Sets and returns the learning rate after `num_updates` updates.

        Raises:
            SystemExit: in the warmup of a run whose η_init was not measured.
        """
        self._updates = num_updates
        self.decay.step_update(num_updates)
        if num_updates < self.cfg.warmup_updates:
            self.optimizer.set_lr(self._warmup(num_updates))
        return self.optimizer.get_lr()

    def _warmup(self, n: int) -> float:
        target, total = self._target, self.cfg.warmup_updates
        if self.eta_init is None:
            if n == 0:
                return 0.0  # before the measurement
            raise SystemExit(
                f"fairseq-train: error: --lr-scheduler catapult: at update {n} of {total} of the "
                "warmup there is no measured rate; if the run was resumed from another schedule, "
                "give --reset-optimizer; if not, its --task does not measure: use --task "
                "translation or language_modeling_gradinit"
            )
        if str(self.cfg.catapult_ramp) == "released":
            return self.eta_init + (target - self.eta_init) * (n + 1) / total
        return min(self.eta_init + target * n / total, target)

    def state_dict(self) -> dict[str, Any]:
        """η_init and the decay's state; `best` is what fairseq's schedules look for in each
        other's."""
        best = self.decay.best
        return {"eta_init": self.eta_init, "decay": self.decay.state_dict(), "best": best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up a catapult's state; that of another schedule says nothing of η_init."""
        self.eta_init = state_dict.get("eta_init")
        if "decay" in state_dict:
            self.decay.load_state_dict(state_dict["decay"])


def _check(cfg: Any, target: float, cap: float) -> None:
    for flag, value in (
        ("--lr", target),
        ("--warmup-updates", cfg.warmup_updates),
        ("--catapult-tolerance", cfg.catapult_tolerance),
        ("--catapult-start", cfg.catapult_start),
        ("--catapult-cap", cap),
    ):
        if not (0 < value < math.inf):
            remedy = "; without a warmup use another --lr-scheduler" if "warmup" in flag else ""
            raise SystemExit(
                f"fairseq-train: error: {flag}: found {value:g}; --lr-scheduler catapult needs a "
                f"number above 0{remedy}"
            )
