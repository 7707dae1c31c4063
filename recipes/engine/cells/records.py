"""What is kept of a cell and of its data: typed, and checked when it is read back."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec


class Status(StrEnum):
    """Where a cell stands. The first four are results; of these all but DIVERGED train."""

    DONE = "done"
    UNDERTRAINED = "undertrained"
    BLIND = "not reading its source"
    DIVERGED = "diverged"
    FAILED = "failed"
    RUNNING = "running"
    MISSING = "missing"

    @property
    def is_result(self) -> bool:
        return self.trains or self is Status.DIVERGED

    @property
    def trains(self) -> bool:
        """Whether the loss is finite and below what word frequencies alone give."""
        return self in (Status.DONE, Status.UNDERTRAINED, Status.BLIND)


class Made(msgspec.Struct, frozen=True):
    """By what a cell was made."""

    command: list[str]
    commit: str
    versions: dict[str, str]


class Config(msgspec.Struct, frozen=True):
    """cell.json. `earlier`: by what the checkpoints were made that a resumed cell started from."""

    name: str
    values: dict[str, str]
    seed: str
    command: list[str]
    commit: str
    versions: dict[str, str]
    earlier: list[Made] = []


class Trained(msgspec.Struct, frozen=True):
    """trained.json. `outcome`: "trained", or why there is no final model; `updates` logged."""

    outcome: str
    seconds: float
    updates: int = 0


class Decoded(msgspec.Struct, frozen=True):
    seconds: float


class Failure(msgspec.Struct, frozen=True):
    reason: str


class Metric(msgspec.Struct, frozen=True):
    score: float
    signature: str


class Point(msgspec.Struct, frozen=True):
    """A point of a curve; `nll` in bits per token, None where it was not finite."""

    update: int
    nll: float | None


class Curves(msgspec.Struct, frozen=True):
    """Ordered by update."""

    train: list[Point] = []
    valid: list[Point] = []

    @property
    def last(self) -> Point | None:
        """The last validation; without any, the last training loss."""
        points = self.valid or self.train
        return points[-1] if points else None


class Seconds(msgspec.Struct, frozen=True):
    """Over all attempts; None where that part was not needed."""

    train: float | None = None
    gradinit: float | None = None
    decode: float | None = None


class Score(msgspec.Struct, frozen=True, omit_defaults=True):
    """score.json, the result of a cell. `plateau`: see steps.corpus, bits per token."""

    status: Status
    reason: str
    bleu: Metric
    chrf: Metric
    plateau: float
    curves: Curves
    seconds: Seconds
    updates_per_second: float | None = None
    tokenized_bleu: Metric | None = None


class Corpus(msgspec.Struct, frozen=True):
    """corpus.json of a grid. `files`: the sha256 of the data and the reference, by path."""

    plateau: float
    sentences: int
    files: dict[str, str] = {}


class Scales(msgspec.Struct, frozen=True):
    """The part of the package's scales.json that is shown."""

    blocks: list[Block] = []
    seconds: float | None = None


class Block(msgspec.Struct, frozen=True):
    name: str
    shape: list[int]
    scale: float


class Iteration(msgspec.Struct, frozen=True):
    """A line of the package's iterations.jsonl; losses in nats per token."""

    loss: float | None = None
    lookahead_loss: float | None = None


class Watch(msgspec.Struct, frozen=True):
    """A line of the package's watch.jsonl; `source_worth` in nats per token."""

    update: int
    source_worth: float | None = None
    encoder_spread: Any = None
    decoder_spread: Any = None
