"""scales.json and iterations.jsonl: written whole or not at all, checked when read."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from .gradinit import Block, GradInitError, Iteration, LearnedScales

FORMAT = 1


def write_scales(path: Path, learned: LearnedScales, about: dict[str, Any]) -> None:
    """Writes the learned scales with what made them, in one atomic step.

    about: whatever a reader needs to repeat it: config, seed, versions.

    Raises:
        GradInitError: the folder cannot be written.
    """
    columns = zip(learned.blocks, learned.scales, learned.norms_before, learned.norms_after)
    blocks = [
        {**asdict(block), "scale": scale, "norm_before": before, "norm_after": after}
        for block, scale, before, after in columns
    ]
    outcome = {name: getattr(learned, name) for name in ("iterations", "stop_reason", "seconds")}
    text = json.dumps({"format": FORMAT, **about, **outcome, "blocks": blocks}, indent=1)
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise GradInitError(
            f"--save-dir: cannot write {path} ({error.strerror}); give a writable folder with "
            "room in it"
        ) from error


def read_scales(path: Path) -> dict[str, Any]:
    """The content of a scales.json.

    Raises:
        GradInitError: it is missing, or not what `write_scales` writes.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise GradInitError(
            f"--gradinit-scales: cannot read {path} ({error.strerror}); give the scales.json of "
            "an earlier run (SAVE_DIR/gradinit/scales.json)"
        ) from error
    except ValueError as error:
        raise GradInitError(
            f"--gradinit-scales: {path} is not JSON ({error}); learn the scales again"
        ) from error
    blocks = record.get("blocks") if isinstance(record, dict) else None
    if not isinstance(blocks, list) or not blocks or record.get("format") != FORMAT:
        raise GradInitError(
            f"--gradinit-scales: {path} is not a scales.json of format {FORMAT}; give one that "
            "this version has written"
        )
    for block in blocks:
        if not _is_block(block):
            raise GradInitError(
                f"--gradinit-scales: {path} holds a block without name, shape, norm and scale "
                f"({str(block)[:80]}); learn the scales again"
            )
    return record


def _is_block(block: Any) -> bool:
    if not (isinstance(block, dict) and isinstance(block.get("name"), str)):
        return False
    numbers = [block.get("scale"), block.get("norm_before")]
    return isinstance(block.get("shape"), list) and all(
        isinstance(x, (int, float)) and math.isfinite(x) and x >= 0 for x in numbers
    )


def matching(path: Path, record: dict[str, Any], blocks: Sequence[Block]) -> list[dict[str, Any]]:
    """The blocks of `record` in the order of the model's `blocks`.

    Raises:
        GradInitError: it was learned on another model; says which blocks differ.
    """
    found = {block["name"]: block for block in record["blocks"]}
    wanted = {block.name: block.shape for block in blocks}
    differing = [f"{name} is not in the file" for name in wanted if name not in found]
    differing += [f"{name} is not in the model" for name in found if name not in wanted]
    differing += [
        f"{name} is {tuple(found[name]['shape'])} in the file, {shape} in the model"
        for name, shape in wanted.items()
        if name in found and tuple(found[name]["shape"]) != shape
    ]
    if differing:
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise GradInitError(
            f"--gradinit-scales: {path} is of another model: {'; '.join(differing[:3])}{more}; "
            "give the scales of this architecture or learn them with --gradinit"
        )
    return [found[name] for name in wanted]


class IterationLog:
    """iterations.jsonl, a line per iteration as it is done, so that a killed run leaves its own.

    Raises:
        GradInitError: the folder cannot be written.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: IO[str] = open(path, "w", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise GradInitError(
                f"--save-dir: cannot write {path} ({error.strerror}); give a writable folder"
            ) from error

    def __enter__(self) -> IterationLog:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, record: Iteration) -> None:
        """Appends one line; NaN (no look-ahead) or infinity becomes null: JSON has neither."""
        line = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(record).items()
        }
        print(json.dumps(line), file=self._file, flush=True)
