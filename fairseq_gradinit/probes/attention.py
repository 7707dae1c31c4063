"""Attention entropy and token spread of every layer, seen in a forward pass of a fairseq model."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import torch
from fairseq.modules import MultiheadAttention
from torch import Tensor, nn

from ..gradinit.measures import token_spread

LAYER = re.compile(r"(?:^|\.)layers\.\d+$")
MASKED = -1e3  # what is added to a forbidden logit: −∞, or fairseq's −1e8 and −1e4


def attention_entropy(
    weights: Tensor, visible: Tensor, queries: Tensor | None = None
) -> float | None:
    """Mean over heads and queries of H(a)/ln n: 1 where a query attends to all keys alike, 0 where
    to one alone.

    H(a) = −Σ a·ln a; n is the number of keys that the query may see. Queries that see a single
    key, whose entropy is 0 whatever is learned, and padding are left out.

    Args:
        weights: a, [heads, batch, queries, keys], each row a distribution.
        visible: whether a query may see a key, bool [batch, queries, keys].
        queries: whether a query is a token and no padding, bool [batch, queries]; None: all are.

    Returns:
        None where no query is left.
    """
    keys = visible.sum(-1)
    kept = keys > 1 if queries is None else (keys > 1) & queries
    if not bool(kept.any()):
        return None
    entropy = -torch.special.xlogy(weights, weights).sum(-1).mean(0)
    return float((entropy[kept].double() / keys[kept].double().log()).mean())


class ForwardPass:
    """What was seen in one forward pass.

    Attributes:
        entropy: `attention_entropy` by the attention's name.
        spread: `token_spread` of a layer's output by the layer's name, padding left out.
    """

    def __init__(self) -> None:
        self.entropy: dict[str, float] = {}
        self.spread: dict[str, float] = {}


@contextlib.contextmanager
def watched(model: nn.Module, sample: dict[str, Any], padding: int | None) -> Iterator[ForwardPass]:
    """Fills a `ForwardPass` from the model's forward passes within; the last one counts.

    Attention runs in fairseq's own code instead of torch's fused one, which gives no weights by
    head and has no second derivative.

    Args:
        model: encoder and decoder layers are told by their names.
        sample: fairseq's, whose tokens tell what is padding.
        padding: the padding's index; None: there is none.
    """
    seen = ForwardPass()
    with contextlib.ExitStack() as undo:
        for name, module in model.named_modules():
            tokens = _tokens(name, sample, padding)
            if isinstance(module, MultiheadAttention) and not module.use_xformers:
                undo.enter_context(_watch_attention(module, name, tokens, seen))
            elif LAYER.search(name):
                undo.enter_context(_watch_layer(module, name, tokens, seen))
        yield seen


def _tokens(name: str, sample: dict[str, Any], padding: int | None) -> Tensor | None:
    """Where a module's input has tokens, bool [batch, length]; None where that is not known."""
    given = sample["net_input"]
    encoder = "src_tokens" if name.startswith("encoder.") else "prev_output_tokens"
    ids = given.get(encoder, given.get("src_tokens"))
    return None if ids is None or padding is None else ids.ne(padding)


@contextlib.contextmanager
def _watch_attention(
    module: MultiheadAttention, name: str, tokens: Tensor | None, seen: ForwardPass
) -> Iterator[None]:
    asked: dict[str, Any] = {}

    def before(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        asked.update(kwargs)
        return args, {**kwargs, "need_weights": True, "need_head_weights": True}

    def after(_: nn.Module, args: Any, output: Any) -> Any:
        attended, weights = output
        if weights is not None:
            weights = weights.detach()
            visible = _visible(weights, asked.get("key_padding_mask"), asked.get("attn_mask"))
            entropy = attention_entropy(weights, visible, _fitting(tokens, visible.shape[:2]))
            if entropy is not None:
                seen.entropy[name] = entropy
        return attended, None

    skipped, module.skip_embed_dim_check = module.skip_embed_dim_check, True
    handles = [
        module.register_forward_pre_hook(before, with_kwargs=True),
        module.register_forward_hook(after),
    ]
    try:
        yield
    finally:
        module.skip_embed_dim_check = skipped
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def _watch_layer(
    module: nn.Module, name: str, tokens: Tensor | None, seen: ForwardPass
) -> Iterator[None]:
    def after(_: nn.Module, args: Any, output: Any) -> None:
        states = output[0] if isinstance(output, tuple) else output  # [length, batch, width]
        if torch.is_tensor(states) and states.dim() == 3:
            states = states.detach().transpose(0, 1)
            kept = _fitting(tokens, states.shape[:2])
            seen.spread[name] = token_spread(states.flatten(0, 1) if kept is None else states[kept])

    handle = module.register_forward_hook(after)
    try:
        yield
    finally:
        handle.remove()


def _visible(weights: Tensor, padding: Tensor | None, mask: Tensor | None) -> Tensor:
    """Which keys each query may see, bool [batch, queries, keys]."""
    _, batch, queries, keys = weights.shape
    visible = torch.ones(batch, queries, keys, dtype=torch.bool, device=weights.device)
    if padding is not None:
        visible &= ~padding.bool()[:, None, :]
    if mask is not None:
        visible &= (~mask if mask.dtype == torch.bool else mask > MASKED)[None]
    return visible


def _fitting(tokens: Tensor | None, shape: torch.Size) -> Tensor | None:
    """`tokens`, unless the model has made another sequence of them."""
    return tokens if tokens is not None and tokens.shape == shape else None
