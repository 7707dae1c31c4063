"""Residual weights ω folded into a plain Post-LN Transformer, on a checkpoint's state dict.

LN(ω ⊙ x + f(x)) is LN(x′ + f′(x′)) with x′ = ω ⊙ x: the gain and bias of the LayerNorm that made x
take × ω, and the columns of the matrices that read it take × 1/ω. That is exact but for rounding.
The first x of a stack is made by the embeddings: their LayerNorm takes ω where there is one; else
token and position embeddings do, for which tied embeddings are untied and sinusoidal positions
become learned ones, both as stock fairseq knows them. What a stack puts out is read by no
residual, and stays.
"""

from __future__ import annotations

from typing import Any

from fairseq.modules import SinusoidalPositionalEmbedding
from torch import Tensor

from ..gradinit import GradInitError
from .residual import NORMS, READERS, SIDES

PADDING = 1  # the index of <pad> in every fairseq dictionary
LEAST = 1e-4  # of an |ω| that is divided by
# What makes the first x in another way than token plus position embedding.
OTHER_EMBEDDINGS = (
    "adaptive_input",
    "character_embeddings",
    "merge_src_tgt_embed",
    "tie_adaptive_weights",
)
State = dict[str, Tensor]


def fold(state: State, config: Any) -> State:
    """The state dict of the plain Transformer that computes the same.

    Args:
        state: a model with `residual_scale`s; left as it is.
        config: the model's configuration; it is changed where embeddings are untied or positions
            become learned.

    Raises:
        GradInitError: an ω is about 0, or the embeddings are of a kind that cannot take one.
    """
    folded = dict(state)
    for side in SIDES:
        before = ""  # the norm that x comes from, none for a stack's first
        for norm in _norms(state, side):
            scale = folded.pop(f"{norm}.residual_scale")
            if scale.abs().min() < LEAST:
                raise GradInitError(
                    f"{norm}.residual_scale: has a value below {LEAST}, by which a plain model "
                    "would have to be divided; decode with --user-dir fairseq_gradinit"
                )
            if before:
                _times(folded, before, scale)
            elif bool((scale != 1).any()):
                _fold_into_embeddings(folded, config, side, scale)
            layer, _, name = norm.rpartition(".")
            for reader in READERS[name]:
                key = f"{layer}.{reader}.weight"
                folded[key] = folded[key] / scale
            before = norm
    return folded


def _norms(state: State, side: str) -> list[str]:
    """The names of a stack's LayerNorms that have an ω, in the order of the forward pass."""
    found = [
        key.removesuffix(".residual_scale")
        for key in state
        if key.startswith(f"{side}.layers.") and key.endswith(".residual_scale")
    ]

    def place(norm: str) -> tuple[int, int]:
        _, _, layer, name = norm.split(".")
        return int(layer), NORMS.index(name)

    return sorted(found, key=place)


def _times(state: State, norm: str, scale: Tensor) -> None:
    for tensor in ("weight", "bias"):
        key = f"{norm}.{tensor}"
        state[key] = state[key] * scale


def _fold_into_embeddings(state: State, config: Any, side: str, scale: Tensor) -> None:
    if f"{side}.layernorm_embedding.weight" in state:
        _times(state, f"{side}.layernorm_embedding", scale)
        return
    tokens, positions = f"{side}.embed_tokens.weight", f"{side}.embed_positions.weight"
    other = [name for name in OTHER_EMBEDDINGS if getattr(config, name, False)]
    if tokens not in state or f"{side}.quant_noise.weight" in state or other:
        raise GradInitError(
            f"{side}: the first residual weight cannot be folded into embeddings of this kind "
            f"({', '.join(other) or 'not a plain table'}); decode with --user-dir fairseq_gradinit"
        )
    projection = f"{side}.project_in_dim.weight"  # of tokens alone, before positions are added
    if projection in state:
        state[projection] = scale.reshape(-1, 1) * state[projection]
    else:
        config.share_all_embeddings = False
        config.share_decoder_input_output_embed = False
        state[tokens] = state[tokens] * scale
    if getattr(config, "no_token_positional_embeddings", False):
        return
    if positions not in state:
        setattr(config, f"{side}_learned_pos", True)
        width = state[f"{side}.layers.0.{NORMS[0]}.weight"].numel()
        sinusoids = SinusoidalPositionalEmbedding.get_embedding(
            _positions(config, side) + PADDING + 1, width, PADDING
        )
        state[positions] = sinusoids.to(state[tokens])
    state[positions] = state[positions] * scale


def _positions(config: Any, side: str) -> int:
    """How many positions a learned table of this side has."""
    if side == "encoder":
        return int(config.max_source_positions)
    return int(config.max_target_positions or config.tokens_per_sample)
