"""What can be read off a model at given weights: loss, what its source is worth, token spread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from .reading import encoder_spread, swapped
from .run_loss import RunLoss

Samples = Sequence[Any]


def source_worth(loss: RunLoss, weights: Sequence[Tensor], samples: Samples) -> float | None:
    """The loss with other sentences' sources minus the loss, nats per token; two passes.

    0 for a model that does not read its source, however low its loss. Each sentence gets the source
    of the next one of its micro-batch, which fairseq has made of about the same length. None where
    there is no source, or no micro-batch of several sentences.
    """
    usable = [sample for sample in samples if swapped(sample) is not None]
    if loss.anywhere(len(usable)) == 0:
        return None
    others = [swapped(sample) for sample in usable]
    return loss.loss(weights, others) - loss.loss(weights, usable)


def token_spread(loss: RunLoss, weights: Sequence[Tensor], samples: Samples) -> float | None:
    """ρ of the encoder's output, the part that differs from token to token; mean over samples.

    None for a model without an encoder.
    """
    return loss.mean(weights, _spread, samples)


def _spread(model: nn.Module, criterion: nn.Module, sample: Any) -> float | None:
    return encoder_spread(model, sample)
