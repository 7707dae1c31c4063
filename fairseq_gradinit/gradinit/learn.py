"""Borrow the model, run one of the two algorithms, stop, put back."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .blocks import Block, Blocks
from .borrowed import borrowed
from .gradient import LossFn, MakeOptimizer
from .iteration import Iteration, endless
from .multistep import multistep
from .paper import FirstStep, paper
from .scales import Scales, bounds, starting_scales
from .settings import Settings
from .start import measured_scales


@dataclass(frozen=True)
class LearnedScales:
    """The scales now in force in the model, in the order of `blocks`; norms are ‖θ_m‖₂.

    on_bound: whether a scale lies on a bound of the search.
    stop_reason: `iterations` (all were done) or `stopped` (whoever ran them stopped before).
    """

    blocks: list[Block]
    scales: list[float]
    norms_before: list[float]
    norms_after: list[float]
    on_bound: list[bool]
    iterations: int
    stop_reason: str
    seconds: float


def learn_scales(
    model: nn.Module,
    loss_fn: LossFn,
    batches: Iterable[Any],
    settings: Settings,
    make_optimizer: MakeOptimizer | None = None,
) -> LearnedScales:
    """Scales each parameter tensor of `model` so that training at η starts well.

    The model comes back in the mode, dtype and random state it had, with θ = α∘θ⁰; nothing is
    left in any `.grad`. After an error θ⁰ is back.

    Args:
        model: any module; its trainable floating-point parameters are scaled.
        loss_fn: a batch to its scalar loss per token, as in training, computed with `model`.
        batches: a DataLoader, a list or anything else that can be read more than once goes round
            when it ends; an iterator must hold K + 1 an iteration. For the paper's objective S and
            S̃ in turn.
        settings: see `Settings`.
        make_optimizer: the training optimizer over given parameters, at learning rate η, for
            the multi-step look-ahead. By default `torch.optim.AdamW` or `SGD` with momentum 0.9.

    Raises:
        GradInitError: a loss, gradient or scale is not finite (which block, which iteration);
            the batches ran out; the model has nothing to scale.
    """
    with Search(model, loss_fn, batches, settings, make_optimizer) as search:
        for _ in search:
            pass
    return search.learned


class Search:
    """`learn_scales` an iteration at a time, for whoever wants to watch, record or stop it:

        with Search(model, loss_fn, batches, settings) as search:
            for iteration in search:
                print(iteration)
        print(search.learned.scales)

    The model is borrowed until the block ends, and then as `learn_scales` leaves it; leaving the
    loop early stops the search.

    Entering the block finds where the scales start; args as for `learn_scales`, which also says
    what is raised.
    """

    learned: LearnedScales

    def __init__(
        self,
        model: nn.Module,
        loss_fn: LossFn,
        batches: Iterable[Any],
        settings: Settings,
        make_optimizer: MakeOptimizer | None = None,
    ) -> None:
        self.model, self.loss_fn, self.settings = model, loss_fn, settings
        self.make_optimizer = make_optimizer or default_optimizer(settings)
        self._supply = endless(batches)
        self.done = 0

    def __enter__(self) -> Search:
        self._started = time.monotonic()
        with contextlib.ExitStack() as stack:
            stack.enter_context(borrowed(self.model))
            self._blocks = blocks = Blocks(self.model)
            self._norms_before = blocks.norms()
            try:
                start = self._start(blocks)
            except BaseException:
                blocks.write(torch.ones(len(blocks)))
                raise
            self._scales = Scales(start, *bounds(blocks, start, self.settings), self.settings)
            blocks.write(start)
            self._borrowed = stack.pop_all()
        return self

    def __len__(self) -> int:
        """The iterations, if nobody stops it."""
        return self.settings.iters

    def __iter__(self) -> Iterator[Iteration]:
        algorithm = paper if self.settings.preset == "paper" else multistep
        for iteration in algorithm(
            self._blocks,
            self._scales,
            self.loss_fn,
            self._supply,
            self.settings,
            self.make_optimizer,
        ):
            self.done += 1
            yield iteration

    def _start(self, blocks: Blocks) -> Tensor:
        settings = self.settings
        if settings.start != "measured" or not blocks.has_branches:
            return starting_scales(blocks, settings)
        return measured_scales(
            self.model, blocks, self.loss_fn, self._supply, settings, self.make_optimizer
        )

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        with self._borrowed:
            blocks, scales = self._blocks, self._scales.values
            blocks.write(scales if error is None else torch.ones_like(scales))
            if error is None:
                self.learned = LearnedScales(
                    blocks.blocks,
                    scales.tolist(),
                    self._norms_before,
                    blocks.norms(),
                    self._scales.on_bound(),
                    self.done,
                    "iterations" if self.done >= self.settings.iters else "stopped",
                    time.monotonic() - self._started,
                )


def default_optimizer(settings: Settings) -> MakeOptimizer:
    """The paper's prescribed step, or a plain torch optimizer for the multi-step look-ahead."""
    if settings.preset == "paper":
        return lambda params: FirstStep(params, settings)
    decay = settings.weight_decay
    if settings.algorithm == "adam":
        return lambda params: torch.optim.AdamW(
            params, lr=settings.eta, betas=(0.9, 0.98), weight_decay=decay
        )
    return lambda params: torch.optim.SGD(params, lr=settings.eta, momentum=0.9, weight_decay=decay)
