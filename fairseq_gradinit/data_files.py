"""A data folder as fairseq-preprocess leaves it, checked before a model is trained on it.

fairseq's own reader of `.idx` and `.bin` (fairseq/data/indexed_dataset.py, MMapIndexedDataset)
believes what they say: a damaged file ends a run with a trace hours later, or trains on something
else. Here it is one line, with the file and the remedy.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fairseq.data import Dictionary

from .files import FileError, read_bytes
from .gradinit import GradInitError

MAGIC = b"MMIDIDX\x00\x00"
HEADER = struct.Struct("<9sQBQ")  # magic, version, code of the tokens' type, sentences
OTHERS = (b"TNTIDX\x00\x00", b"HUFFIDX\x00")  # of fairseq's other formats, left to fairseq
TYPES = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2", 9: "<u4", 10: "<u8"}
AT_ONCE = 2**24  # tokens
REMEDY = "run fairseq-preprocess (or data_prep) again, into a new folder"


@dataclass(frozen=True)
class Side:
    """One side of a split: `prefix`.idx and `prefix`.bin, of the words of `dictionary`."""

    prefix: Path
    dictionary: Dictionary
    dictionary_name: str

    @property
    def files(self) -> tuple[Path, Path]:
        """Index and tokens."""
        index, tokens = (f"{self.prefix.name}.{end}" for end in ("idx", "bin"))
        return self.prefix.with_name(index), self.prefix.with_name(tokens)

    @property
    def begun(self) -> bool:
        """Whether a file of it is there."""
        return any(file.exists() for file in self.files)


def check_sides(sides: Sequence[Side]) -> None:
    """Checks the files of a split, and that its sides have the same number of sentences.

    Another `--dataset-impl` is left to fairseq; so is a split of which no file is there.

    Raises:
        GradInitError: a file is missing, damaged, empty, or of another dictionary.
    """
    if not any(side.begun for side in sides):
        return
    lengths = {side.prefix.name: length for side in sides if (length := _check(side)) is not None}
    if len(set(lengths.values())) > 1:
        found = " and ".join(f"{name} {length:,}" for name, length in lengths.items())
        raise GradInitError(
            f"{sides[0].prefix.parent}: its sides do not match, {found} sentences; give both sides "
            "of one text to fairseq-preprocess"
        )


def check_dictionary(path: Path) -> Dictionary:
    """The dictionary in a file, as fairseq reads it.

    Raises:
        GradInitError: it is missing, no dictionary, or holds no word.
    """
    remedy = "give the data folder's own, or run fairseq-preprocess again"
    try:
        read_bytes(path)
        found = Dictionary.load(str(path))
    except FileError as error:
        raise GradInitError(f"{error}; {remedy}") from error
    except Exception as error:  # fairseq has several kinds for a line that is no word
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:100]
        raise GradInitError(f"{path}: no dictionary of fairseq's ({reason}); {remedy}") from error
    if len(found) <= found.nspecial:
        raise GradInitError(f"{path}: holds no word; {remedy}")
    return found


def _check(side: Side) -> int | None:
    """The number of sentences; None where fairseq is to look for itself."""
    index, tokens = side.files
    for file in (index, tokens):
        if not file.is_file():
            found = "is not a regular file" if file.exists() else "missing"
            raise GradInitError(f"{file}: {found}; {REMEDY}")
    try:
        sizes, kind = _read_index(index, tokens.stat().st_size)
        if kind is not None:
            _check_tokens(tokens, np.dtype(kind), sizes, side)
    except OSError as error:
        raise GradInitError(f"{side.prefix}: cannot be read ({error.strerror})") from error
    return None if kind is None else len(sizes)


def _read_index(index: Path, size: int) -> tuple[np.ndarray, str | None]:
    """Tokens of each sentence, [sentences], and their type; None for another format.

    size: of the .bin, in bytes; the sentences must lie in it one after the other.
    """
    with open(index, "rb") as file:
        header = file.read(HEADER.size)
        if header[:8] in OTHERS:
            return np.zeros(0), None
        if len(header) < HEADER.size or header[:9] != MAGIC:
            raise GradInitError(f"{index}: not an index of fairseq's; {REMEDY}")
        _, version, code, count = HEADER.unpack(header)
        if version != 1 or code not in TYPES:
            raise GradInitError(
                f"{index}: damaged (version {version}, type of tokens {code}); {REMEDY}"
            )
        # 4 bytes for its size, 8 for its place: a sentence.
        if index.stat().st_size != HEADER.size + 12 * count:
            raise GradInitError(
                f"{index}: cut short or damaged ({index.stat().st_size:,} bytes do not fit the "
                f"{count:,} sentences that it names); {REMEDY}"
            )
        if count == 0:
            raise GradInitError(f"{index}: holds no sentence; give a split that has some")
        sizes = np.frombuffer(file.read(4 * count), "<i4").astype(np.int64)
        places = np.frombuffer(file.read(8 * count), "<i8")
    width = np.dtype(TYPES[code]).itemsize
    ends = np.cumsum(sizes) * width
    if (sizes < 1).any() or (places != ends - sizes * width).any() or ends[-1] != size:
        raise GradInitError(
            f"{index}: does not fit its .bin of {size:,} bytes (sizes or places of sentences are "
            f"wrong); {REMEDY}"
        )
    return sizes, TYPES[code]


def _check_tokens(path: Path, kind: np.dtype, sizes: np.ndarray, side: Side) -> None:
    """That all tokens are of the dictionary, and no sentence ends in what never ends one."""
    words, pad, bos = len(side.dictionary), side.dictionary.pad(), side.dictionary.bos()
    tokens = np.memmap(path, kind, "r")
    for part in _parts(tokens):
        lowest, highest = int(part.min()), int(part.max())
        if lowest < 0 or highest >= words:
            raise GradInitError(
                f"{path}: holds token {highest if highest >= words else lowest}, but "
                f"{side.dictionary_name} has {words:,} words; give the dictionary that it was "
                "binarised with, or run fairseq-preprocess again with this one"
            )
    last = tokens[np.cumsum(sizes) - 1]
    # A hole that a crash left in a file reads as zeros, which are beginnings of sentences.
    wrong = np.flatnonzero((last == pad) | (last == bos))
    if len(wrong):
        end = side.dictionary[int(last[wrong[0]])]
        raise GradInitError(f"{path}: damaged (sentence {wrong[0] + 1:,} ends in {end}); {REMEDY}")


def _parts(tokens: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(tokens), AT_ONCE):
        yield tokens[start : start + AT_ONCE]
