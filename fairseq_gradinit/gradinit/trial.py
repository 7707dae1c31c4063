"""A trial of the first updates: will training go well from here at this learning rate?

The loss alone does not tell: within the first updates a model that has stopped reading its
source lowers it as fast as any. What tells is whether representations still differ from token
to token, since rank collapse (Dong et al. 2021, arXiv 2103.03404) is hardly ever undone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch
from torch import nn

from .blocks import Blocks
from .borrowed import borrowed
from .errors import GradInitError
from .gradient import LossFn, MakeOptimizer, Steps, gradient_of
from .measures import Reading
from .settings import Settings

LAST = 10  # steps whose mean loss is compared with the first
FACTOR = 2.0  # from one learning rate tried to the next
UP, DOWN = 1, 4  # how many more are tried above and below the run's

Measure = Callable[[], Reading | None]


@dataclass(frozen=True)
class Trial:
    """What came of some updates at one learning rate.

    Attributes:
        learning_rate: η.
        first_loss, last_loss: nats per token at the first step, and the mean of the last 10.
        reading: of the model at the end; None where nothing could be measured.
        before: the same of the model as it was.
    """

    learning_rate: float
    first_loss: float
    last_loss: float
    reading: Reading | None
    before: Reading | None = None

    @property
    def trains(self) -> bool:
        """Predicted to train: the loss fell and the tokens can still be told apart."""
        if not math.isfinite(self.last_loss):
            return False
        if self.reading is None or self.before is None:
            return self.last_loss < self.first_loss
        # On the same sentences: at a small learning rate the batches differ by more than it does.
        return self.reading.loss < self.before.loss and not self.reading.collapsed


def try_updates(
    model: nn.Module,
    loss_fn: LossFn,
    batches: Iterable[Any],
    settings: Settings,
    make_optimizer: MakeOptimizer,
    measure: Measure = lambda: None,
    learning_rate: float | None = None,
) -> Trial:
    """Takes `settings.trial` updates without dropout, then puts the model back as it was.

    Args:
        model, loss_fn, make_optimizer: as for `learn_scales`.
        batches: one is drawn per update.
        measure: reads the model at the parameters in force, before the updates and after.
        learning_rate: η of the updates; by default that of the settings.

    Raises:
        GradInitError: the batches ran out.
    """
    eta = settings.eta if learning_rate is None else learning_rate
    losses: list[float] = []
    with borrowed(model):
        blocks = Blocks(model)
        steps = Steps(blocks, make_optimizer, settings.clip_norm, eta)
        before = reading = None
        try:
            before = measure()
            for batch in itertools.islice(batches, settings.trial):
                loss, gradient = gradient_of(loss_fn, blocks, batch)
                losses.append(float(loss))
                if not math.isfinite(losses[-1]):
                    break
                steps.step(gradient)
            if not losses:
                raise GradInitError("`trial`: there is no batch; give more data")
            if math.isfinite(losses[-1]):
                reading = measure()
        finally:
            blocks.write(torch.ones(len(blocks)))
    return Trial(eta, losses[0], fmean(losses[-LAST:]), reading, before)


def try_rates(try_at: Callable[[float], Trial], learning_rate: float) -> Iterator[Trial]:
    """Trials at η, then at 2η, or, where that goes astray, at η/2, η/4, … until one does not.

    `UP` more above and `DOWN` below at most. The highest rate to vouch for is the last's that
    trains.
    """
    first = try_at(learning_rate)
    yield first
    factor, most = (FACTOR, UP) if first.trains else (1 / FACTOR, DOWN)
    for step in range(1, most + 1):
        trial = try_at(learning_rate * factor**step)
        yield trial
        if trial.trains != first.trains:
            return


def highest_that_trains(trials: Iterable[Trial]) -> float | None:
    """The highest learning rate of those tried that is predicted to train, if there is one."""
    return max((trial.learning_rate for trial in trials if trial.trains), default=None)
