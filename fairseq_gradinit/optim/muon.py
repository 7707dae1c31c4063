"""`--optimizer muon`: Muon for the matrices of the layers, AdamW for everything else.

Jordan et al. 2024, Muon; Liu et al. 2025, "Muon is Scalable for LLM Training" (arXiv 2502.16982),
for `match_rms_adamw`, which lets --lr and --weight-decay be those of AdamW. The parts are
torch.optim.Muon and torch.optim.AdamW.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.optim import register_optimizer
from omegaconf import II
from torch import nn

from ..gradinit import GradInitError
from .roles import roles_of
from .wrapped import WrappedOptimizer, fraction, not_negative, pair, positive

# No `from __future__ import annotations` here: fairseq reads the field types themselves.


@dataclass
class MuonConfig(FairseqDataclass):
    """The flags of muon."""

    muon_momentum: float = field(
        default=0.95, metadata={"help": "momentum (Nesterov's) of the matrices' gradients"}
    )
    muon_adjust_lr: ChoiceEnum(["match_rms_adamw", "original"]) = field(  # type: ignore[valid-type]
        default="match_rms_adamw",
        metadata={
            "help": "match_rms_adamw: lr * 0.2 * sqrt(max(rows, columns)), so that --lr is AdamW's "
            "for all parameters; original: lr * sqrt(max(1, rows / columns)), with which the two "
            "kinds of parameter want different learning rates"
        },
    )
    adam_betas: str = field(
        default="(0.9, 0.999)", metadata={"help": "betas for AdamW, on the other parameters"}
    )
    adam_eps: float = field(default=1e-8, metadata={"help": "epsilon for AdamW"})
    weight_decay: float = field(
        default=0.0, metadata={"help": "decoupled weight decay of all parameters"}
    )
    lr: Any = II("optimization.lr")


class MuonWithAdamW(torch.optim.Optimizer):
    """Two optimizers with one list of groups and one state, so that they save and load as one.

    Args:
        matrices: 2-D parameters for Muon.
        others: parameters for AdamW.
        muon, adamw: keyword arguments of torch.optim.Muon and torch.optim.AdamW.
    """

    def __init__(
        self,
        matrices: list[nn.Parameter],
        others: list[nn.Parameter],
        muon: dict[str, Any],
        adamw: dict[str, Any],
    ) -> None:
        self._parts = {
            name: make(params, **options)
            for name, make, params, options in (
                ("muon", torch.optim.Muon, matrices, muon),
                ("adamw", torch.optim.AdamW, others, adamw),
            )
            if params
        }
        groups = [
            {**group, "part": name}
            for name, part in self._parts.items()
            for group in part.param_groups
        ]
        super().__init__(groups, {})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of both."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for name, part in self._parts.items():
            # Again at each step: load_state_dict replaces both.
            part.param_groups = [group for group in self.param_groups if group["part"] == name]
            part.state = self.state
            part.step()
        return loss


@register_optimizer("muon", dataclass=MuonConfig)
class FairseqMuon(WrappedOptimizer):
    """Muon with AdamW for fairseq."""

    title = "muon"
    by_matrix = True
    needs_roles = True

    def make(self, params: list[nn.Parameter]) -> torch.optim.Optimizer:
        cfg = self.cfg
        if not hasattr(torch.optim, "Muon"):
            raise GradInitError(
                f"--optimizer muon: torch {torch.__version__} has no torch.optim.Muon; "
                "pip install 'torch>=2.9'"
            )
        roles = roles_of(params, self.title)
        matrices = [p for p, role in zip(params, roles) if role.hidden_matrix]
        others = [p for p, role in zip(params, roles) if not role.hidden_matrix]
        both = {"lr": self.lr, "weight_decay": not_negative(cfg.weight_decay, "--weight-decay")}
        muon = {
            **both,
            "momentum": fraction(cfg.muon_momentum, "--muon-momentum"),
            "adjust_lr_fn": str(cfg.muon_adjust_lr),
        }
        adamw = {**both, "betas": pair(cfg.adam_betas, "--adam-betas")}
        adamw["eps"] = positive(cfg.adam_eps, "--adam-eps")
        return MuonWithAdamW(matrices, others, muon, adamw)

    @property
    def optimizer_config(self) -> dict[str, Any]:
        cfg = self.cfg
        own = {
            "momentum": cfg.muon_momentum,
            "adjust_lr_fn": str(cfg.muon_adjust_lr),
            "betas": pair(cfg.adam_betas, "--adam-betas"),
            "eps": cfg.adam_eps,
        }
        return {**super().optimizer_config, **own}
