"""A part of a fairseq sample, for what need not be measured on all of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

PART = 8  # every eighth sentence


def part_of(sample: dict[str, Any], padding: int | None, part: int = PART) -> dict[str, Any]:
    """Every `part`-th sentence of a sample, its counts mended; at least one sentence.

    The whole sample where it does not say how many sentences it has.
    """
    sentences = sample.get("nsentences")
    if not isinstance(sentences, int) or sentences < 2:
        return sample

    def thin(tensor: Tensor) -> Tensor:
        by_sentence = tensor.dim() > 0 and tensor.size(0) == sentences
        return tensor[::part].contiguous() if by_sentence else tensor

    thinned = _mapped(sample, thin)
    thinned["nsentences"] = len(range(0, sentences, part))
    if torch.is_tensor(thinned.get("target")):
        target = thinned["target"]
        thinned["ntokens"] = int(target.numel() if padding is None else target.ne(padding).sum())
    return thinned


def in_32_bit(sample: dict[str, Any]) -> dict[str, Any]:
    """The sample with its 16-bit tensors in 32 bit; token ids stay what they are."""

    def widen(tensor: Tensor) -> Tensor:
        return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor

    return _mapped(sample, widen)


def _mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if torch.is_tensor(value):
        return change(value)
    if isinstance(value, dict):
        return {key: _mapped(item, change) for key, item in value.items()}
    return value
