"""`--optimizer radam`: torch.optim.RAdam with decoupled weight decay.

Liu et al., "On the Variance of the Adaptive Learning Rate and Beyond", ICLR 2020 (arXiv
1908.03265). Three implementations have the name and differ while the variance of the adaptive term
has no finite estimate (ρ_t ≤ 5, the first five updates or so):

- torch's, this one: momentum steps lr·m̂ without the adaptive term, whose size is the gradient's
- Transformer-Clinic's, with which Post-LN and Admin numbers were published: no step at all
- schedule-free's (`--optimizer schedule_free`): no step either, and from ρ_t > 4 on adaptive ones
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from fairseq.dataclass import FairseqDataclass
from fairseq.optim import register_optimizer
from omegaconf import II
from torch import nn

from .wrapped import WrappedOptimizer, not_negative, pair, positive

# No `from __future__ import annotations` here: fairseq reads the field types themselves.


@dataclass
class RAdamConfig(FairseqDataclass):
    """The flags of radam."""

    adam_betas: str = field(default="(0.9, 0.999)", metadata={"help": "betas for RAdam"})
    adam_eps: float = field(default=1e-8, metadata={"help": "epsilon for RAdam"})
    weight_decay: float = field(default=0.0, metadata={"help": "decoupled weight decay"})
    lr: Any = II("optimization.lr")


@register_optimizer("radam", dataclass=RAdamConfig)
class FairseqRAdam(WrappedOptimizer):
    """torch's RAdam for fairseq."""

    title = "radam"

    def make(self, params: list[nn.Parameter]) -> torch.optim.Optimizer:
        not_negative(self.cfg.weight_decay, "--weight-decay")
        positive(self.cfg.adam_eps, "--adam-eps")
        return torch.optim.RAdam(params, decoupled_weight_decay=True, **self.optimizer_config)

    @property
    def optimizer_config(self) -> dict[str, Any]:
        betas = pair(self.cfg.adam_betas, "--adam-betas")
        return {**super().optimizer_config, "betas": betas, "eps": self.cfg.adam_eps}
