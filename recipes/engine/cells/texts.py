"""Texts of a line a sentence: hypotheses, references, logs."""

from __future__ import annotations

import io
from pathlib import Path

from fairseq_gradinit.files import FileError, open_regular


def read_lines(path: Path) -> list[str]:
    """The lines without their line feeds; no other character ends a line.

    Raises:
        FileError: it is missing, no regular file, or not UTF-8.
    """
    with open_regular(path) as raw, io.TextIOWrapper(raw, "utf-8", newline="\n") as file:
        try:
            return [line.rstrip("\r\n") for line in file]
        except UnicodeDecodeError as error:
            raise FileError(
                f"{path}: not UTF-8 ({error.reason}); convert it (iconv -t UTF-8)"
            ) from error


def joined(lines: list[str]) -> str:
    """The text whose lines these are."""
    return "".join(f"{line}\n" for line in lines)
