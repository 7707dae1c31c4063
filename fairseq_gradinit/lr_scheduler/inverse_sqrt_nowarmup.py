"""The inverse square root without warmup, as T-Fixup's code has it (Huang et al. 2020)."""

import math
from dataclasses import dataclass, field
from typing import Any

from fairseq.dataclass import FairseqDataclass
from fairseq.optim import FairseqOptimizer
from fairseq.optim.lr_scheduler import FairseqLRScheduler, register_lr_scheduler
from omegaconf import II

from .target import target_lr


@dataclass
class InverseSqrtNoWarmupConfig(FairseqDataclass):
    """The one constant of the schedule."""

    decay_updates: int = field(
        default=4000,
        metadata={
            "help": "P in lr * sqrt(P / (P + n)) at n updates: after 3P updates the rate is half "
            "of --lr"
        },
    )
    lr: Any = II("optimization.lr")


@register_lr_scheduler("inverse_sqrt_nowarmup", dataclass=InverseSqrtNoWarmupConfig)
class InverseSqrtNoWarmup(FairseqLRScheduler):
    """lr·√(P/(P+n)) at schedule value n: `--lr` at update 1, since fairseq runs update n at n − 1.

    For large n it is fairseq's `inverse_sqrt` with a warmup of P updates.
    """

    def __init__(self, cfg: InverseSqrtNoWarmupConfig, optimizer: FairseqOptimizer) -> None:
        super().__init__(cfg, optimizer)
        if cfg.decay_updates <= 0:
            raise SystemExit(
                f"fairseq-train: error: --decay-updates: found {cfg.decay_updates}; give 1 or more"
            )
        self._lr = target_lr(cfg, "inverse_sqrt_nowarmup")
        self.step_update(0)

    def step(self, epoch: int, val_loss: Any = None) -> float:
        """The end of an epoch changes nothing. Returns: the learning rate."""
        super().step(epoch, val_loss)
        return self.optimizer.get_lr()

    def step_update(self, num_updates: int) -> float:
        """Sets and returns the learning rate after `num_updates` updates."""
        decay = self.cfg.decay_updates
        self.optimizer.set_lr(self._lr * math.sqrt(decay / (decay + num_updates)))
        return self.optimizer.get_lr()
