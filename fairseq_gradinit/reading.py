"""Does a fairseq model read its source? What the source is worth to it, and token spread.

A translation model can lower its loss for a long time as a language model that looks at nothing
but its own words; the loss does not tell. What tells is how much it loses when every sentence is
given another one's source, and whether its states still differ from token to token.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from fairseq import utils
from fairseq.models import FairseqEncoder
from torch import Tensor, nn

from .gradinit.measures import Reading, token_spread


def reading(model: nn.Module, samples: Iterable[Any]) -> Reading:
    """Measures `model` on fairseq samples, in eval mode and without a trace of having done so.

    Two forward passes a sample, one for a language model. Draws no random number.
    """
    modes = [(module, module.training) for module in model.modules()]
    total = swapped_total = tokens = 0.0
    swaps = 0
    encoder: list[Tensor] = []
    decoder: list[Tensor] = []
    try:
        model.eval()
        with torch.no_grad():
            for sample in samples:
                sample = on_device(model, sample)
                nll, count = _nll(model, sample, encoder, decoder)
                total, tokens = total + nll, tokens + count
                if (other := swapped(sample)) is not None:
                    swapped_total += _nll(model, other)[0] - nll
                    swaps += count
    finally:
        for module, mode in modes:
            module.training = mode
    return Reading(
        total / tokens if tokens else math.nan,
        swapped_total / swaps if swaps else None,
        token_spread(torch.cat(encoder)) if encoder else None,
        token_spread(torch.cat(decoder)) if decoder else None,
    )


def swapped(sample: Any) -> Any | None:
    """The sample with each sentence's target moved on to the next sentence's source; None where
    there is no source, or but one sentence. Sources stay: some encoders want them in their order.
    """
    given = sample["net_input"]
    if "prev_output_tokens" not in given or len(given["src_tokens"]) < 2:
        return None
    moved = {**given, "prev_output_tokens": given["prev_output_tokens"].roll(1, 0)}
    return {**sample, "net_input": moved, "target": sample["target"].roll(1, 0)}


def encoder_spread(model: Any, sample: Any) -> float | None:
    """Token spread of what the encoder gives for a sample; None for a model without one."""
    encoder = getattr(model, "encoder", None)
    if not isinstance(encoder, FairseqEncoder):
        return None
    found = _encoder_states(encoder.forward_torchscript(on_device(model, sample)["net_input"]))
    return token_spread(torch.cat(found)) if found else None


def _nll(
    model: Any, sample: Any, encoder: list[Tensor] | None = None, decoder: Any = None
) -> tuple[float, int]:
    """Summed negative log-likelihood and number of target tokens; appends states of tokens."""
    states: dict[str, Any] = {}
    handles = []
    for name in ("encoder", "decoder"):
        part = getattr(model, name, None)
        if encoder is not None and isinstance(part, nn.Module):
            # Bound now: the loop moves on before the hook is called.
            handles.append(part.register_forward_hook(lambda *a, n=name: states.update({n: a[2]})))
    try:
        output = model(**sample["net_input"])
    finally:
        for handle in handles:
            handle.remove()
    target = sample["target"]
    kept = target.ne(_padding(model))
    log_p = model.get_normalized_probs(output, log_probs=True, sample=sample)
    log_p = log_p.view(*target.shape, -1).float()
    nll = -log_p.gather(-1, target.unsqueeze(-1)).squeeze(-1)[kept].sum()
    if encoder is not None:
        encoder.extend(_encoder_states(states.get("encoder")))
        decoder.extend(_decoder_states(states.get("decoder"), kept))
    return float(nll), int(kept.sum())


def _encoder_states(given: Any) -> list[Tensor]:
    """[tokens, width] of fairseq's usual encoder output, padding left out; none of any other."""
    if not isinstance(given, dict) or not given.get("encoder_out"):
        return []
    padding = given.get("encoder_padding_mask")
    if not isinstance(given["encoder_out"], list) or not isinstance(padding, list | None):
        return []  # fconv's, for instance
    states = given["encoder_out"][0].transpose(0, 1)  # [sentences, length, width]
    return [states[~padding[0].bool()] if padding else states.flatten(0, 1)]


def _decoder_states(given: Any, kept: Tensor) -> list[Tensor]:
    extra = given[1] if isinstance(given, tuple) and len(given) > 1 else None
    if not isinstance(extra, dict) or not extra.get("inner_states"):
        return []
    states = extra["inner_states"][-1].transpose(0, 1)  # [sentences, length, width]
    return [states[kept]] if states.shape[:2] == kept.shape else []


def _padding(model: nn.Module) -> int:
    dictionary = getattr(getattr(model, "decoder", model), "dictionary", None)
    return dictionary.pad() if dictionary is not None else 1


def on_device(model: nn.Module, sample: Any) -> Any:
    """The sample where the model is."""
    device = next(model.parameters()).device
    return utils.move_to_cuda(sample, device=device) if device.type == "cuda" else sample
