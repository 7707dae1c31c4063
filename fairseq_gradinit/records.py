"""scales.json and iterations.jsonl: written whole or line by line, checked when read."""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Annotated, Any, Literal

from msgspec import Meta, Struct

from .files import FileError, finite, read_bytes, read_json, replacing, shown, write_json
from .gradinit import Block, GradInitError, Iteration, LearnedScales
from .gradinit.blocks import EMBEDDING
from .gradinit.settings import LARGEST_SCALE
from .gradinit.trial import Trial, highest_that_trains

FORMAT: Literal[1] = 1
SMALLEST_SCALE = 1e-12  # of a matrix: a smaller one leaves nothing of it
READ = ("source_worth", "encoder_spread", "decoder_spread")

Size = Annotated[int, Meta(ge=0)]
Norm = Annotated[float, Meta(ge=0)]


class BlockRecord(Struct):
    """A parameter tensor and its scale; norms are ‖θ‖₂ before and after."""

    name: str
    shape: list[Size]
    scale: Annotated[float, Meta(ge=0, le=LARGEST_SCALE)]
    norm_before: Norm
    norm_after: Norm = 0.0
    aliases: list[str] = []
    kind: str = ""
    in_encoder: bool = False


class TrialRecord(Struct):
    """`gradinit.trial.Trial`, None for what was not finite, and its verdict."""

    learning_rate: float
    first_loss: float | None
    last_loss: float | None
    source_worth: float | None
    encoder_spread: float | None
    decoder_spread: float | None
    trains: bool


class Prediction(Struct):
    """Whether training is predicted to go well at η, and the highest learning rate of those tried
    at which it is (None: at none)."""

    trains: bool
    highest_learning_rate: float | None
    trials: list[TrialRecord]


class UnigramRecord(Struct):
    """`gradinit.unigram.UnigramStart`."""

    entropy: float
    seconds: float = 0.0


class ScalesRecord(Struct):
    """scales.json.

    config: the settings, and what the run gave to them.
    made_from: what else decides which scales are learned, see `identity`.
    unigram: the unigram start that the scales stand on; None without one.
    """

    format: Literal[1]
    config: dict[str, Any]
    blocks: Annotated[list[BlockRecord], Meta(min_length=1)]
    seed: int = 1
    versions: dict[str, str] = {}
    made_from: dict[str, Any] = {}
    unigram: UnigramRecord | None = None
    iterations: int = 0
    stop_reason: str = ""
    seconds: float = 0.0
    prediction: Prediction | None = None


def record_of(
    learned: LearnedScales, unigram: UnigramRecord | None, about: dict[str, Any]
) -> ScalesRecord:
    """What is written of a search; `about`: config, made_from, seed and versions."""
    columns = zip(learned.blocks, learned.scales, learned.norms_before, learned.norms_after)
    blocks = [
        BlockRecord(**asdict(block), scale=scale, norm_before=before, norm_after=after)
        for block, scale, before, after in columns
    ]
    outcome = {name: getattr(learned, name) for name in ("iterations", "stop_reason", "seconds")}
    return ScalesRecord(format=FORMAT, blocks=blocks, unigram=unigram, **about, **outcome)


def predicted(trials: Sequence[Trial]) -> Prediction:
    """What the trials predict, the first at the run's learning rate."""
    return Prediction(trials[0].trains, highest_that_trains(trials), list(map(_tried, trials)))


def _tried(trial: Trial) -> TrialRecord:
    found = {name: getattr(trial.reading, name, None) for name in READ}
    losses = {"first_loss": trial.first_loss, "last_loss": trial.last_loss}
    return TrialRecord(trial.learning_rate, **finite({**losses, **found}), trains=trial.trains)


def write_scales(path: Path, record: ScalesRecord) -> None:
    """Writes scales.json, whole or not at all. Raises: GradInitError."""
    with _naming("--save-dir"):
        write_json(path, record, sealed=True)


def read_scales(path: Path) -> ScalesRecord:
    """The content of a scales.json.

    Raises:
        GradInitError: it is missing, or not what `write_scales` writes.
    """
    with _naming("--gradinit-scales"):
        remedy = "give the scales.json of an earlier run (SAVE_DIR/gradinit/scales.json)"
        record = read_json(path, ScalesRecord, remedy)
        names = Counter(block.name for block in record.blocks)
        twice = [name for name, count in names.items() if count > 1]
        if twice:
            raise FileError(f"{path}: holds block {shown(twice[0])} twice; {remedy}")
        if not any(block.scale for block in record.blocks):
            raise FileError(f"{path}: all its scales are 0; {remedy}")
        return record


def matching(path: Path, record: ScalesRecord, blocks: Sequence[Block]) -> list[BlockRecord]:
    """The blocks of `record` in the order of the model's `blocks`.

    Raises:
        GradInitError: it was learned on another model; says which blocks differ.
    """
    found = {block.name: block for block in record.blocks}
    wanted = {block.name: block.shape for block in blocks}
    differing = [f"{name} is not in the file" for name in wanted if name not in found]
    differing += [f"{shown(name)} is not in the model" for name in found if name not in wanted]
    differing += [
        f"{name} is {shown(str(tuple(found[name].shape)))} in the file, {shape} in the model"
        for name, shape in wanted.items()
        if name in found and tuple(found[name].shape) != shape
    ]
    if differing:
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise GradInitError(
            f"--gradinit-scales: {path} is of another model: {'; '.join(differing[:3])}{more}; "
            "give the scales of this architecture or learn them with --gradinit"
        )
    for block in blocks:
        # Biases may go to 0, and embeddings with the paper's settings; a matrix that does is gone.
        scale, matrix = found[block.name].scale, len(block.shape) > 1 and block.kind != EMBEDDING
        if matrix and scale < SMALLEST_SCALE:
            raise GradInitError(
                f"--gradinit-scales: {path}: the scale of {block.name} is {scale:g}, which wipes it"
                " out; give those of an earlier run, or learn them with --gradinit"
            )
    return [found[name] for name in wanted]


class IterationLog:
    """iterations.jsonl, a line per iteration as it is done, so that a killed run leaves its own.

    A new file: a link in its place is replaced, and what it points at stays.

    keep: of a search that goes on, so many lines of the file before stay.

    Raises:
        GradInitError: the folder cannot be written.
    """

    def __init__(self, path: Path, keep: int = 0) -> None:
        self._path = path
        with _naming("--save-dir", path):
            kept = read_bytes(path).split(b"\n")[:-1][:keep] if keep and path.is_file() else []
            with replacing(path, "wb") as file:
                file.writelines(line + b"\n" for line in kept)
            flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            self._file: IO[str] = open(os.open(path, flags), "a", encoding="utf-8")  # noqa: SIM115

    def __enter__(self) -> IterationLog:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # said by `write`, which flushes
            self._file.close()

    def write(self, record: Iteration) -> None:
        """Appends one line; NaN (no look-ahead) or infinity becomes null: JSON has neither."""
        with _naming("--save-dir", self._path):
            print(json.dumps(finite(asdict(record))), file=self._file, flush=True)


@contextlib.contextmanager
def _naming(flag: str, path: Path | None = None) -> Iterator[None]:
    try:
        yield
    except FileError as error:
        raise GradInitError(f"{flag}: {error}") from error
    except OSError as error:
        raise GradInitError(
            f"{flag}: {path}: cannot be written ({error.strerror}); give a writable folder with "
            "room in it"
        ) from error
