"""Admin's closed form, which needs no profiling batch (package admin_torch 0.1.0)."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import nn

from .residual import ScaledResidualNorm, branch_count, layers, replace_norms


def omega(branches: int) -> float:
    """ω = √((n+1)/ln(n+1) − 1) for a stack of n residual branches: 2.02 at 12, 2.34 at 18.

    With equal Var[f] it makes the branches' shares of the sum, 1/(1 + ω²) each, add up to about
    ln n, so that the output's change grows as log n (admin_torch's `O(logn)`).
    """
    return math.sqrt((branches + 1) / math.log(branches + 1) - 1)


def restructure(model: nn.Module) -> None:
    """LN(x + f(x)) becomes LN(ω·x + f(x)), ω one fixed number per stack, as in the package.

    n is counted per stack: 2N in an encoder, 3M in a decoder, 2M in a language model.

    Raises:
        GradInitError: the model has no Transformer layers.
    """
    for stack in layers(model).values():
        scale = torch.tensor([omega(branch_count(stack))])
        for layer in stack:
            replace_norms(layer, partial(ScaledResidualNorm, scale=scale, trained=False))
