"""Errors that a user is meant to read, as one line and an exit code."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from .files import FileError
from .flags import with_flags
from .gradinit import GradInitError


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Within, such an error ends the command. Raises: SystemExit."""
    try:
        yield
    except GradInitError as error:
        raise SystemExit(f"fairseq-train: error: {with_flags(str(error))}") from None
    except FileError as error:
        raise SystemExit(f"fairseq-train: error: {error}") from None
