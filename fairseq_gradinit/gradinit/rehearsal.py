"""A rehearsal of the first updates: will training go well from here at this learning rate?

The loss alone does not tell: within the first updates a model that has stopped reading its
source lowers it as fast as any. What tells is whether representations still differ from token
to token, since rank collapse (Dong et al. 2021, arXiv 2103.03404) is hardly ever undone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from .blocks import Blocks
from .errors import GradInitError
from .isolation import borrowed
from .settings import Settings
from .walk import LossFn, MakeOptimizer, Walk

COLLAPSED = 1e-3  # a token-specific share below it hardly ever comes back
LAST = 10  # steps whose mean loss is compared with the first
Measure = Callable[[Any], "float | None"]


@dataclass(frozen=True)
class Rehearsal:
    """What came of some updates at one learning rate.

    Attributes:
        learning_rate: η.
        first_loss, last_loss: nats per token at the first step, and the mean of the last 10.
        token_share: see `token_share`, at the end; None where nothing could be measured.
    """

    learning_rate: float
    first_loss: float
    last_loss: float
    token_share: float | None

    @property
    def trains(self) -> bool:
        """Predicted to train: the loss fell and the tokens can still be told apart."""
        fell = math.isfinite(self.last_loss) and self.last_loss < self.first_loss
        return fell and (self.token_share is None or self.token_share >= COLLAPSED)


def token_share(states: Tensor) -> float:
    """‖X − 1x̄ᵀ‖²_F / ‖X‖²_F, the part of the representations that differs from token to token.

    The square of the relative residual of Dong et al. 2021, 1 for centred representations and 0
    where every token has the same.

    Args:
        states: X, [tokens, width].
    """
    states = states.double()
    mean = states.mean(0)
    return float((states - mean).pow(2).sum() / states.pow(2).sum())


def rehearse(
    model: nn.Module,
    loss_fn: LossFn,
    batches: Iterable[Any],
    settings: Settings,
    make_optimizer: MakeOptimizer,
    measure: Measure = lambda batch: None,
    learning_rate: float | None = None,
) -> Rehearsal:
    """Takes `settings.rehearsal` updates without dropout, then puts the model back as it was.

    Args:
        model, loss_fn, make_optimizer: as for `learn_scales`.
        batches: one is drawn per update.
        measure: the token-specific share on a batch, at the parameters in force.
        learning_rate: η of the updates; by default that of the settings.

    Raises:
        GradInitError: the batches ran out.
    """
    eta = settings.eta if learning_rate is None else learning_rate
    losses: list[float] = []
    with borrowed(model):
        blocks = Blocks(model)
        walk = Walk(blocks, make_optimizer, settings.clip_norm, eta)
        share = None
        try:
            for batch in itertools.islice(batches, settings.rehearsal):
                loss = loss_fn(batch)
                losses.append(float(loss.detach()))
                if not math.isfinite(losses[-1]):
                    break
                gradient = torch.autograd.grad(loss, blocks.parameters, allow_unused=True)
                walk.step(gradient)
            if not losses:
                raise GradInitError("--gradinit-rehearsal: there is no batch; give more data")
            with torch.no_grad():
                share = measure(batch)
        finally:
            blocks.write(torch.ones(len(blocks)))
    return Rehearsal(eta, losses[0], fmean(losses[-LAST:]), share)


def rehearse_downwards(
    rehearse_at: Callable[[float], Rehearsal], learning_rate: float, orders: int, halvings: int = 4
) -> list[Rehearsal]:
    """Rehearsals at η, η/√2, η/2, … until one rate is predicted to train, or η has been halved
    `halvings` times.

    A rate is when `orders` rehearsals of it are, each on batches of its own; the first that goes
    astray is the last of its rate. Near the highest rate that trains the order of the batches
    decides.
    """
    rehearsals = []
    for step in range(2 * halvings + 1):
        for _ in range(orders):
            rehearsals.append(rehearse_at(learning_rate / math.sqrt(2) ** step))
            if not rehearsals[-1].trains:
                break
        else:
            break
    return rehearsals
