"""Readers of the forms in which corpora are published: files -> lines of raw text.

A reader takes a path and its language and yields the text lines in it.
"""

import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from .moses import detokenizer
from .texts import read_lines

# What prepare-iwslt14.sh drops from train.tags and what it unwraps. ASCII: sed there knows no
# Unicode spaces.
_DROPPED = ("<url>", "<talkid>", "<keywords>")
_UNWRAPPED = re.compile(r"</?(?:title|description)>")
_SEGMENT = re.compile(r'<seg id="[0-9]*">\s*|\s*</seg>\s*', re.ASCII)


def plain(path: Path, language: str) -> Iterator[str]:
    """Text, a sentence a line."""
    del language
    return read_lines(path)


def talks(path: Path, language: str) -> Iterator[str]:
    """IWSLT's train.tags.*: text between lines of tags."""
    for line in plain(path, language):
        if not any(tag in line for tag in _DROPPED):
            yield _UNWRAPPED.sub("", line).strip(" \t")


def segments(path: Path, language: str) -> Iterator[str]:
    """NIST sgm or IWSLT xml: the <seg> lines."""
    for line in plain(path, language):
        if "<seg id" in line:
            yield _SEGMENT.sub("", line)


def tokenized(path: Path, language: str) -> Iterator[str]:
    """Moses tokens, detokenized; hyphens split as @-@ or ##AT##-##AT## are joined again."""
    undo = detokenizer(language)
    lines = (line.replace(" ##AT##-##AT## ", "-") for line in plain(path, language))
    while block := list(islice(lines, 1000)):
        yield from undo(block)


READERS: dict[str, Callable[[Path, str], Iterator[str]]] = {
    reader.__name__: reader for reader in (plain, talks, segments, tokenized)
}
