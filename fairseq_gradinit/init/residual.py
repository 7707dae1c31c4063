"""What the variants of residual branches share: the layers of a fairseq Transformer, and how a
layer's sum and norm are replaced after it has been built.

A Post-LN layer computes norm(residual_connection(f(x), x)) for each branch. Here
`residual_connection` only pairs the two, and what stands in the norm's place adds them up, so
that it knows which branch of which layer it serves. Nothing counts calls, so activation
checkpointing, deep copies (EMA) and a batch that runs out of memory half-way are harmless.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from fairseq.modules import transformer_layer
from torch import Tensor, nn

from ..gradinit import GradInitError

LAYERS = (
    transformer_layer.TransformerEncoderLayerBase,
    transformer_layer.TransformerDecoderLayerBase,
)
SIDES = ("encoder", "decoder")
# The matrices of each branch that read its x. The encoder attention's k and v read the encoder's
# output, which no residual weight multiplies.
READERS = {
    "self_attn_layer_norm": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "encoder_attn_layer_norm": ("encoder_attn.q_proj",),
    "final_layer_norm": ("fc1",),
}
NORMS = tuple(READERS)  # in the order of the forward pass; a decoder-only layer lacks the second
ATTENTIONS = ("self_attn", "encoder_attn")


class Branch(NamedTuple):
    """One residual branch before the sum: f(x) after dropout, and x; [time, batch, features]."""

    output: Tensor
    residual: Tensor


class ScaledResidualNorm(nn.LayerNorm):
    """LN(ω ⊙ x + f(x)), in the place of a Post-LN layer's LayerNorm.

    ω is kept in the checkpoint under the name `residual_scale`, trained or not, so that a model
    without it refuses the checkpoint instead of decoding nonsense.

    Args:
        norm: the LayerNorm that it replaces.
        scale: ω, [features], or [1] for one number.
        trained: ω is a parameter; else a buffer.
    """

    residual_scale: Tensor

    def __init__(self, norm: nn.LayerNorm, scale: Tensor, trained: bool) -> None:
        super().__init__(norm.normalized_shape, norm.eps)
        if trained:
            self.residual_scale = nn.Parameter(scale.clone())
        else:
            self.register_buffer("residual_scale", scale.clone())

    def forward(self, branch: Branch) -> Tensor:  # type: ignore[override]
        """The layer's next x, [time, batch, features]."""
        return super().forward(self.residual_scale * branch.residual + branch.output)


def layers(model: nn.Module) -> dict[str, list[Any]]:
    """The Transformer layers of each side that has some, `encoder` before `decoder`.

    Raises:
        GradInitError: there are none.
    """
    found = {
        side: [m for m in getattr(model, side).modules() if isinstance(m, LAYERS)]
        for side in SIDES
        if getattr(model, side, None) is not None
    }
    found = {side: stack for side, stack in found.items() if stack}
    if not found:
        raise GradInitError(
            f"--init: {type(model).__name__} has no layers of fairseq's Transformer; leave the "
            "flag out for this --arch"
        )
    return found


def all_layers(model: nn.Module) -> list[Any]:
    """The layers of both sides. Raises: GradInitError."""
    return [layer for stack in layers(model).values() for layer in stack]


def norm_names(layer: Any) -> list[str]:
    """The attributes of a layer's LayerNorms, one per residual branch, in forward order."""
    return [name for name in NORMS if getattr(layer, name, None) is not None]


def attentions(layer: Any) -> list[Any]:
    """A layer's attention modules, in forward order."""
    return [a for name in ATTENTIONS if (a := getattr(layer, name, None)) is not None]


def branch_count(stack: list[Any]) -> int:
    """Residual branches in a stack of layers: 2N in an encoder, 3M in a decoder."""
    return sum(len(norm_names(layer)) for layer in stack)


def replace_norms(layer: Any, replacement: Callable[[Any], nn.Module]) -> None:
    """Puts replacement(norm), a module from `Branch` to tensor, in the place of each norm."""
    layer.residual_connection = Branch
    for name in norm_names(layer):
        setattr(layer, name, replacement(getattr(layer, name)))


def scaled_residual_norms(model: nn.Module) -> Iterator[tuple[str, str, ScaledResidualNorm]]:
    """(side, name, module) of each ω, in the order of the forward pass."""
    for side in SIDES:
        for name, module in model.named_modules():
            if isinstance(module, ScaledResidualNorm) and name.startswith(f"{side}."):
                yield side, name, module


def remove_layer_norms(model: nn.Module) -> None:
    """Replaces every LayerNorm of the model by the identity, those of the embeddings and of
    the stacks' ends too."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if hasattr(child, "normalized_shape"):
                setattr(module, name, nn.Identity())


@torch.no_grad()
def refill(linear: nn.Linear, fill: Callable[[Tensor], Any]) -> None:
    """A new weight by `fill`, one of torch.nn.init's, and a bias of zeros."""
    fill(linear.weight)
    if linear.bias is not None:
        linear.bias.zero_()
