"""T-Fixup (Huang et al. 2020, "Improving Transformer Optimization Through Better
Initialization"): no LayerNorm, no warmup; the branches' matrices small by depth."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from . import xavier
from .residual import attentions, layers, remove_layer_norms


def restructure(model: nn.Module) -> None:
    """Takes every LayerNorm out of the model. Raises: GradInitError."""
    layers(model)
    remove_layer_norms(model)


def encoder_factor(n: int) -> float:
    """0.67·N^(−1/4), of an encoder of N layers."""
    return 0.67 * n**-0.25


def decoder_factor(m: int) -> float:
    """(9M)^(−1/4), of a decoder of M layers; also that of an embedding, with its side's depth."""
    return (9 * m) ** -0.25


@torch.no_grad()
def initialise(model: nn.Module) -> None:
    """Xavier first; then v, out_proj, fc1, fc2 × 0.67·N^(−1/4) in the encoder and × (9M)^(−1/4) in
    the decoder, the encoder's embedding × (9N)^(−1/4), the decoder's × (9M)^(−1/4); one that both
    share once, with N. Weights alone; q and k stay as they are, as in the released code.

    The paper's v is Xavier with gain 1, fairseq's has 1/√2 unless encoder and decoder differ in
    width, so it takes × √2 beside. v's bias becomes 0: the theory has none, and with torch's
    U(±1/√d), which no depth shrinks, the first update of out_proj grows with the number of layers.

    The paper trains with Adam at 5e-4, inverse square root from update 0, and dropout 0.5.

    Raises:
        GradInitError: the model has no Transformer layers.
    """
    xavier.initialise(model)
    scaled: set[Any] = set()
    for side, stack in layers(model).items():
        depth = len(stack)
        factor = encoder_factor(depth) if side == "encoder" else decoder_factor(depth)
        for layer in stack:
            for attention in attentions(layer):
                to_gain_1 = math.sqrt(2) if attention.qkv_same_dim else 1.0
                attention.v_proj.weight.mul_(factor * to_gain_1)
                attention.out_proj.weight.mul_(factor)
                if attention.v_proj.bias is not None:
                    attention.v_proj.bias.zero_()
            for linear in (layer.fc1, layer.fc2):
                linear.weight.mul_(factor)
        for embedding in set(getattr(model, side).embed_tokens.parameters()) - scaled:
            embedding.mul_(decoder_factor(depth))
            scaled.add(embedding)
