"""Will the run train with the scales in force? Rehearsed, said in the log, kept in the record."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from fairseq import utils
from fairseq.models import FairseqEncoder
from torch import nn

from .gradinit import Settings
from .gradinit.rehearsal import Rehearsal, rehearse, rehearse_downwards, token_share
from .gradinit.walk import LossFn, MakeOptimizer

logger = logging.getLogger(__name__)


def predict(
    model: nn.Module,
    loss_fn: LossFn,
    samples: Iterator[Any],
    settings: Settings,
    make_optimizer: MakeOptimizer,
) -> dict[str, Any]:
    """Rehearses at η and, if that goes astray, at lower learning rates.

    Returns:
        JSON-ready: `trains`, `highest_learning_rate` that it vouches for (None: none of those
        tried), and the `rehearsals`, in which None stands for what is not finite.
    """

    def rehearse_at(learning_rate: float) -> Rehearsal:
        return rehearse(
            model,
            loss_fn,
            samples,
            settings,
            make_optimizer,
            lambda sample: encoder_token_share(model, sample),
            learning_rate,
        )

    rehearsals = rehearse_downwards(rehearse_at, settings.eta, settings.rehearsal_orders)
    at_eta = [rehearsal for rehearsal in rehearsals if rehearsal.learning_rate == settings.eta]
    decisive, last = at_eta[-1], rehearsals[-1]  # the one that went astray, if one did
    order = f"order {len(at_eta)} of {settings.rehearsal_orders}"
    found = _found(decisive, settings.rehearsal, order)
    if decisive.trains:
        logger.info(f"GradInit: {found}")
    else:
        remedy = (
            f"give --lr {last.learning_rate:.2g}, the highest it would vouch for, or warm up"
            if last.trains
            else f"nor at any down to {last.learning_rate:.2g}; warm up"
        )
        logger.warning(
            f"GradInit: predicted not to train well at learning rate {settings.eta:g} ({found}); "
            f"{remedy}"
        )
    return {
        "trains": decisive.trains,
        "highest_learning_rate": last.learning_rate if last.trains else None,
        "rehearsals": [
            {**_finite(asdict(rehearsal)), "trains": rehearsal.trains} for rehearsal in rehearsals
        ],
    }


def encoder_token_share(model: nn.Module, sample: Any) -> float | None:
    """`token_share` of what fairseq's encoder gives for a sample, padding left out.

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
        return token_share(states.transpose(0, 1)[kept])
    return token_share(states.flatten(0, 1))


def _finite(values: dict[str, float | None]) -> dict[str, float | None]:
    """JSON has no NaN and no infinity."""
    return {k: None if v is None or not math.isfinite(v) else v for k, v in values.items()}


def _found(rehearsal: Rehearsal, updates: int, order: str) -> str:
    text = (
        f"rehearsed {updates} updates at learning rate {rehearsal.learning_rate:g}, {order}: loss "
        f"{rehearsal.first_loss:.2f} to {rehearsal.last_loss:.2f} nats"
    )
    if rehearsal.token_share is not None:
        text += f", token-specific share of the encoder's output {rehearsal.token_share:.1g}"
    return text
