"""GradInit's iterations in fairseq's own progress bar, so in tqdm, TensorBoard or W&B as the
user chose for training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from fairseq.logging import progress_bar

from .gradinit import Iteration

LINES = 10  # at least so many in a log that is not a terminal


class Progress:
    """run: the training run's configuration; iters: the most iterations."""

    def __init__(self, run: Any, iters: int) -> None:
        self._common, self._iters = run.common, iters
        self._bar: Any = None

    def wrap(self, iterations: Iterable[int]) -> Iterator[int]:
        """The iterations, with progress shown meanwhile."""
        common = self._common
        self._bar = progress_bar.progress_bar(
            iterations,
            log_format=common.log_format,
            log_interval=max(1, min(common.log_interval, self._iters // LINES)),
            log_file=common.log_file,
            prefix="gradinit",
            tensorboard_logdir=common.tensorboard_logdir,
            default_log_format="simple" if common.no_progress_bar else "tqdm",
            wandb_project=common.wandb_project,
            azureml_logging=common.azureml_logging,
        )
        return iter(self._bar)

    def show(self, record: Iteration) -> None:
        """The newest iteration's numbers. No meter of training's own is touched."""
        stats = {
            "branch": record.branch,
            "loss": round(record.loss, 3),
            "lookahead_loss": round(record.lookahead_loss, 3),
            "gradient_norm": round(record.gradient_norm, 1),
        }
        self._bar.log(stats, tag="gradinit", step=record.iteration)
