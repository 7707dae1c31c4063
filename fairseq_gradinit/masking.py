"""The mixin that masks a model when it is built, and keeps it masked."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from torch import nn

from . import init
from .files import write_json
from .gradinit import GradInitError
from .one_line import one_line_errors
from .sparse import check_masked, kept_masked, mask_fraction, mask_like, remask, summary
from .sparse_config import check_masks, mask_flag, mask_seed, masks_wanted, narrowed

logger = logging.getLogger(__name__)


class MaskingHook:
    """Mixed into a fairseq task, before GradInit's hook; idle unless masks are asked for.

    Every process makes the same masks, from the seed. A checkpoint needs none of this: its masked
    weights are zero.
    """

    _masked: nn.Module | None = None

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> nn.Module:
        """As the task's own; a model built to be trained is masked. Raises: SystemExit."""
        flags, run = self._flags, self._run  # type: ignore[attr-defined]
        if from_checkpoint or not masks_wanted(flags):
            if not from_checkpoint:
                with one_line_errors():
                    _check_unmasked(flags, run)
            return super().build_model(cfg, from_checkpoint)  # type: ignore[misc]
        with one_line_errors():
            check_masks(flags, run)
            dense = None
            if flags.sparse_like_width is not None:
                # From the same random state as that of the dense run with this --seed, so that
                # the two have the same initial weights. Before the model itself, since the task
                # remembers the last it built.
                with torch.random.fork_rng(devices=()):
                    narrow = narrowed(cfg, flags.sparse_like_width)
                    build = super().build_model  # type: ignore[misc]
                    dense = init.partner(lambda config: build(config, True), flags, narrow)
            model = super().build_model(cfg, from_checkpoint)  # type: ignore[misc]
            seed = mask_seed(flags, run)
            if dense is None:
                mask_fraction(model, flags.sparsity, seed)
            else:
                mask_like(model, dense, seed)
            init.VARIANTS[str(flags.init)].settle(model)
            self._masked = model
            self._report(model, flags, run)
        return model

    def get_batch_iterator(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        """As the task's own; checks the masks once weights are loaded, and keeps them through
        GradInit. Raises: SystemExit."""
        if self._masked is None:
            return super().get_batch_iterator(dataset, *args, **kwargs)  # type: ignore[misc]
        flags, run = self._flags, self._run  # type: ignore[attr-defined]
        with one_line_errors():
            check_masked(self._masked, mask_flag(flags), mask_seed(flags, run))
        with kept_masked(self._masked):
            return super().get_batch_iterator(dataset, *args, **kwargs)  # type: ignore[misc]

    def optimizer_step(self, optimizer: Any, model: nn.Module, update_num: int) -> None:
        """As the task's own; masked weights are exactly zero after it."""
        super().optimizer_step(optimizer, model, update_num)  # type: ignore[misc]
        if self._masked is not None:
            remask(self._masked, optimizer)

    def _report(self, model: nn.Module, flags: Any, run: Any) -> None:
        made = summary(model)
        apart = ", ".join(f"{kind} {count:,}" for kind, count in made["unmasked"].items())
        logger.info(
            f"{mask_flag(flags)}: {made['active']:,} of {made['of']:,} weights are active in "
            f"{len(made['layers'])} layers; not masked: {apart}"
        )
        if run.distributed_training.distributed_rank == 0:
            asked = {
                "sparse_like_width": flags.sparse_like_width,
                "sparsity": flags.sparsity,
                "mask_seed": mask_seed(flags, run),
            }
            write_json(_record(run), asked | made)


def _record(run: Any) -> Path:
    return Path(run.checkpoint.save_dir) / "gradinit" / "sparse.json"


def _check_unmasked(flags: Any, run: Any) -> None:
    """Refuses to go on without the masks of before. Raises: GradInitError."""
    if flags.mask_seed is not None:
        raise GradInitError(
            f"--mask-seed {flags.mask_seed}: nothing is masked; give --sparse-like-width or "
            "--sparsity too"
        )
    folder = Path(run.checkpoint.save_dir)
    if _record(run).exists() and (folder / "checkpoint_last.pt").exists():
        raise GradInitError(
            f"--save-dir {folder}: the training there is masked (gradinit/sparse.json); give its "
            "--sparse-like-width or --sparsity again, or another --save-dir"
        )
