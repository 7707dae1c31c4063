"""Records to TensorBoard, W&B and Azure ML, wherever the run's own flags send its log."""

from __future__ import annotations

from typing import Any

from fairseq.logging import progress_bar

from .record import Record

TAG = "probes"


class Board:
    """Through fairseq's own progress bar, without a line of text for some hundred numbers.

    common: the run's configuration of that name.
    """

    def __init__(self, common: Any) -> None:
        self._bar = progress_bar.progress_bar(
            [],
            log_format="none",
            tensorboard_logdir=common.tensorboard_logdir,
            wandb_project=common.wandb_project,
            azureml_logging=common.azureml_logging,
        )

    def show(self, record: Record) -> None:
        """Every finite number of the record, under `probes/`."""
        self._bar.log(record.scalars(), tag=TAG, step=record.update)
