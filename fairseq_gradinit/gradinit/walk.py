"""Real optimizer steps away from θ = α∘θ⁰, which the caller writes back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .blocks import Blocks

LossFn = Callable[[Any], Tensor]
Gradient = list[Tensor | None]
MakeOptimizer = Callable[[list[nn.Parameter]], torch.optim.Optimizer]


class Walk:
    """A fresh optimizer that steps the model's parameters and never touches their `.grad`.

    Args:
        blocks: the model's parameters.
        make_optimizer: the optimizer over the given parameters.
        clip_norm: gradient clipping of the training run; 0: none.
        learning_rate: of the steps.
    """

    def __init__(
        self,
        blocks: Blocks,
        make_optimizer: MakeOptimizer,
        clip_norm: float,
        learning_rate: float,
    ) -> None:
        self._shadows = blocks.shadows()
        self.optimizer = make_optimizer(self._shadows)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self._clip_norm = clip_norm

    def step(self, gradient: Sequence[Tensor | None]) -> None:
        """θ ← θ − u, with the optimizer's own update u for `gradient` (one tensor a block)."""
        for shadow, g in zip(self._shadows, gradient):
            shadow.grad = g
        if self._clip_norm > 0:
            torch.nn.utils.clip_grad_norm_(self._shadows, self._clip_norm)
        self.optimizer.step()
