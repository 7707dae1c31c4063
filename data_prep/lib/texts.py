"""Reading text that others wrote: UTF-8, a sentence a line, checked to the line."""

import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from .packed import PrepError, opened

SUFFIXES = ("", ".gz", ".xz", ".bz2")

# Control characters, Unicode's line and paragraph separators, zero-width space, byte-order mark.
# In web text they stand where a space stands; some tools cut lines or words there, others drop
# them and so glue two words together.
_SEPARATORS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u2028\u2029\ufeff]")


def read_lines(path: Path) -> Iterator[str]:
    r"""Yield the lines of a UTF-8 file (plain, gzip, xz, bzip2), without line ends.

    Only \n ends a line (str.splitlines also cuts at U+2028 and others and so misaligns two
    sides); a character that separates, or should not be there, becomes a space.

    Raises:
        PrepError: not readable, not UTF-8, or with a line that is none.
    """
    with opened(path) as stream:
        for number, raw in enumerate(stream.lines(), 1):
            try:
                line = raw.decode("utf-8")
            except UnicodeDecodeError as error:
                raise PrepError(
                    f"{path}, line {number}: byte 0x{raw[error.start]:02x} at column "
                    f"{error.start + 1} is not UTF-8; convert the file (iconv -t UTF-8) or "
                    "remove the line from both sides"
                ) from error
            if number == 1:
                line = line.lstrip("\ufeff")
            yield _SEPARATORS.sub(" ", line.rstrip("\r\n"))


def aligned(
    source: Iterator[str], target: Iterator[str], source_name: str, target_name: str
) -> Iterator[tuple[str, str]]:
    """Yield pairs of lines; a difference in length is an error with both counts."""
    pairs = zip_longest(source, target)
    for number, (left, right) in enumerate(pairs):
        if left is None or right is None:
            more = 1 + sum(1 for _ in pairs)
            counts = (number, number + more) if left is None else (number + more, number)
            raise PrepError(
                f"{source_name} has {counts[0]:,} lines and {target_name} has {counts[1]:,}: "
                "not aligned; both sides need one line per pair"
            )
        yield left, right


def find_text(folders: Sequence[Path], names: Sequence[str]) -> Path | None:
    """The first of `names`, plain or packed, in the first of `folders` that has one."""
    for folder in folders:
        for name in names:
            for suffix in SUFFIXES:
                path = folder / (name + suffix)
                if path.exists() and not path.is_dir():
                    return path
    return None
