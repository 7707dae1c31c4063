"""ReZero (Bachlechner et al. 2020, arXiv 2003.04887): x + α·f(x), α = 0 at first, no LayerNorm."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .residual import Branch, all_layers, remove_layer_norms, replace_norms


class GatedSum(nn.Module):
    """x + α·f(x), in the place of a layer's LayerNorm.

    Args:
        gate: α, [1].
    """

    def __init__(self, gate: nn.Parameter) -> None:
        super().__init__()
        self.gate = gate

    def forward(self, branch: Branch) -> Tensor:
        """The layer's next x, [time, batch, features]."""
        return branch.residual + self.gate * branch.output


def restructure(model: nn.Module) -> None:
    """Each layer becomes x + α·f(x) with one trained α = 0, which its branches share as in the
    authors' package; every LayerNorm goes, so the model starts as the identity.

    Raises:
        GradInitError: the model has no Transformer layers.
    """
    for layer in all_layers(model):
        layer.normalize_before = False  # so that the sum is handed to what replaces the norm
        _gate(layer)
    remove_layer_norms(model)


def _gate(layer: Any) -> None:
    shared = nn.Parameter(torch.zeros(1))
    replace_norms(layer, lambda norm: GatedSum(shared))
