"""`--optimizer rotational`: AdamW whose rows turn by a set angle and keep their length.

Kosson et al., "Rotational Equilibrium: How Weight Decay Balances Learning Across Neural Networks",
ICML 2024 (arXiv 2305.17212). AdamW with weight decay λ ends up turning each neuron's weights by
√(2ηλ(1−β₁)/(1+β₁)) an update; this rotates by that from the first one, which is why it needs
λ > 0. Facts of the released code (epfml/REQ): the angle holds on average, by an exponential average
of the squared length of Adam's step.
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
from .adamw2 import adam_direction
from .wrapped import WrappedOptimizer, fraction, pair, positive

# No `from __future__ import annotations` here: fairseq reads the field types themselves.


@dataclass
class RotationalConfig(FairseqDataclass):
    """The flags of rotational."""

    adam_betas: str = field(default="(0.9, 0.999)", metadata={"help": "betas for AdamW"})
    adam_eps: float = field(default=1e-8, metadata={"help": "epsilon for AdamW"})
    weight_decay: float = field(
        default=0.0,
        metadata={
            "help": "lambda > 0, which with lr sets the angle; for gains and biases it is "
            "AdamW's (their IWSLT'14 scripts: 1e-4 to 0.4)"
        },
    )
    rotational_average: float = field(
        default=0.9,
        metadata={
            "help": "of the average of squared step lengths that the angle refers to; 0 for the "
            "same angle at every update (their code: 0.9)"
        },
    )
    rotational_center: bool = field(
        default=False,
        metadata={
            "help": "take the mean out of each row at the first update and out of every update "
            "(their code does; it changes the start)"
        },
    )
    lr: Any = II("optimization.lr")


class RotationalAdamW(torch.optim.Optimizer):
    """Rows of parameters with two dimensions or more are rotated; the others are AdamW's.

    For a row w of norm n at the first update and Adam's step d without its part along w:
    a ← γa + (1−γ)‖d‖², w ← w − θ·n·d/√(a/(1−γᵗ)), w ← n·w/‖w‖, θ = √(2ηλ(1−β₁)/(1+β₁)).
    A row that is zero at the first update has no direction and is AdamW's, undecayed.

    Args:
        params: parameters or groups.
        lr, betas, eps: as of torch.optim.AdamW.
        weight_decay: λ > 0.
        average: γ in [0, 1).
        center: rows without their mean.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        average: float = 0.9,
        center: bool = False,
    ) -> None:
        defaults = {
            **{"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay},
            **{"average": average, "center": center},
        }
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
            if p.dim() > 1:
                self._start_rows(p, group, state)
        direction = adam_direction(p.grad, state, group)  # type: ignore[arg-type]
        if p.dim() > 1:
            _rotate(p, direction, state, group)
        else:
            p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(direction, alpha=group["lr"])

    def _start_rows(self, p: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        rows = p.flatten(1)
        norm = rows.norm(dim=1, keepdim=True)
        if group["center"]:
            rows.sub_(rows.mean(dim=1, keepdim=True))
            rows.mul_(_ratio(norm, rows.norm(dim=1, keepdim=True)))
        state["norm"], state["length_sq"] = norm, torch.zeros_like(norm)


def _rotate(p: Tensor, direction: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    beta1, gamma = group["betas"][0], group["average"]
    angle = math.sqrt(2 * group["lr"] * group["weight_decay"] * (1 - beta1) / (1 + beta1))
    rows, d, norm = p.flatten(1), direction.flatten(1), state["norm"]
    if group["center"]:
        d = d - d.mean(dim=1, keepdim=True)
    along = (d * rows).sum(dim=1, keepdim=True)
    tangent = d - rows * _ratio(along, norm.square())
    length_sq = tangent.square().sum(dim=1, keepdim=True)
    state["length_sq"].mul_(gamma).add_(length_sq, alpha=1 - gamma)
    length = (state["length_sq"] / (1 - gamma ** state["step"])).sqrt()
    turned = rows - tangent * (angle * _ratio(norm, length))
    turned = turned * _ratio(norm, turned.norm(dim=1, keepdim=True))
    rows.copy_(torch.where(norm > 0, turned, rows - group["lr"] * d))


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """numerator/denominator, 0 where the denominator is."""
    return torch.where(denominator > 0, numerator / denominator, 0.0)


@register_optimizer("rotational", dataclass=RotationalConfig)
class FairseqRotational(WrappedOptimizer):
    """Rotational AdamW for fairseq."""

    title = "rotational"
    by_matrix = True

    def make(self, params: list[nn.Parameter]) -> torch.optim.Optimizer:
        cfg = self.cfg
        if not 0 < cfg.weight_decay < math.inf:
            raise GradInitError(
                f"--weight-decay: found {cfg.weight_decay}; --optimizer rotational turns weights "
                "by an angle that is 0 without it, give a number above 0, as 0.1"
            )
        positive(cfg.adam_eps, "--adam-eps")
        average = fraction(cfg.rotational_average, "--rotational-average")
        betas = pair(cfg.adam_betas, "--adam-betas")
        return RotationalAdamW(
            params,
            self.lr,
            betas,
            cfg.adam_eps,
            cfg.weight_decay,
            average,
            cfg.rotational_center,
        )

    @property
    def optimizer_config(self) -> dict[str, Any]:
        cfg = self.cfg
        own = {
            "betas": pair(cfg.adam_betas, "--adam-betas"),
            "eps": cfg.adam_eps,
            "average": cfg.rotational_average,
            "center": cfg.rotational_center,
        }
        return {**super().optimizer_config, **own}
