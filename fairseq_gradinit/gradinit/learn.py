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
from .iteration import BEGINNING, After, Iteration, endless
from .multistep import multistep
from .paper import FirstStep, paper
from .scales import Moments, Scales, bounds, starting_scales
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


@dataclass(frozen=True)
class State:
    """A search between two iterations: all that the rest of it depends on besides its arguments.

    Attributes:
        after: the iterations done.
        drawn: batches taken from the supply, those of the start included.
        start, scales: α before the first iteration and now, [blocks] each, float64.
        moments: Adam's, by the kind of step.
        seconds: spent so far.
    """

    after: After
    drawn: int
    start: Tensor
    scales: Tensor
    moments: dict[str, Moments]
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

    A search that was cut short goes on from its `state`, to the same bits: give the same model
    with its initial weights, the same settings, and batches from the first that was not drawn.

    Args:
        state: of the search to go on with.
    """

    learned: LearnedScales

    def __init__(
        self,
        model: nn.Module,
        loss_fn: LossFn,
        batches: Iterable[Any],
        settings: Settings,
        make_optimizer: MakeOptimizer | None = None,
        state: State | None = None,
    ) -> None:
        self.model, self.loss_fn, self.settings = model, loss_fn, settings
        self.make_optimizer = make_optimizer or default_optimizer(settings)
        self._resumed = state
        self._after = state.after if state else BEGINNING
        self._drawn = state.drawn if state else 0
        self._supply = self._counted(endless(batches))

    def __enter__(self) -> Search:
        self._started = time.monotonic() - (self._resumed.seconds if self._resumed else 0.0)
        with contextlib.ExitStack() as stack:
            stack.enter_context(borrowed(self.model))
            self._blocks = blocks = Blocks(self.model)
            self._norms_before = blocks.norms()
            try:
                self._start = self._resumed.start if self._resumed else self._found_start(blocks)
            except BaseException:
                blocks.write(torch.ones(len(blocks)))
                raise
            limits = bounds(blocks, self._start, self.settings)
            self._scales = Scales(self._start, *limits, self.settings)
            if self._resumed:
                self._scales.values = self._resumed.scales
                self._scales.moments = dict(self._resumed.moments)
            blocks.write(self._scales.values)
            self._borrowed = stack.pop_all()
        return self

    def __len__(self) -> int:
        """The iterations, if nobody stops it, those done before included."""
        return self.settings.iters

    @property
    def norms_before(self) -> dict[str, float]:
        """‖θ⁰‖₂ by block."""
        names = (block.name for block in self._blocks.blocks)
        return dict(zip(names, self._norms_before))

    @property
    def done(self) -> int:
        """Iterations done, before a state was taken too."""
        return self._after.done

    @property
    def state(self) -> State:
        """Where the search is, between two iterations."""
        scales, seconds = self._scales, time.monotonic() - self._started
        moments = dict(scales.moments)
        return State(self._after, self._drawn, self._start, scales.values, moments, seconds)

    def __iter__(self) -> Iterator[Iteration]:
        algorithm = paper if self.settings.preset == "paper" else multistep
        for iteration in algorithm(
            self._blocks,
            self._scales,
            self.loss_fn,
            self._supply,
            self.settings,
            self.make_optimizer,
            self._after,
        ):
            self._after = After(iteration.iteration + 1, iteration.step)
            yield iteration

    def _counted(self, supply: Iterator[Any]) -> Iterator[Any]:
        for batch in supply:
            self._drawn += 1
            yield batch

    def _found_start(self, blocks: Blocks) -> Tensor:
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
            params, lr=settings.eta, betas=(0.9, 0.98), weight_decay=decay, fused=True
        )
    return lambda params: torch.optim.SGD(params, lr=settings.eta, momentum=0.9, weight_decay=decay)
