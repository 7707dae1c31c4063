"""progress.json: where GradInit's own search is, so that one cut short goes on, to the same bits.

Kept every few iterations and when the process is told to stop; gone when scales.json is there.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Literal

import torch
from msgspec import Meta, Struct
from torch import Tensor

from .files import FileError, read_json, write_json
from .gradinit.iteration import LOWER_LOSS, LOWER_NORM, After
from .gradinit.learn import Search, State
from .gradinit.scales import Moments

logger = logging.getLogger(__name__)

SHARE = 0.01  # of the time, that keeping progress may take
SIGNALS = (signal.SIGTERM, signal.SIGINT)

Count = Annotated[int, Meta(ge=0)]
Step = Literal["lower_loss", "lower_norm"]
assert set(Step.__args__) == {LOWER_LOSS, LOWER_NORM}  # type: ignore[attr-defined]


class MomentsRecord(Struct):
    """Adam's first and second moments of each scale, and its step count."""

    m: list[float]
    v: list[Annotated[float, Meta(ge=0)]]
    t: Annotated[int, Meta(ge=1)]


class ProgressRecord(Struct):
    """progress.json: `gradinit.learn.State`, and what must be the same to go on from it.

    norms: ‖θ_m⁰‖₂ by block.
    """

    format: Literal[1]
    config: dict[str, Any]
    made_from: dict[str, Any]
    norms: dict[str, Annotated[float, Meta(ge=0)]]
    done: Count
    step: Step
    drawn: Count
    start: list[Annotated[float, Meta(ge=0)]]
    scales: list[Annotated[float, Meta(ge=0)]]
    moments: dict[Step, MomentsRecord]
    seconds: Annotated[float, Meta(ge=0)]


class Progress:
    """Keeps a search's state in `path`: so often that it takes 1 % of the time at most, and at
    SIGTERM and Ctrl-C, which then do what they would have done.

    about: config and made_from, as in scales.json.
    """

    def __init__(self, path: Path, search: Search, about: dict[str, Any]) -> None:
        self._path, self._search = path, search
        self._same = {"config": about["config"], "made_from": about["made_from"]}
        self._state: State | None = None
        self._due = 0.0
        self._writing = False
        self._pending: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Progress:
        # Only the main thread can take signals; elsewhere the last state kept has to do.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._told) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        self._give_signals_back()

    def iterated(self) -> None:
        """To be called after each iteration; writes if it is time. Raises: FileError."""
        self._state = self._search.state
        if time.monotonic() >= self._due:
            self._write()

    def _write(self) -> None:
        started = time.monotonic()
        self._writing = True
        try:
            if self._state is not None:
                write_json(self._path, self._record(self._state), sealed=True)
        finally:
            self._writing = False
        ended = time.monotonic()
        self._due = ended + (ended - started) / SHARE
        if self._pending is not None:
            self._hand_on(self._pending)

    def _record(self, state: State) -> ProgressRecord:
        moments: dict[Any, MomentsRecord] = {
            kind: MomentsRecord(m.tolist(), v.tolist(), t)
            for kind, (m, v, t) in state.moments.items()
        }
        return ProgressRecord(
            format=1,
            **self._same,
            norms=self._search.norms_before,
            done=state.after.done,
            step=state.after.step,  # type: ignore[arg-type]
            drawn=state.drawn,
            start=state.start.tolist(),
            scales=state.scales.tolist(),
            moments=moments,
            seconds=state.seconds,
        )

    def _told(self, number: int, _frame: FrameType | None) -> None:
        if self._writing:  # the same temporary file is open; it is handed on when that is done
            self._pending = number
            return
        with contextlib.suppress(FileError):  # what was kept before has to do
            self._write()
        self._hand_on(number)

    def _hand_on(self, number: int) -> None:
        self._pending = None
        self._give_signals_back()
        os.kill(os.getpid(), number)

    def _give_signals_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}


def read_progress(path: Path) -> ProgressRecord:
    """The content of a progress.json, consistent in itself. Raises: FileError."""
    record = read_json(path, ProgressRecord)
    counts = {len(record.norms), len(record.start), len(record.scales)}
    counts |= {len(column) for one in record.moments.values() for column in (one.m, one.v)}
    steps = sum(one.t for one in record.moments.values())
    if len(counts) > 1 or steps != record.done or record.drawn < record.done:
        raise FileError(f"{path}: not what it should be (its parts do not agree); remove it")
    return record


def state_of(record: ProgressRecord) -> State:
    """The state to go on from."""

    def vector(numbers: list[float]) -> Tensor:
        return torch.tensor(numbers, dtype=torch.float64)

    moments: dict[str, Moments] = {
        kind: (vector(one.m), vector(one.v), one.t) for kind, one in record.moments.items()
    }
    return State(
        After(record.done, record.step),
        record.drawn,
        vector(record.start),
        vector(record.scales),
        moments,
        record.seconds,
    )
