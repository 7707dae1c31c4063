"""Files that are whole or absent, and locks that die with their process."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import GridError


def write_text(path: Path, text: str) -> None:
    """Write `text` to a temporary name beside `path`, then rename: a kill leaves no half file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        # A full disk raises above; its half file would only make the disk fuller.
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON; a file that is not JSON raises GridError naming it and the remedy."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise GridError(f"{path}: not JSON ({error}); delete it and run the grid again") from error


def read_lines(path: Path) -> list[str]:
    """Lines of a text file without their line feeds; no other character ends a line."""
    with open(path, encoding="utf-8", newline="\n") as file:
        return [line.rstrip("\r\n") for line in file]


@contextlib.contextmanager
def locked(path: Path, patience: float = 2.0) -> Iterator[int | None]:
    """Hold `path` exclusively; yields the lock's file descriptor, or None when another has it.

    The kernel releases the lock when the last process that holds the descriptor ends, so a
    killed worker never leaves a stale one; a child that is given the descriptor keeps it held.

    Args:
        path: the lock file, created when missing.
        patience: seconds to wait, because `is_locked` holds the lock for an instant.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    yield None
                    return
                time.sleep(0.05)
        yield descriptor
    finally:
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Whether a living process holds the lock at `path`."""
    if not path.exists():
        return False
    with locked(path, patience=0.0) as descriptor:
        return descriptor is None
