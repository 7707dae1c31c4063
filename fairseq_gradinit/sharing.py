"""Passes over a batch in parts, shared among the processes of a run.

The first process runs GradInit. Where it needs a gradient of an update's batch, whose parts are
those that all processes would have in training, it sends its weights to the others; each takes its
parts, and the sum is what one process would have found over all of them. Only the first decides
anything, so no two can disagree, and only it needs the files.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import msgspec
import torch
from torch import Tensor, nn

from .gradinit import Blocks, GradInitError
from .gradinit.borrowed import borrowed
from .gradinit.gradient import Gradient, LossFn, Parts, derivative_along, gradient_of
from .network import Network

logger = logging.getLogger(__name__)

Collate = Callable[[Sequence[int]], Any]


class Request(msgspec.Struct):
    """What the first process asks of the others.

    parts: sentence indices of each part of the batch.
    shares: see `Parts`.
    along: of a derivative, which blocks v has.
    refusal: what ended the work; empty after a good end.
    """

    kind: Literal["gradient", "derivative", "end"]
    parts: list[list[int]] = []
    shares: list[float] = []
    along: list[bool] = []
    refusal: str = ""


class Leader:
    """The first process's side."""

    def __init__(self, model: nn.Module, network: Network) -> None:
        self._model, self._network = model, network

    def over(self, parts: Sequence[Sequence[int]], shares: Sequence[float]) -> Shared:
        """The others, for `Parts` that have these sentence indices."""
        return Shared(self._model, self._network, [list(map(int, p)) for p in parts], list(shares))

    def end(self, refusal: str = "") -> None:
        """Lets the others go, with what is refused."""
        self._network.told(msgspec.json.encode(Request("end", refusal=refusal)))


class Shared:
    """The other processes, for one batch: `gradinit.gradient.Others`."""

    def __init__(
        self, model: nn.Module, network: Network, parts: list[list[int]], shares: list[float]
    ) -> None:
        self._model, self._network, self._parts, self._shares = model, network, parts, shares
        self.own = slice(0, None, network.size)

    @contextlib.contextmanager
    def asked(
        self, parameters: Sequence[Tensor], along: Gradient | None = None
    ) -> Iterator[_Answer]:
        """See `Others`."""
        kind: Literal["gradient", "derivative"] = "gradient" if along is None else "derivative"
        known = [v is not None for v in along or []]
        request = Request(kind, self._parts, self._shares, known)
        self._network.told(msgspec.json.encode(request))
        self._network.broadcast(_weights(self._model))
        self._network.broadcast([v for v in along or [] if v is not None])
        answer = _Answer(self._network, parameters)
        try:
            yield answer
        except BaseException:
            if not answer.given:
                _agreed(self._network, len(parameters), None, "the first process has ended")
            raise


class _Answer:
    def __init__(self, network: Network, parameters: Sequence[Tensor]) -> None:
        self._network, self._parameters = network, parameters
        self.given = False

    def added(self, loss: Tensor, gradient: Gradient) -> tuple[Tensor, Gradient]:
        self.given = True
        used, failure = _agreed(self._network, len(gradient), gradient, "")
        if failure:
            raise GradInitError(failure)
        total = loss + self._network.summed(torch.zeros_like(loss, requires_grad=False))
        summed: Gradient = []
        for own, parameter, anywhere in zip(gradient, self._parameters, used):
            if not anywhere:
                summed.append(None)
                continue
            others = self._network.summed(torch.zeros_like(parameter, requires_grad=False))
            summed.append(others if own is None else own + others)
        return total, summed


def follow(model: nn.Module, loss_fn: LossFn, collate: Collate, network: Network) -> str:
    """Every other process's side: does what it is asked until the end; what was refused, if
    anything was.

    Args:
        collate: a sample for `loss_fn` of sentence indices.

    Raises:
        GradInitError: the first process has ended, or cannot be reached.
    """
    with borrowed(model):
        blocks = Blocks(model)
        while True:
            request = msgspec.json.decode(network.told(b""), type=Request)
            if request.kind == "end":
                return request.refusal
            network.broadcast(_weights(model))
            along: Gradient = [
                torch.empty_like(p, requires_grad=False) if known else None
                for p, known in zip(blocks.parameters, request.along)
            ]
            network.broadcast([v for v in along if v is not None])
            loss, gradient, failure = blocks.parameters[0].new_zeros(()), None, ""
            try:
                own = slice(network.rank, None, network.size)
                parts = Parts(list(map(collate, request.parts[own])), request.shares[own])
                if request.kind == "gradient":
                    loss, gradient = gradient_of(loss_fn, blocks, parts)
                else:
                    gradient = derivative_along(loss_fn, blocks, parts, along)
            except GradInitError as error:
                failure = str(error)
            except Exception as error:
                logger.error("the first process asked for a gradient", exc_info=True)
                failure = f"process {network.rank}: {type(error).__name__}: {error}"
            used, failure = _agreed(network, len(blocks), gradient, failure)
            if failure or gradient is None:
                continue  # the first process ends the work, and says why
            network.summed(loss)
            for own_part, parameter, anywhere in zip(gradient, blocks.parameters, used):
                if anywhere:
                    zero = torch.zeros_like(parameter, requires_grad=False)
                    network.summed(zero if own_part is None else own_part.detach().clone())


def _agreed(
    network: Network, blocks: int, gradient: Gradient | None, failure: str
) -> tuple[list[bool], str]:
    """Which blocks have a gradient in any process, and what has failed in one of them, if any."""
    own = [g is not None for g in gradient] if gradient is not None else [False] * blocks
    failed, *used = network.largest([network.rank + 1 if failure else 0, *map(int, own)])
    if failed:
        failure = network.told(failure.encode(), failed - 1).decode()
    return list(map(bool, used)), failure


def _weights(model: nn.Module) -> list[Tensor]:
    return [tensor.data for tensor in (*model.parameters(), *model.buffers())]
