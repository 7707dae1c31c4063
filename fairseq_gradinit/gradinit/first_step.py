"""The paper's prescribed step θ ← θ − η·A(g), as an optimizer."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from .settings import Settings


class FirstStep(torch.optim.Optimizer):
    """The first step that Adam or SGD takes at learning rate η (Zhu et al. 2021, Algorithm 1).

    adam: A(g) = sign(g), since m̂/√v̂ = g/|g| at t = 1; decoupled weight decay η·λ·θ.
    sgd:  A(g) = g + λθ, optionally divided by its norm over all blocks; momentum is
    irrelevant at the first step.
    """

    def __init__(self, params: Iterable[nn.Parameter], settings: Settings) -> None:
        super().__init__(params, {"lr": settings.eta})
        self.settings = settings

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """θ ← θ − η·A(g), in place; a parameter without a gradient stays."""
        adam, decay = self.settings.algorithm == "adam", self.settings.weight_decay
        for group in self.param_groups:
            stepped = [p for p in group["params"] if p.grad is not None]
            direction = [(p.grad.sign() if adam else p.grad) + decay * p for p in stepped]
            eta = group["lr"]
            if not adam and self.settings.normalize_gradient:
                norm = torch.stack([a.norm() for a in direction]).norm()
                direction = [a / norm for a in direction]
            for p, a in zip(stepped, direction):
                p.sub_(a, alpha=eta)
