"""A trial of the first updates: will training go well from here at this learning rate?

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
from torch import nn

from .blocks import Blocks
from .borrowed import borrowed
from .errors import GradInitError
from .gradient import LossFn, MakeOptimizer, Steps
from .settings import Settings

COLLAPSED = 1e-3  # a token spread below it hardly ever comes back
LAST = 10  # steps whose mean loss is compared with the first
Measure = Callable[[Any], "float | None"]


@dataclass(frozen=True)
class Trial:
    """What came of some updates at one learning rate.

    Attributes:
        learning_rate: η.
        first_loss, last_loss: nats per token at the first step, and the mean of the last 10.
        token_spread: ρ at the end, see `measures`; None where nothing could be measured.
    """

    learning_rate: float
    first_loss: float
    last_loss: float
    token_spread: float | None

    @property
    def trains(self) -> bool:
        """Predicted to train: the loss fell and the tokens can still be told apart."""
        fell = math.isfinite(self.last_loss) and self.last_loss < self.first_loss
        return fell and (self.token_spread is None or self.token_spread >= COLLAPSED)


def try_updates(
    model: nn.Module,
    loss_fn: LossFn,
    batches: Iterable[Any],
    settings: Settings,
    make_optimizer: MakeOptimizer,
    measure: Measure = lambda batch: None,
    learning_rate: float | None = None,
) -> Trial:
    """Takes `settings.trial` updates without dropout, then puts the model back as it was.

    Args:
        model, loss_fn, make_optimizer: as for `learn_scales`.
        batches: one is drawn per update.
        measure: the token spread on a batch, at the parameters in force.
        learning_rate: η of the updates; by default that of the settings.

    Raises:
        GradInitError: the batches ran out.
    """
    eta = settings.eta if learning_rate is None else learning_rate
    losses: list[float] = []
    with borrowed(model):
        blocks = Blocks(model)
        steps = Steps(blocks, make_optimizer, settings.clip_norm, eta)
        spread = None
        try:
            for batch in itertools.islice(batches, settings.trial):
                loss = loss_fn(batch)
                losses.append(float(loss.detach()))
                if not math.isfinite(losses[-1]):
                    break
                gradient = torch.autograd.grad(loss, blocks.parameters, allow_unused=True)
                steps.step(gradient)
            if not losses:
                raise GradInitError("`trial`: there is no batch; give more data")
            with torch.no_grad():
                spread = measure(batch)
        finally:
            blocks.write(torch.ones(len(blocks)))
    return Trial(eta, losses[0], fmean(losses[-LAST:]), spread)


def try_downwards(
    try_at: Callable[[float], Trial], learning_rate: float, orders: int, halvings: int = 4
) -> list[Trial]:
    """Trials at η, η/√2, η/2, … until one rate is predicted to train, or η has been halved
    `halvings` times.

    A rate is when `orders` trials of it are, each on batches of its own; the first that goes
    astray is the last of its rate. Near the highest rate that trains the order of the batches
    decides.
    """
    trials = []
    for halving in range(2 * halvings + 1):
        for _ in range(orders):
            trials.append(try_at(learning_rate / math.sqrt(2) ** halving))
            if not trials[-1].trains:
                break
        else:
            break
    return trials
