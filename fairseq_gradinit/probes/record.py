"""probes.jsonl: a line for each update that was probed, checked when read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO

import msgspec

from ..files import FileError, finite, read_json_lines, replacing

NAME = "probes.jsonl"
REMEDY = "remove it, or give another --save-dir"
DIGITS = 6  # significant ones; more would double the file and tell nothing

Number = float | None  # None: not finite, or not measured


class Record(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One probed update; docs/probes.md defines each number. Names are the model's own."""

    update: int
    learning_rate: float
    seconds: Number = None
    egf_1: Number = None
    egf_2: Number = None
    egf_1_per_active: Number = None
    egf_2_per_active: Number = None
    egf_2_power_mean: Number = None
    gradient_norm_1: Number = None
    gradient_norm_2: Number = None
    gradient_norm: dict[str, Number] = {}
    other_gradient_norm: dict[str, Number] = {}
    update_ratio: dict[str, Number] = {}
    attention_entropy: dict[str, Number] = {}
    token_spread: dict[str, Number] = {}
    gradient_sharpness: Number = None
    top_eigenvalue: Number = None
    preconditioned_eigenvalue: Number = None

    def scalars(self) -> dict[str, float]:
        """Every finite number under one flat name, as `update_ratio/decoder.layers.0.fc1`."""
        flat = {}
        for name, value in msgspec.to_builtins(self).items():
            named = value.items() if isinstance(value, dict) else [("", value)]
            flat.update({f"{name}/{part}".rstrip("/"): number for part, number in named})
        known = finite(flat)
        return {name: number for name, number in known.items() if number is not None}


def read_records(path: Path) -> list[Record]:
    """The records of a probes.jsonl, in the order of updates.

    Raises:
        FileError: it cannot be read or is not what `RecordLog` writes.
    """
    return read_json_lines(path, Record, REMEDY)


class RecordLog:
    """Appends records to SAVE_DIR/gradinit/probes.jsonl as they come.

    Training that resumes at an earlier update, or starts anew, writes over what lies ahead of it.

    Raises:
        FileError: what stands at `path` is no probes.jsonl.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[str] | None = None
        if path.exists():
            read_records(path)  # told before training rather than in it

    def write(self, record: Record) -> None:
        """Appends one line, flushed; NaN and infinity become null. Raises: FileError."""
        values = finite(_rounded(msgspec.to_builtins(record)))
        try:
            if self._file is None:
                self._file = self._open(record.update)
            print(json.dumps(values), file=self._file, flush=True)
        except OSError as error:
            raise FileError(
                f"{self.path}: cannot be written ({error.strerror}); make room, or leave out "
                "--gradient-flow-interval and --sharpness-interval"
            ) from error

    def _open(self, update: int) -> IO[str]:
        kept = read_records(self.path) if self.path.exists() else []
        with replacing(self.path) as file:
            for record in kept:
                if record.update < update:
                    print(json.dumps(msgspec.to_builtins(record)), file=file)
        return open(self.path, "a", encoding="utf-8", newline="\n")


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return value


def records_path(save_dir: Path) -> Path:
    """Where a run with this --save-dir keeps its probes."""
    return save_dir / "gradinit" / NAME
