"""Errors a user can mend: shown as one line, without a stack trace."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GridError(Exception):
    """Bad input or a state the engine refuses; the message names flag or file and the remedy."""


class CellFailed(Exception):
    """This cell cannot produce a result; the message is the reason kept in failure.json."""


class CellInterrupted(Exception):
    """The cell's process was killed: nothing is known about the cell, so it is run again."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return " (did you mean X?)" for the nearest known word, or "" when none is near."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean {matches[0]}?)" if matches else ""
