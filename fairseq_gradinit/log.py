"""What a run reads of GradInit: fairseq's own progress bar, so tqdm, TensorBoard or W&B as the user
chose for training, and the closing lines."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fairseq.logging import progress_bar

from .gradinit import Iteration, LearnedScales, Search, Settings
from .gradinit.blocks import BRANCH_OUTPUT, LAYER_NORM
from .gradinit.measures import Reading
from .gradinit.start import PASSES
from .gradinit.trial import UP, Trial, highest_that_trains
from .gradinit.unigram import UnigramStart

logger = logging.getLogger(__name__)

LINES = 10  # at least so many in a log that is not a terminal


def shown(search: Search, run: Any) -> Iterator[Iteration]:
    """The iterations of a search, each shown when it is done.

    run: the training run's configuration. No meter of training's own is touched.
    """
    if len(search) == 0:
        return
    bar = _bar(search, len(search) - search.done, "gradinit", run)
    for record in bar:
        stats = {
            "step": record.step,
            "loss": round(record.loss, 3),
            "lookahead_loss": round(record.lookahead_loss, 3),
            "gradient_norm": round(record.gradient_norm, 1),
        }
        bar.log(stats, tag="gradinit", step=record.iteration)
        yield record


def shown_trial(
    samples: Iterator[Any], updates: int, learning_rate: float, run: Any
) -> Iterator[Any]:
    """`updates` of the samples, each shown when it is drawn."""
    bar = _bar(list(range(updates)), updates, f"trial lr {learning_rate:.3g}", run)
    for _ in bar:
        yield next(samples)


def _bar(items: Any, count: int, prefix: str, run: Any) -> Any:
    common = run.common
    return progress_bar.progress_bar(
        items,
        log_format=common.log_format,
        log_interval=max(1, min(common.log_interval, count // LINES)),
        log_file=common.log_file,
        prefix=prefix,
        tensorboard_logdir=common.tensorboard_logdir,
        default_log_format="simple" if common.no_progress_bar else "tqdm",
        wandb_project=common.wandb_project,
        azureml_logging=common.azureml_logging,
    )


def tell_plan(settings: Settings, unigram: bool, warmup: float) -> None:
    """What GradInit will do, and about how long that takes; a hint at a warmup left over."""
    steps, passes = [], 0
    if unigram:
        steps.append("the word frequencies")
    if settings.start == "measured":
        steps.append(f"a start measured on {PASSES} batches")
        passes += 2 * PASSES
    if settings.iters > 0:
        steps.append(f"{settings.iters} iterations of learning")
        passes += settings.iters * (settings.lookahead + 1)
    if settings.trial > 0:
        steps.append(f"a trial of {settings.trial} updates at {1 + UP} learning rates")
        passes += settings.trial * (1 + UP)
    logger.info(f"GradInit: {', '.join(steps)}; about as long as {passes} updates of training")
    if "OMP_NUM_THREADS" not in os.environ and os.getloadavg()[0] > (os.cpu_count() or 1):
        logger.info(
            "GradInit: this machine is busy and OMP_NUM_THREADS is not set; threads that wait for "
            "each other make a pass up to ten times slower; export OMP_NUM_THREADS=1, or as many "
            "cores as are free"
        )
    if warmup > 1:
        logger.info(
            f"GradInit: --warmup-updates {warmup} is in the command too; it should not be needed"
        )


def tell_unigram(start: UnigramStart) -> None:
    """That the softmax layer knows the word frequencies, and what a model gets by with them."""
    logger.info(
        f"GradInit: word frequencies counted and given in {start.seconds:.1f} s; a model that "
        f"knows no more has a loss of {_nats(start.entropy)} a token"
    )


def tell_scales(learned: LearnedScales, settings: Settings, path: Path) -> None:
    """What was changed, and how much of it lies on a bound."""
    changed = [scale for scale in learned.scales if scale != 1]
    least, most = min(learned.scales), max(learned.scales)
    found = f"{len(changed)} of {len(learned.scales)} scales changed, {least:.3g} to {most:.3g}"
    if settings.iters > 0:
        bound = sum(learned.on_bound)
        found += f", {bound} of them on a bound after {learned.iterations} iterations"
    logger.info(f"GradInit: {found}, in {learned.seconds:.1f} s; kept in {path}")
    known = {block.kind for block in learned.blocks}
    if settings.start != "none" and not {BRANCH_OUTPUT, LAYER_NORM} <= known:
        logger.warning(
            "GradInit: found no residual branches between LayerNorms in this model; all its "
            "scales started at 1"
        )


def tell_trials(trials: Sequence[Trial], settings: Settings) -> None:
    """The verdict on the run's learning rate, and the highest rate to vouch for."""
    first, highest = trials[0], highest_that_trains(trials)
    found = (
        f"after {settings.trial} updates at learning rate {first.learning_rate:.3g} the loss is "
        f"{_nats(first.last_loss)}, from {_nats(first.first_loss)}"
    )
    if first.reading is not None:
        found += f"; {_told(first.reading)}"
    if first.trains and highest is not None:
        more = " or more" if all(trial.trains for trial in trials) else ""
        logger.info(f"GradInit: fit to train: {found}; vouched for up to {highest:.3g}{more}")
        return
    lowest = min(trial.learning_rate for trial in trials)
    remedy = (
        f"nor at any down to {lowest:.3g}; warm up"
        if highest is None
        else f"give --lr {highest:.3g}, the highest to vouch for, or warm up"
    )
    logger.warning(f"GradInit: not fit to train at this learning rate: {found}; {remedy}")


def _told(reading: Reading) -> str:
    told = []
    if reading.source_worth is not None:
        told.append(f"its source is worth {_nats(reading.source_worth)}")
    for name in ("encoder", "decoder"):
        spread = getattr(reading, f"{name}_spread")
        if spread is not None:
            told.append(f"token spread of the {name} {spread:.2g}")
    return ", ".join(told)


def _nats(loss: float) -> str:
    """A loss in nats, and in bits as fairseq logs it."""
    return f"{loss:.2f} nats ({loss / math.log(2):.2f} bits)"
