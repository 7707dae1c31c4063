"""The mixin that runs GradInit at the one moment that is right.

fairseq's life cycle: build_model → build_criterion → Trainer (device, 16 bits) → checkpoint
loaded, if any → `get_batch_iterator` for the train split → optimizer and its fp32 masters →
updates. Earlier, a checkpoint would overwrite the scales; later, the stale masters would.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn

from ..before_training import give_scales
from ..files import FileError
from ..gradinit import GradInitError
from ..run_settings import RunConfig, check_flags, wanted


class FreshModel:
    """A model just built, and whether weights have been loaded into it since.

    Only this tells apart all ways to resume: epoch and update counts are 1 and 0 too after
    --reset-optimizer and --finetune-from-model.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        loads: list[bool] = []
        # A plain closure, removed before training: an EMA deep-copies the model.
        self._handle = model._register_load_state_dict_pre_hook(lambda *_: loads.append(True))
        self._loads = loads

    def release(self) -> bool:
        """Takes the watch off the model; true if its weights are still the initial ones."""
        self._handle.remove()
        return not self._loads


class GradInitHook:
    """Mixed into a fairseq task, before it in the bases; idle unless --gradinit is given."""

    _fresh: FreshModel | None = None
    _criterion: nn.Module | None = None

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> nn.Module:
        """As the task's own; remembers a model built to be trained. Raises: SystemExit."""
        if from_checkpoint or not wanted(self._flags):
            return super().build_model(cfg, from_checkpoint)  # type: ignore[misc]
        with _one_line_errors():
            check_flags(self._flags, self._run)
        model = super().build_model(cfg, from_checkpoint)  # type: ignore[misc]
        self._fresh = FreshModel(model)
        return model

    def build_criterion(self, cfg: Any, *args: Any, **kwargs: Any) -> nn.Module:
        """As the task's own; remembered for GradInit's loss."""
        self._criterion = super().build_criterion(cfg, *args, **kwargs)  # type: ignore[misc]
        return self._criterion

    def load_dataset(self, split: str, *args: Any, **kwargs: Any) -> None:
        """As the task's own, but a missing train split is one line. Raises: SystemExit."""
        with _one_line_errors():
            try:
                super().load_dataset(split, *args, **kwargs)  # type: ignore[misc]
            except FileNotFoundError as error:
                if self._fresh is None:
                    raise
                raise GradInitError(
                    f"--gradinit: no {split} split ({error}); binarise one with "
                    f"fairseq-preprocess --{split}pref, or name it with --train-subset"
                ) from error

    def get_batch_iterator(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        """As the task's own; the first call for the train split runs GradInit before it.

        Raises:
            SystemExit: GradInit cannot run; the message is one line.
        """
        if self._fresh is not None and dataset is self._train_split():
            fresh, self._fresh = self._fresh, None
            if fresh.release() and self._criterion is not None:
                with _one_line_errors():
                    index_lists = self._index_lists(dataset, *args, **kwargs)
                    give_scales(
                        fresh.model, self._criterion, dataset, index_lists, self._flags, self._run
                    )
        return super().get_batch_iterator(dataset, *args, **kwargs)  # type: ignore[misc]

    @property
    def _flags(self) -> Any:
        # Tasks of fairseq's older kind keep their configuration as `args`.
        return getattr(self, "args", None) or self.cfg  # type: ignore[attr-defined]

    @property
    def _run(self) -> RunConfig:
        # The task's node hangs in the run's whole configuration (fairseq's merge_with_parent).
        return self._flags._get_root()

    def _train_split(self) -> Any:
        return self.datasets.get(self._run.dataset.train_subset)  # type: ignore[attr-defined]

    def _index_lists(self, dataset: Any, *args: Any, **kwargs: Any) -> Sequence[Sequence[int]]:
        """Sentence indices per batch, from an iterator of GradInit's own."""
        max_tokens = self._flags.gradinit_max_tokens
        if max_tokens is not None:
            kwargs["max_tokens"] = max_tokens
        # fairseq caches the iterator by dataset whatever max_tokens is.
        kwargs["disable_iterator_cache"] = True
        try:
            iterator = super().get_batch_iterator(dataset, *args, **kwargs)  # type: ignore[misc]
            index_lists = iterator.frozen_batches
        except AssertionError as error:
            raise GradInitError(
                f"--gradinit-max-tokens {max_tokens}: smaller than the longest sentence ({error}); "
                "give at least that many, or leave the flag out to use the run's --max-tokens"
            ) from error
        if not index_lists:
            raise GradInitError(
                "--gradinit: the train split has no sentence short enough for --max-tokens "
                f"{kwargs.get('max_tokens')}; raise it"
            )
        return index_lists


@contextlib.contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except (GradInitError, FileError) as error:
        raise SystemExit(f"fairseq-train: error: {error}") from None
