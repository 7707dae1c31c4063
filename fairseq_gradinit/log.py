"""What a run reads of GradInit: fairseq's own progress bar, so tqdm, TensorBoard or W&B as the user
chose for training, and the closing lines."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fairseq.logging import progress_bar

from .gradinit import Iteration, LearnedScales, Search, Settings
from .gradinit.blocks import BRANCH_OUTPUT, LAYER_NORM
from .gradinit.trial import Trial

logger = logging.getLogger(__name__)

LINES = 10  # at least so many in a log that is not a terminal


def shown(search: Search, run: Any) -> Iterator[Iteration]:
    """The iterations of a search, each shown when it is done.

    run: the training run's configuration. No meter of training's own is touched.
    """
    common = run.common
    bar = progress_bar.progress_bar(
        search,
        log_format=common.log_format,
        log_interval=max(1, min(common.log_interval, len(search) // LINES)),
        log_file=common.log_file,
        prefix="gradinit",
        tensorboard_logdir=common.tensorboard_logdir,
        default_log_format="simple" if common.no_progress_bar else "tqdm",
        wandb_project=common.wandb_project,
        azureml_logging=common.azureml_logging,
    )
    for record in bar:
        stats = {
            "step": record.step,
            "loss": round(record.loss, 3),
            "lookahead_loss": round(record.lookahead_loss, 3),
            "gradient_norm": round(record.gradient_norm, 1),
        }
        bar.log(stats, tag="gradinit", step=record.iteration)
        yield record


def tell_learned(learned: LearnedScales, settings: Settings, path: Path) -> None:
    """How the search ended, and a warning where it had nowhere to start from."""
    logger.info(
        f"GradInit: {learned.iterations} iterations in {learned.seconds:.1f} s (stopped: "
        f"{learned.stop_reason}); scales {min(learned.scales):.3g} to "
        f"{max(learned.scales):.3g} in {path}"
    )
    known = {block.kind for block in learned.blocks}
    if settings.preset != "paper" and not {BRANCH_OUTPUT, LAYER_NORM} <= known:
        logger.warning(
            "GradInit: found no residual branches between LayerNorms in this model; all its "
            f"scales started at 1 and stayed within a factor {settings.max_change:g}; "
            "a greater --gradinit-max-change lets them change more"
        )


def tell_trials(trials: list[Trial], settings: Settings) -> None:
    """What the trials at η came to; a warning with a remedy where one went astray."""
    at_eta = [trial for trial in trials if trial.learning_rate == settings.eta]
    decisive, last = at_eta[-1], trials[-1]
    found = (
        f"tried {settings.trial} updates at learning rate {decisive.learning_rate:g}, order "
        f"{len(at_eta)} of {settings.trial_orders}: loss {decisive.first_loss:.2f} to "
        f"{decisive.last_loss:.2f} nats"
    )
    if decisive.token_spread is not None:
        found += f", token spread of the encoder's output {decisive.token_spread:.1g}"
    if decisive.trains:
        logger.info(f"GradInit: {found}")
        return
    remedy = (
        f"give --lr {last.learning_rate:.2g}, the highest it would vouch for, or warm up"
        if last.trains
        else f"nor at any down to {last.learning_rate:.2g}; warm up"
    )
    logger.warning(
        f"GradInit: predicted not to train well at learning rate {settings.eta:g} ({found}); "
        f"{remedy}"
    )
