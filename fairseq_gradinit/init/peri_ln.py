"""Peri-LN (Kim et al. 2025, arXiv 2502.02732): a LayerNorm before and after every branch."""

from __future__ import annotations

from typing import Any

from fairseq.modules import LayerNorm
from torch import Tensor, nn

from .residual import attentions, layers


def restructure(model: nn.Module) -> None:
    """x + LN(f(LN(x))), with a LayerNorm on the embeddings and one at each stack's end.

    The norms before a branch and at the end are fairseq's Pre-LN ones, whatever
    --*-normalize-before says; the one after is `output_layer_norm` of the module that the branch
    ends with, before dropout.

    Raises:
        GradInitError: the model has no Transformer layers.
    """
    for side, stack in layers(model).items():
        width = stack[0].embed_dim
        for layer in stack:
            layer.normalize_before = True
            for last in (*attentions(layer), layer.fc2):
                last.output_layer_norm = LayerNorm(width)
                last.register_forward_hook(_normalise)
        part = getattr(model, side)
        for name in ("layernorm_embedding", "layer_norm"):
            if getattr(part, name, None) is None:
                setattr(part, name, LayerNorm(width))


def _normalise(module: Any, inputs: Any, output: Any) -> Any:
    """A forward hook; it finds its norm through `module`, so that a deep copy uses its own."""
    if isinstance(output, Tensor):
        return module.output_layer_norm(output)
    attended, *others = output
    return (module.output_layer_norm(attended), *others)
