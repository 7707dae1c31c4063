"""`--optimizer adamw2`: AdamW that changes no matrix's largest singular value by more than a share.

Qi et al., "Taming Transformer Without Using Learning Rate Warmup", ICLR 2025 (arXiv 2505.21910).
With u AdamW's step at lr 1, each matrix W is stepped at min(lr, τ·σ_max(W)/σ_max(u)), so that by
Weyl's inequality σ_max(W) moves by at most the share τ (weight decay apart). No code was released;
this follows the published rule on the power iteration of the modular optimizers.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from fairseq.dataclass import FairseqDataclass
from fairseq.optim import register_optimizer
from omegaconf import II
from torch import Tensor, nn

from ..gradinit import GradInitError
from .spectral import sigma_kept, start_vector
from .wrapped import WrappedOptimizer, not_negative, pair, positive

# No `from __future__ import annotations` here: fairseq reads the field types themselves.


@dataclass
class AdamW2Config(FairseqDataclass):
    """The flags of adamw2."""

    adam_betas: str = field(default="(0.9, 0.999)", metadata={"help": "betas for AdamW"})
    adam_eps: float = field(default=1e-8, metadata={"help": "epsilon for AdamW"})
    weight_decay: float = field(
        default=0.0, metadata={"help": "decoupled weight decay, times the matrix's own lr"}
    )
    adamw2_tau: float = field(
        default=0.01,
        metadata={
            "help": "tau, the largest share of its largest singular value by which an update may "
            "change a matrix (default ours)"
        },
    )
    lr: Any = II("optimization.lr")


class AdamW2(torch.optim.Optimizer):
    """AdamW with the lr of each 2-D parameter capped; other parameters are AdamW's.

    A matrix that is zero has no σ_max to keep a share of and is stepped at lr.

    Args:
        params: parameters or groups.
        lr, betas, eps, weight_decay: as of torch.optim.AdamW.
        tau: τ > 0.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        tau: float = 0.01,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "tau": tau}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._update(p, group)
        return loss

    def _update(self, p: Tensor, group: dict[str, Any]) -> None:
        state = self.state[p]
        if not state:
            state["step"] = 0
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(p), torch.zeros_like(p)
            if p.dim() == 2:
                state["weight_vector"] = start_vector(p)
                state["update_vector"] = start_vector(p)
        update = adam_direction(p.grad, state, group)  # type: ignore[arg-type]
        lr: float | Tensor = group["lr"]
        if p.dim() == 2:
            lr = _capped(p, update, state, group)
        p.mul_(1 - lr * group["weight_decay"]).sub_(update.mul_(lr))


def adam_direction(grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
    """Adam's step at lr 1, m̂/(√v̂ + ε); moves `state` ("step", both moments) on by one."""
    beta1, beta2 = group["betas"]
    state["step"] += 1
    state["exp_avg"].lerp_(grad, 1 - beta1)
    state["exp_avg_sq"].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
    root = state["exp_avg_sq"].sqrt().div_(math.sqrt(1 - beta2 ** state["step"]))
    return state["exp_avg"] / root.add_(group["eps"]) / (1 - beta1 ** state["step"])


def _capped(p: Tensor, update: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
    weight = sigma_kept(p, state, "weight_vector")
    change = sigma_kept(update, state, "update_vector")
    cap = torch.where((weight > 0) & (change > 0), group["tau"] * weight / change, math.inf)
    return cap.clamp(max=group["lr"])


@register_optimizer("adamw2", dataclass=AdamW2Config)
class FairseqAdamW2(WrappedOptimizer):
    """AdamW² for fairseq."""

    title = "adamw2"
    by_matrix = True

    def make(self, params: list[nn.Parameter]) -> torch.optim.Optimizer:
        cfg = self.cfg
        if not cfg.adamw2_tau > 0:
            raise GradInitError(f"--adamw2-tau: found {cfg.adamw2_tau}; give a number above 0")
        not_negative(cfg.weight_decay, "--weight-decay")
        positive(cfg.adam_eps, "--adam-eps")
        betas = pair(cfg.adam_betas, "--adam-betas")
        return AdamW2(params, self.lr, betas, cfg.adam_eps, cfg.weight_decay, cfg.adamw2_tau)

    @property
    def optimizer_config(self) -> dict[str, Any]:
        cfg = self.cfg
        betas = pair(cfg.adam_betas, "--adam-betas")
        own = {"betas": betas, "eps": cfg.adam_eps, "tau": cfg.adamw2_tau}
        return {**super().optimizer_config, **own}
