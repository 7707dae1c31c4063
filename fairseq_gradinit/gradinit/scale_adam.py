"""Projected Adam on the vector of scales."""

from __future__ import annotations

import torch
from torch import Tensor


class ScaleAdam:
    """Adam on α or log α, projected on [lower, upper] after each step.

    The paper takes two kinds of step, on the loss after the look-ahead and on the gradient
    norm. Each has its own moments and step count, as in the released Transformer code.

    Args:
        start: α at the first step, [blocks].
        lower, upper: bounds of α, [blocks] each.
        lr, betas: of Adam.
        log_space: step on log α, so that scales change by ratios.
    """

    def __init__(
        self,
        start: Tensor,
        lower: Tensor,
        upper: Tensor,
        lr: float,
        betas: tuple[float, float],
        log_space: bool,
        eps: float = 1e-8,
    ) -> None:
        self.lower, self.upper = lower, upper
        self.lr, self.betas, self.eps = lr, betas, eps
        self.log_space = log_space
        self.scales = start
        self._moments: dict[str, tuple[Tensor, Tensor, int]] = {}

    def step(self, gradient: Tensor, branch: str) -> None:
        """One step along −∂/∂α `gradient` [blocks] with the moments of `branch`."""
        gradient = gradient.to(self.scales)
        if self.log_space:
            gradient = gradient * self.scales  # ∂L/∂log α = α·∂L/∂α
        zeros = torch.zeros_like(gradient)
        m, v, t = self._moments.get(branch, (zeros, zeros, 0))
        beta1, beta2 = self.betas
        m = beta1 * m + (1 - beta1) * gradient
        v = beta2 * v + (1 - beta2) * gradient**2
        t += 1
        self._moments[branch] = m, v, t
        m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
        update = self.lr * m_hat / (v_hat.sqrt() + self.eps)
        moved = self.scales * torch.exp(-update) if self.log_space else self.scales - update
        self.scales = torch.minimum(torch.maximum(moved, self.lower), self.upper)
