"""Tells the optimizer what each parameter is to the model.

fairseq builds an optimizer from a list of parameters that has no names. So each parameter is tagged
with its role when the model has just been built. The tag is the attribute `param_group`, because
that is the one which fairseq itself copies to the fp32 masters of 16-bit training
(`FP16Optimizer.build_fp32_params`); its own use, naming groups for `--optimizer composite`, is not
touched: only models for an optimizer that asks for roles are tagged.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fairseq.models.transformer import TransformerDecoderBase, TransformerEncoderBase
from fairseq.modules import MultiheadAttention, SinusoidalPositionalEmbedding
from fairseq.modules.transformer_layer import (
    TransformerDecoderLayerBase,
    TransformerEncoderLayerBase,
)
from torch import Tensor, nn

from ..gradinit import GradInitError
from .modular_tree import Outline

TAG = "param_group"


@dataclass(frozen=True)
class Use:
    """One thing a parameter does.

    module: where, by fairseq's name of the module ("encoder.layers.0.fc1"). kind: "matrix"
    (y = Wx), "embedding" (rows are looked up), "bias" (of that matrix) or "norm" (gain or bias of
    the LayerNorm of that sublayer). row_norm: for an embedding, the L2 norm of a stored row whose
    effective row has RMS 1: √d / embed_scale.
    """

    module: str
    kind: str
    row_norm: float = 0.0


@dataclass(frozen=True)
class Role:
    """What a parameter is: its name, its uses (several if tied, none if unknown), its model."""

    name: str
    uses: tuple[Use, ...]
    stacks: tuple[Outline, ...]

    @property
    def hidden_matrix(self) -> bool:
        """A matrix of a layer: neither an embedding nor the output."""
        return all(use.kind == "matrix" and ".layers." in use.module for use in self.uses) and bool(
            self.uses
        )


def tag(model: nn.Module) -> None:
    """Tags each parameter of a fairseq Transformer (any model; what is not known has no uses).

    Raises:
        GradInitError: `param_group` is taken.
    """
    uses: dict[int, list[Use]] = defaultdict(list)
    found = (getattr(model, name, None) for name in ("encoder", "decoder"))
    kinds = (TransformerEncoderBase, TransformerDecoderBase)
    stacks = tuple(stack for stack in found if isinstance(stack, kinds) and len(stack.layers))
    for stack in stacks:
        for parameter, use in _uses(stack):
            uses[id(parameter)].append(use)
    outlines = tuple(_outline(stack) for stack in stacks)
    for name, parameter in model.named_parameters():
        if hasattr(parameter, TAG):
            raise GradInitError(
                f"--optimizer: parameter {name} of this architecture has fairseq's param_group "
                f"{getattr(parameter, TAG)!r} already; use an optimizer of fairseq's own"
            )
        setattr(parameter, TAG, Role(name, tuple(uses[id(parameter)]), outlines))


def roles_of(parameters: Sequence[nn.Parameter], optimizer: str) -> list[Role]:
    """The tags of `parameters`, in order.

    Args:
        optimizer: its --optimizer name, for the message.

    Raises:
        GradInitError: a parameter without a tag.
    """
    roles = [getattr(parameter, TAG, None) for parameter in parameters]
    missing = sum(not isinstance(role, Role) for role in roles)
    if missing:
        raise GradInitError(
            f"--optimizer {optimizer}: {missing} of {len(roles)} parameters do not say what they "
            "are in the model; train with --task translation or language_modeling_gradinit and "
            f"this package as --user-dir, or use an optimizer other than {optimizer}"
        )
    return [role for role in roles if isinstance(role, Role)]


def _outline(stack: Any) -> Outline:
    layer = stack.layers[0]
    side = "encoder" if isinstance(stack, TransformerEncoderBase) else "decoder"
    options = getattr(stack.cfg, side)
    return Outline(
        name=side,
        layers=len(stack.layers),
        cross=getattr(layer, "encoder_attn", None) is not None,
        positions=_learned(stack.embed_positions),
        head_dim=layer.self_attn.head_dim,
        pre_ln=bool(options.normalize_before),
        activation=str(stack.cfg.activation_fn),
    )


def _learned(positions: nn.Module | None) -> bool:
    return positions is not None and not isinstance(positions, SinusoidalPositionalEmbedding)


def _uses(stack: Any) -> Iterator[tuple[Tensor, Use]]:
    """Each parameter of one stack with its use; a tied one comes several times."""
    name = "encoder" if isinstance(stack, TransformerEncoderBase) else "decoder"
    width = stack.layers[0].embed_dim
    if isinstance(stack.embed_tokens, nn.Embedding):
        use = Use(f"{name}.embed_tokens", "embedding", math.sqrt(width) / stack.embed_scale)
        yield stack.embed_tokens.weight, use
    if _learned(stack.embed_positions):
        use = Use(f"{name}.embed_positions", "embedding", math.sqrt(width))
        yield stack.embed_positions.weight, use
    if stack.layernorm_embedding is not None:
        yield from _vectors(stack.layernorm_embedding, f"{name}.embed_tokens")
    for number in range(len(stack.layers)):
        layer = stack.layers[number]  # iterating leaves layers out at random under LayerDrop
        if isinstance(layer, (TransformerEncoderLayerBase, TransformerDecoderLayerBase)):
            yield from _layer_uses(layer, f"{name}.layers.{number}")
    last = f"{name}.layers.{len(stack.layers) - 1}.fc2"
    if isinstance(stack.layer_norm, nn.LayerNorm):
        yield from _vectors(stack.layer_norm, last)
    output = getattr(stack, "output_projection", None)
    if isinstance(output, nn.Linear):
        yield from _linear(output, f"{name}.output_projection")


def _layer_uses(layer: Any, name: str) -> Iterator[tuple[Tensor, Use]]:
    for attention in ("self_attn", "encoder_attn"):
        module = getattr(layer, attention, None)
        if isinstance(module, MultiheadAttention):
            for projection in ("q_proj", "k_proj", "v_proj", "out_proj"):
                yield from _linear(getattr(module, projection), f"{name}.{attention}.{projection}")
            yield from _vectors(
                getattr(layer, f"{attention}_layer_norm"), f"{name}.{attention}.out_proj"
            )
    for linear in ("fc1", "fc2"):
        yield from _linear(getattr(layer, linear), f"{name}.{linear}")
    yield from _vectors(layer.final_layer_norm, f"{name}.fc2")


def _linear(linear: nn.Linear, name: str) -> Iterator[tuple[Tensor, Use]]:
    yield linear.weight, Use(name, "matrix")
    if linear.bias is not None:
        yield linear.bias, Use(name, "bias")


def _vectors(norm: nn.Module, name: str) -> Iterator[tuple[Tensor, Use]]:
    """A LayerNorm's gain and bias go with the last matrix of its sublayer."""
    for parameter in norm.parameters():
        yield parameter, Use(name, "norm")
