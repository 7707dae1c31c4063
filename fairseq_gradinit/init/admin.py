"""Admin: residual weights ω measured on one batch (Liu et al. 2020, arXiv 2004.08249, §4)."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from fairseq.modules import LayerDropModuleList
from torch import nn

from ..gradinit.borrowed import borrowed
from .residual import ScaledResidualNorm, all_layers, replace_norms, scaled_residual_norms


def restructure(model: nn.Module) -> None:
    """LN(x + f(x)) becomes LN(ω ⊙ x + f(x)), ω a trained vector [features] of ones.

    Raises:
        GradInitError: the model has no Transformer layers.
    """
    for layer in all_layers(model):
        scale = torch.ones(layer.embed_dim)
        replace_norms(layer, partial(ScaledResidualNorm, scale=scale, trained=True))


@torch.no_grad()
def profile(model: nn.Module, sample: dict[str, Any]) -> dict[str, float]:
    """Sets every ω from one forward pass over a training batch.

    ω₁ = 1 and ω²_{i+1} = Var[ω_i ⊙ x_i] + Var[f_i(x_i)], which telescopes to
    Var[x₀] + Σ_{j≤i} Var[f_j]: the formula printed in the paper drops Var[x₀], the released code
    has it. As there, Var is the population variance of all elements of the batch together,
    padding included; the model is in train mode, so f_i is taken after dropout; each ω is in
    force before the next is measured; encoder and decoder are separate chains.

    The model comes back in the mode, dtype and random state that it had. With several processes
    all take the ω of the first.

    Args:
        model: restructured, with its initial weights.
        sample: a batch as fairseq collates it, on the model's device.

    Returns:
        ω by the name of its module.
    """
    variance: dict[str, float] = {}
    found = list(scaled_residual_norms(model))

    def measure(side: str) -> Any:
        def before(module: Any, inputs: tuple[Any, ...]) -> None:
            (branch,) = inputs
            scale = variance.get(side, 1.0) ** 0.5
            module.residual_scale.fill_(scale)
            scaled = scale * branch.residual
            variance[side] = float(scaled.var(unbiased=False) + branch.output.var(unbiased=False))

        return before

    hooks = [module.register_forward_pre_hook(measure(side)) for side, _, module in found]
    try:
        with borrowed(model):
            model.train()
            for module in model.modules():
                if isinstance(module, LayerDropModuleList):
                    module.training = False  # every layer is to be measured
            model(**sample["net_input"])
    finally:
        for hook in hooks:
            hook.remove()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        for _, _, module in found:
            torch.distributed.broadcast(module.residual_scale, 0)
    return {name: float(module.residual_scale[0]) for _, name, module in found}
