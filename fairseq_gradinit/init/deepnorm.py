"""DeepNorm (Wang et al. 2022, arXiv 2203.00555): LN(α·x + f(x)), branches initialised × β."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from .residual import (
    READERS,
    ScaledResidualNorm,
    attentions,
    layers,
    norm_names,
    refill,
    replace_norms,
)

PAPER, TORCHSCALE = "paper", "torchscale"


@dataclass(frozen=True)
class Constants:
    """alpha: weight of the residual. beta: gain of v, out_proj, fc1 and fc2."""

    alpha: float
    beta: float


def constants(depths: dict[str, int], encoder_beta: str = PAPER) -> dict[str, Constants]:
    """α and β by side (Wang et al. 2022, Figure 2).

    Encoder-decoder of N and M layers: α_enc = 0.81·(N⁴M)^(1/16), β_enc = 0.87·(N⁴M)^(−1/16),
    α_dec = (3M)^(1/4), β_dec = (12M)^(−1/4). One stack of M alone: (2M)^(1/4), (8M)^(−1/4).

    Args:
        depths: layers by side.
        encoder_beta: `paper`, or `torchscale`, which divides by (N⁴M)^(1/16)/1.15 and so has
            1.15 where the paper has 0.87.
    """
    if len(depths) == 1:
        return {side: Constants((2 * m) ** 0.25, (8 * m) ** -0.25) for side, m in depths.items()}
    n, m = depths["encoder"], depths["decoder"]
    size = (n**4 * m) ** (1 / 16)
    factor = 1.15 if encoder_beta == TORCHSCALE else 0.87
    return {
        "encoder": Constants(0.81 * size, factor / size),
        "decoder": Constants((3 * m) ** 0.25, (12 * m) ** -0.25),
    }


def constants_of(model: nn.Module, encoder_beta: str = PAPER) -> dict[str, Constants]:
    """`constants` for a model's depths. Raises: GradInitError."""
    return constants({side: len(stack) for side, stack in layers(model).items()}, encoder_beta)


def restructure(model: nn.Module) -> None:
    """LN(x + f(x)) becomes LN(α·x + f(x)), α fixed.

    Raises:
        GradInitError: the model has no Transformer layers.
    """
    of_side = constants_of(model)
    for side, stack in layers(model).items():
        alpha = torch.tensor([of_side[side].alpha])
        for layer in stack:
            replace_norms(layer, partial(ScaledResidualNorm, scale=alpha, trained=False))


def initialise(model: nn.Module, of_side: dict[str, Constants]) -> None:
    """Xavier normal: gain β for v, out_proj, fc1, fc2, gain 1 for q and k; biases of fc1, fc2 and
    out_proj 0 (the paper's pseudo-code; torchscale itself keeps torch's matrices and divides
    them).

    Raises:
        GradInitError: the model has no Transformer layers.
    """
    for side, stack in layers(model).items():
        by_beta = partial(nn.init.xavier_normal_, gain=of_side[side].beta)
        for layer in stack:
            for attention in attentions(layer):
                for linear in (attention.q_proj, attention.k_proj):
                    nn.init.xavier_normal_(linear.weight)
                by_beta(attention.v_proj.weight)
                refill(attention.out_proj, by_beta)
            for linear in (layer.fc1, layer.fc2):
                refill(linear, by_beta)


def as_scales(model: nn.Module) -> dict[str, float]:
    """DeepNorm as a point of GradInit's search space: one factor per tensor of a *plain* Post-LN
    model, by parameter name; those not named have 1.

    Given to a model with Xavier-normal matrices of gain 1, they make it the function that
    DeepNorm has at initialisation. α·x comes out of the norm before: its gain and bias × α,
    what reads it (q, k, v, fc1; of the encoder attention only q) × 1/α; then β. The first branch
    has no norm before it, and LN(α·x + f) = LN(x + f/α) but for LayerNorm's ε: out_proj × 1/α.

    Raises:
        GradInitError: the model has no Transformer layers.
    """
    of_side = constants_of(model)
    names = {module: name for name, module in model.named_modules()}
    scales: dict[str, float] = {}

    def times(module: nn.Module, factor: float, *tensors: str) -> None:
        for tensor in tensors or ("weight",):
            name = f"{names[module]}.{tensor}"
            scales[name] = scales.get(name, 1.0) * factor

    for side, stack in layers(model).items():
        alpha, beta = of_side[side].alpha, of_side[side].beta
        before = None  # the norm that x comes from
        for layer in stack:
            for attention in attentions(layer):
                times(attention.v_proj, beta)
                times(attention.out_proj, beta)
            times(layer.fc1, beta)
            times(layer.fc2, beta)
            for name in norm_names(layer):
                if before is None:
                    times(layer.self_attn.out_proj, 1 / alpha, "weight", "bias")
                else:
                    times(before, alpha, "weight", "bias")
                    for reader in READERS[name]:
                        times(layer.get_submodule(reader), 1 / alpha)
                before = getattr(layer, name)
    return scales
