"""The scales α: where they start, their bounds, and projected Adam on them."""

from __future__ import annotations

import torch
from torch import Tensor

from .blocks import BIAS, BRANCH_OUTPUT, EMBEDDING, LAYER_NORM, WEIGHT, Blocks
from .errors import GradInitError
from .settings import LARGEST_SCALE, Settings

MEASURED_BRANCHES = 30  # six layers a side, on which the default of `max_change` was chosen


def starting_scales(blocks: Blocks, settings: Settings) -> Tensor:
    """α before the first iteration where nothing is measured: for the start `fixed`, `branch_scale`
    for branch outputs, `encoder_scale` for the encoder's other matrices, 1 for the rest; 1 for all
    where the model has no branches between LayerNorms. [blocks], float64
    """
    scales = torch.ones(len(blocks), dtype=torch.float64)
    if blocks.has_branches and settings.start == "fixed":
        for index, block in enumerate(blocks.blocks):
            if block.kind == BRANCH_OUTPUT:
                scales[index] = settings.branch_scale
            elif block.kind == WEIGHT and block.in_encoder:
                scales[index] = settings.encoder_scale
    return scales


def greatest_change(blocks: Blocks, settings: Settings) -> float:
    """The factor within which a scale stays of its start: r, and r^(30/n) for n > 30 residual
    branches, where changes of one kind multiply from layer to layer.
    """
    branches = sum(block.kind == BRANCH_OUTPUT for block in blocks.blocks)
    return settings.max_change ** (MEASURED_BRANCHES / max(MEASURED_BRANCHES, branches))


def bounds(blocks: Blocks, start: Tensor, settings: Settings) -> tuple[Tensor, Tensor]:
    """Lower and upper bound of each scale that starts at `start`, two vectors [blocks].

    A bias may shrink to 0 where α is learned itself; its logarithm stops at `min_scale`. A scale
    that is 0 stays 0 from then on: its block's gradient has nothing to multiply.
    """
    change = greatest_change(blocks, settings)
    floors = {
        BIAS: settings.min_scale if settings.log_space else 0.0,
        EMBEDDING: max(settings.min_scale, settings.min_embedding_scale),
    }
    lower = [floors.get(b.kind, settings.min_scale) for b in blocks.blocks]
    upper = [
        settings.max_layernorm_scale if b.kind == LAYER_NORM else settings.max_scale
        for b in blocks.blocks
    ]
    return (
        torch.maximum(torch.tensor(lower).to(start), start / change),
        torch.minimum(torch.tensor(upper).to(start), start * change),
    )


Moments = tuple[Tensor, Tensor, int]  # Adam's m and v [blocks], and its step count


class Scales:
    """Adam on α or log α, projected on [lower, upper] after each step.

    The two kinds of step, on the loss after the look-ahead and on the gradient norm, have moments
    and step counts of their own, as in the released Transformer code.

    Args:
        start: α before the first step, [blocks].
        lower, upper: bounds of α, [blocks] each.
        settings: `lr`, `betas` of Adam; `log_space`: step on log α, so that scales change by
            ratios.
    """

    eps = 1e-8

    def __init__(self, start: Tensor, lower: Tensor, upper: Tensor, settings: Settings) -> None:
        self.values, self.lower, self.upper = start, lower, upper
        self.lr, self.betas = settings.lr, settings.betas
        self.log_space = settings.log_space
        self.moments: dict[str, Moments] = {}

    def step(self, gradient: Tensor, kind: str) -> None:
        """One step along −∂/∂α `gradient` [blocks] with the moments of this kind of step.

        Raises:
            GradInitError: a scale leaves all reason.
        """
        gradient = gradient.to(self.values)
        if self.log_space:
            gradient = gradient * self.values  # ∂L/∂log α = α·∂L/∂α
        zeros = torch.zeros_like(gradient)
        m, v, t = self.moments.get(kind, (zeros, zeros, 0))
        beta1, beta2 = self.betas
        m = beta1 * m + (1 - beta1) * gradient
        v = beta2 * v + (1 - beta2) * gradient**2
        t += 1
        self.moments[kind] = m, v, t
        m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
        update = self.lr * m_hat / (v_hat.sqrt() + self.eps)
        moved = self.values * torch.exp(-update) if self.log_space else self.values - update
        self.values = torch.minimum(torch.maximum(moved, self.lower), self.upper)
        if not bool((self.values <= LARGEST_SCALE).all()):  # NaN is not either
            raise GradInitError(
                f"a scale went to {float(self.values.max()):.3g}, where {LARGEST_SCALE:g} is the "
                "most; lower `lr`, or bound scales with `max_scale` or `max_change`"
            )

    def on_bound(self) -> list[bool]:
        """Whether each scale lies on one of its bounds."""
        return ((self.values == self.lower) | (self.values == self.upper)).tolist()
