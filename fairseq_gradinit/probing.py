"""The mixin that lets the probes see each update of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fairseq.logging import metrics
from torch import nn

from .one_line import one_line_errors
from .probes.config import check_probes, probes_wanted
from .probes.probes import Probes
from .probes.record import Record, RecordLog, records_path
from .probes.show import Board

HEADLINES = ("egf_1", "egf_2", "gradient_sharpness", "top_eigenvalue", "preconditioned_eigenvalue")


class ProbingHook:
    """Mixed into a fairseq task, before it in the bases; idle without the probes' flags.

    On every process but the first it does nothing: gradients are the same on all of them.
    """

    _probes: Probes | None = None
    _headlines: dict[str, float | None]

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> nn.Module:
        """As the task's own; a model built to be trained is probed. Raises: SystemExit."""
        flags, run = self._flags, self._run  # type: ignore[attr-defined]
        wanted = not from_checkpoint and probes_wanted(flags)
        with one_line_errors():
            if wanted:
                check_probes(flags, run)
            model = super().build_model(cfg, from_checkpoint)  # type: ignore[misc]
            if wanted and run.distributed_training.distributed_rank == 0:
                check_probes(flags, run, model)
                self._probes = self._built_probes(model, flags, run)
        return model

    def train_step(
        self,
        sample: Any,
        model: nn.Module,
        criterion: nn.Module,
        optimizer: Any,
        update_num: int,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """As the task's own; the gradient it leaves is measured before it is clipped."""
        if self._probes is not None:
            self._probes.before_forward(sample, criterion, optimizer, update_num)
        return super().train_step(  # type: ignore[misc]
            sample, model, criterion, optimizer, update_num, *args, **kwargs
        )

    def optimizer_step(self, optimizer: Any, model: nn.Module, update_num: int) -> None:
        """As the task's own; what it does to the weights is measured. Raises: SystemExit."""
        if self._probes is None:
            super().optimizer_step(optimizer, model, update_num)  # type: ignore[misc]
            return
        with self._probes.around_step(optimizer):
            super().optimizer_step(optimizer, model, update_num)  # type: ignore[misc]

    def _built_probes(self, model: nn.Module, flags: Any, run: Any) -> Probes:
        log = RecordLog(records_path(Path(run.checkpoint.save_dir)))
        board = Board(run.common)
        self._headlines = {}

        def write(record: Record) -> None:
            with one_line_errors():
                log.write(record)
            board.show(record)
            self._log(record)

        return Probes(model, flags.gradient_flow_interval, flags.sharpness_interval, write)

    def _log(self, record: Record) -> None:
        """The headlines to fairseq's own log, where they stay until the next probe.

        Derived meters: a plain one would be emptied at each line of the log and print None.
        """
        for name in HEADLINES:
            value = getattr(record, name)
            if value is not None:
                self._headlines[name] = float(f"{value:.4g}")
                metrics.log_derived(name, lambda _, name=name: self._headlines[name], priority=410)
