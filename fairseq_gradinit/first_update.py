"""What must be measured before the first update, and the one moment at which that can be done.

Optimizers and schedules are built knowing neither model nor data. One that needs them waits
(`wait_for_first_update`), and the task hands them over between the gradient of update 1 and its
step: there the optimizer and its fp32 masters exist, a checkpoint, if any, has been loaded, and
all micro-batches of the update are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from fairseq.optim import FairseqOptimizer
from torch import nn

from .gradinit import GradInitError
from .live_optimizer import Layout, innermost
from .run_loss import RunLoss, ranks

RunConfig = Any  # fairseq.dataclass.configs.FairseqConfig as an omegaconf node


@dataclass(frozen=True)
class AtFirstUpdate:
    """What is at hand.

    Attributes:
        run: the whole configuration.
        model: out of its wrappers.
        loss: loss and gradient at any weights.
        optimizer: as Trainer holds it.
        layout: which of the optimizer's tensors are which parameters.
        samples: the micro-batches of update 1, of this rank.
        supply: further ones.
    """

    run: RunConfig
    model: nn.Module
    loss: RunLoss
    optimizer: FairseqOptimizer
    layout: Layout
    samples: Sequence[Any]
    supply: Supply


class Waits(Protocol):
    """An optimizer or a schedule that needs `AtFirstUpdate`."""

    @property
    def pending(self) -> bool:
        """Is there anything to measure? Not after a resume."""

    def prepare(self, at: AtFirstUpdate) -> None:
        """Measures it. Raises: GradInitError."""


class Supply:
    """Batches of the train split apart from those that training draws, the same in every run of a
    seed.

    iterator: of the train split, as the task gave it to Trainer.
    """

    def __init__(self, iterator: Any, run: RunConfig) -> None:
        self._iterator = iterator
        self._micro_batches = run.optimization.update_freq[0]
        self._rng = np.random.default_rng(run.common.seed)

    def draw(self, batches: int, flag: str) -> list[Any]:
        """The micro-batches on this rank of `batches` batches as large as an update's.

        flag: named when there are too few.

        Raises:
            GradInitError: the train split has fewer batches.
        """
        rank, world = ranks()
        index_lists, dataset = self._iterator.frozen_batches, self._iterator.dataset
        needed = batches * self._micro_batches * world
        if needed > len(index_lists):
            raise GradInitError(
                f"{flag} {batches}: needs {needed} batches of --max-tokens size (those of all "
                f"ranks and of --update-freq), and the train split has {len(index_lists)}; "
                "give fewer"
            )
        chosen = self._rng.permutation(len(index_lists))[:needed][rank::world]
        if getattr(dataset, "supports_prefetch", False):
            dataset.prefetch([i for at in chosen for i in index_lists[at]])
        return [self._iterator.collate_fn([dataset[i] for i in index_lists[at]]) for at in chosen]


def wait_for_first_update(optimizer: FairseqOptimizer, part: Waits) -> None:
    """Has `part` prepared before the first step of `optimizer`; in the order of these calls."""
    vars(innermost(optimizer)).setdefault("waiting", []).append(part)


def waiting(optimizer: FairseqOptimizer) -> list[Waits]:
    """The parts that still have something to measure."""
    return [part for part in vars(innermost(optimizer)).get("waiting", ()) if part.pending]


class FirstUpdate:
    """Mixed into a fairseq task, before it in the bases; idle when no part waits."""

    _train_iterator: Any = None
    _first_samples: list[Any]
    _first_criterion: nn.Module

    def get_batch_iterator(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        """As the task's own; that of the train split is remembered."""
        iterator = super().get_batch_iterator(dataset, *args, **kwargs)  # type: ignore[misc]
        if dataset is self.datasets.get(self._whole_run.dataset.train_subset):  # type: ignore[attr-defined]
            self._train_iterator = iterator
        return iterator

    def train_step(
        self,
        sample: Any,
        model: nn.Module,
        criterion: nn.Module,
        optimizer: FairseqOptimizer,
        update_num: int,
        ignore_grad: bool = False,
        **kwargs: Any,
    ) -> Any:
        """As the task's own; the micro-batches of update 1 are remembered for those that wait."""
        if waiting(optimizer):
            # Trainer clears all gradients before the first micro-batch, also of a second attempt.
            if all(p.grad is None for p in model.parameters()):
                self._first_samples = []
            if not ignore_grad:  # Trainer's stand-in on a rank that has run out of batches
                self._first_samples.append(sample)
            self._first_criterion = criterion
        return super().train_step(  # type: ignore[misc]
            sample, model, criterion, optimizer, update_num, ignore_grad, **kwargs
        )

    def optimizer_step(
        self, optimizer: FairseqOptimizer, model: nn.Module, update_num: int
    ) -> None:
        """As the task's own, after those that wait are prepared. Raises: SystemExit."""
        if waiting(optimizer):
            try:
                self.prepare(optimizer, model, self._first_criterion, self._first_samples)
            except GradInitError as error:
                raise SystemExit(f"fairseq-train: error: {error}") from None
            self._first_samples = []
        super().optimizer_step(optimizer, model, update_num)  # type: ignore[misc]

    def prepare(
        self,
        optimizer: FairseqOptimizer,
        model: nn.Module,
        criterion: nn.Module,
        samples: Sequence[Any] | None,
    ) -> AtFirstUpdate:
        """Prepares every part of `optimizer` that waits.

        samples: the micro-batches of the first update on this rank; None: a batch is drawn.

        Raises:
            GradInitError: a part cannot be prepared, or not with this way of training.
        """
        run = self._whole_run
        if run.distributed_training.ddp_backend == "fully_sharded":
            raise GradInitError(
                "--ddp-backend fully_sharded: what is measured before the first update needs whole "
                "parameters and FSDP shards them; use --ddp-backend legacy_ddp"
            )
        loss = RunLoss(model, criterion)
        layout = Layout(optimizer, loss.parameters)
        supply = Supply(self._train_iterator, run)
        if samples is None:
            samples = supply.draw(1, "--update-freq")
        at = AtFirstUpdate(run, model, loss, optimizer, layout, samples, supply)
        for part in waiting(optimizer):
            part.prepare(at)
        return at

    @property
    def _whole_run(self) -> RunConfig:
        # Tasks of fairseq's older kind keep their configuration as `args`.
        return (getattr(self, "args", None) or self.cfg)._get_root()  # type: ignore[attr-defined]
