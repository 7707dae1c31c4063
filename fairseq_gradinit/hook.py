"""The mixin that runs GradInit at the one moment that is right.

fairseq's life cycle: build_model → build_criterion → Trainer (device, 16 bits) → checkpoint
loaded, if any → `get_batch_iterator` for the train split → optimizer and its fp32 masters →
updates. Earlier, a checkpoint would overwrite the scales; later, the stale masters would.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fairseq import utils
from fairseq.distributed.utils import is_master
from torch import nn

from . import init
from .batches import Supply, collated, cut_batches
from .before_training import give_scales
from .checkpointing import without_checkpointing
from .fresh import FreshModel, weights_loaded
from .gradinit import GradInitError
from .one_line import one_line_errors
from .optim.schedule_free import gradient_point
from .optim.wrapped import prepare
from .ranks import on_the_first_rank
from .reading import on_device
from .run import RunConfig, autocast, check_flags, per_token_loss, wanted, watch_interval
from .save_dir import claim
from .sharing import Leader
from .watch import Watch, some_samples

logger = logging.getLogger(__name__)


class GradInitHook:
    """Mixed into a fairseq task, before it in the bases; idle unless --gradinit is given."""

    _fresh: FreshModel | None = None
    _criterion: nn.Module | None = None
    _watch: Watch | None = None
    _init: str = init.DEFAULT

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> nn.Module:
        """As the task's own; remembers a model built to be trained. Raises: SystemExit."""
        with one_line_errors():
            if not from_checkpoint and wanted(self._flags):
                check_flags(self._flags, self._run)
            # Before the task's own, which takes the flags of other parts out of `cfg`.
            self._init = init.variant(self._flags, cfg, from_checkpoint)
            with weights_loaded() as loaded:
                model = super().build_model(cfg, from_checkpoint)  # type: ignore[misc]
            init.apply(model, self._init, self._flags, cfg, from_checkpoint)
            if not from_checkpoint:
                model._register_load_state_dict_pre_hook(_only_alike(model, self._init))
                prepare(self._run, model)
                if wanted(self._flags) and is_master(self._run.distributed_training):
                    claim(Path(self._run.checkpoint.save_dir), model)
        if not from_checkpoint and (wanted(self._flags) or init.VARIANTS[self._init].profiles):
            if loaded:
                logger.info("--gradinit: this model is built of trained weights; it is left alone")
            else:
                self._fresh = FreshModel(model)
        return model

    def build_criterion(self, cfg: Any, *args: Any, **kwargs: Any) -> nn.Module:
        """As the task's own; remembered for GradInit's loss."""
        self._criterion = super().build_criterion(cfg, *args, **kwargs)  # type: ignore[misc]
        return self._criterion

    def get_batch_iterator(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        """As the task's own; the first call for the train split runs GradInit before it.

        Raises:
            SystemExit: GradInit cannot run; the message is one line.
        """
        if self._fresh is not None and dataset is self._train_split():
            fresh, self._fresh = self._fresh, None
            if not fresh.release():
                logger.info("--gradinit: weights were loaded into this model; it is left alone")
            elif self._criterion is not None:
                with one_line_errors(), without_checkpointing(fresh.model):
                    index_lists = self._index_lists(dataset, *args, **kwargs)
                    on_the_first_rank(
                        fresh.model,
                        lambda leader: self._start(fresh.model, dataset, index_lists, leader),
                        per_token_loss(fresh.model, self._criterion, self._flags.gradinit_cpu_bf16),
                        lambda indices: collated(dataset, indices),
                    )
        return super().get_batch_iterator(dataset, *args, **kwargs)  # type: ignore[misc]

    def train_step(
        self,
        sample: Any,
        model: nn.Module,
        criterion: Any,
        optimizer: Any,
        update_num: int,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """As the task's own; the watch looks before."""
        if self._watch is None and (interval := watch_interval(self._flags)) > 0:
            self._watch = Watch(self._watched_samples(), interval, self._watch_path())
        if self._watch is not None:
            with one_line_errors():
                self._watch.before_update(update_num, model)
        with autocast(self._flags.gradinit_cpu_bf16), gradient_point(optimizer):
            return super().train_step(  # type: ignore[misc]
                sample, model, criterion, optimizer, update_num, *args, **kwargs
            )

    def valid_step(self, *args: Any, **kwargs: Any) -> Any:
        """As the task's own."""
        with autocast(self._flags.gradinit_cpu_bf16):
            return super().valid_step(*args, **kwargs)  # type: ignore[misc]

    @property
    def _flags(self) -> Any:
        # Tasks of fairseq's older kind keep their configuration as `args`.
        return getattr(self, "args", None) or self.cfg  # type: ignore[attr-defined]

    @property
    def _run(self) -> RunConfig:
        # The task's node hangs in the run's whole configuration (fairseq's merge_with_parent).
        return self._flags._get_root()

    def _start(
        self, model: nn.Module, dataset: Any, index_lists: Any, leader: Leader | None
    ) -> None:
        """What the model is given before its first update."""
        self._profile(model, dataset, index_lists)
        if wanted(self._flags):
            assert self._criterion is not None
            give_scales(
                model, self._criterion, dataset, index_lists, self._flags, self._run, leader
            )

    def _profile(self, model: nn.Module, dataset: Any, index_lists: Any) -> None:
        """Admin's ω from one batch, before GradInit scales what it left."""
        supply = Supply(dataset, index_lists, np.random.default_rng(self._run.common.seed))
        init.profile(model, self._init, on_device(model, next(supply.whole_batches())))

    def _watched_samples(self) -> Sequence[Any]:
        """Of the first valid split, or else of the train split: always the same."""
        dataset_config = self._run.dataset
        valid = self.datasets.get(dataset_config.valid_subset.split(",")[0])  # type: ignore[attr-defined]
        dataset = valid if valid is not None else self._train_split()
        most = dataset_config.max_tokens_valid or dataset_config.max_tokens
        # A sentence too long for a batch is not looked at.
        positions = utils.resolve_max_positions(self.max_positions(), most)  # type: ignore[attr-defined]
        iterator = super().get_batch_iterator(  # type: ignore[misc]
            dataset,
            max_tokens=most,
            max_sentences=dataset_config.batch_size_valid or dataset_config.batch_size,
            max_positions=positions,
            ignore_invalid_inputs=True,
            disable_iterator_cache=True,
        )
        return some_samples(dataset, iterator.frozen_batches)

    def _watch_path(self) -> Path | None:
        if not is_master(self._run.distributed_training):
            return None
        return Path(self._run.checkpoint.save_dir) / "gradinit" / "watch.jsonl"

    def _train_split(self) -> Any:
        return self.datasets.get(self._run.dataset.train_subset)  # type: ignore[attr-defined]

    def _index_lists(self, dataset: Any, *args: Any, **kwargs: Any) -> Sequence[Sequence[int]]:
        """Sentence indices per batch, from an iterator of GradInit's own."""
        max_tokens = self._flags.gradinit_max_tokens
        if max_tokens is not None:
            kwargs["max_tokens"] = max_tokens
        # fairseq caches the iterator by dataset whatever max_tokens is.
        kwargs["disable_iterator_cache"] = True
        make = super().get_batch_iterator  # type: ignore[misc]
        try:
            index_lists = cut_batches(make, dataset, *args, **kwargs)
        except AssertionError as error:
            raise GradInitError(
                f"--gradinit-max-tokens {max_tokens}: smaller than the longest sentence ({error}); "
                "give at least that many, or leave the flag out to use the run's --max-tokens"
            ) from error
        if not index_lists:
            # fairseq cuts no batch where all sentences are fewer than the multiple.
            given = kwargs.get("required_batch_size_multiple", 1)
            kwargs["required_batch_size_multiple"] = 1
            if cut_batches(make, dataset, *args, **kwargs):
                raise GradInitError(
                    f"--gradinit: the train split has {len(dataset)} sentence(s), of which fairseq "
                    f"makes no batch in multiples of {given}; give more data, or "
                    "--required-batch-size-multiple 1"
                )
            raise GradInitError(
                "--gradinit: the train split has no sentence short enough for --max-tokens "
                f"{kwargs.get('max_tokens')} and the model's positions; give longer ones, or data"
            )
        return index_lists


def _only_alike(model: nn.Module, name: str) -> Callable[..., None]:
    """A hook on what is loaded into `model`, since fairseq's own message names no flag."""

    def check(state: dict[str, Any], *_: Any) -> None:
        with one_line_errors():
            init.check_loaded(model, name, state.keys())

    return check
