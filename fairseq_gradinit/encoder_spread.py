"""The token spread of what fairseq's encoder gives."""

from __future__ import annotations

from typing import Any

from fairseq import utils
from fairseq.models import FairseqEncoder
from torch import nn

from .gradinit.measures import token_spread


def encoder_token_spread(model: nn.Module, sample: Any) -> float | None:
    """`token_spread` of what fairseq's encoder gives for a sample, padding left out.

    None for a model without an encoder whose output is fairseq's usual dictionary.
    """
    encoder = getattr(model, "encoder", None)
    if not isinstance(encoder, FairseqEncoder):
        return None
    device = next(model.parameters()).device
    if device.type == "cuda":
        sample = utils.move_to_cuda(sample, device=device)
    given = encoder.forward_torchscript(sample["net_input"])
    if not isinstance(given, dict) or not given.get("encoder_out"):
        return None
    states = given["encoder_out"][0]  # [length, sentences, width]
    padding = given.get("encoder_padding_mask")
    if padding:
        kept = ~padding[0].bool()  # [sentences, length]
        return token_spread(states.transpose(0, 1)[kept])
    return token_spread(states.flatten(0, 1))
