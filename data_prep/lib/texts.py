"""Reading text that others wrote: plain, gz or xz, checked to the line."""

import contextlib
import errno
import gzip
import hashlib
import lzma
import zlib
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import BinaryIO

from .errors import PrepError

SUFFIXES = ("", ".gz", ".xz")
_OPENERS = {".gz": gzip.open, ".tgz": gzip.open, ".xz": lzma.open}
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def open_bytes(path: Path) -> BinaryIO:
    """Open `path` for reading, through gzip or xz where its name says so."""
    return _OPENERS.get(path.suffix, open)(path, "rb")  # type: ignore[operator]


@contextlib.contextmanager
def one_line_errors(path: Path) -> Iterator[None]:
    """Turn what reading a damaged or absent file raises into one line about `path`."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
        raise PrepError(
            f"{path}: truncated or damaged ({error}); remove it and fetch it again"
        ) from error
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise PrepError(f"{path}: cannot be read ({error.strerror}); check the path") from error


def disk_full(error: OSError) -> str | None:
    """The line for a full disk, a quota or a file-size limit; None for any other error."""
    if error.errno not in _FULL:
        return None
    where = f" while writing {error.filename}" if error.filename else ""
    return f"no room{where} ({error.strerror}); free some space or choose another --out"


def read_lines(path: Path) -> Iterator[str]:
    r"""Yield the lines of a UTF-8 file, without line ends.

    Only \n ends a line (str.splitlines also cuts at U+2028 and others and so misaligns two
    sides); a \r inside a line becomes a space, since fairseq-preprocess reads it as a line end.
    """
    with one_line_errors(path), open_bytes(path) as stream:
        for number, raw in enumerate(stream, 1):
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
            yield line.rstrip("\r\n").replace("\r", " ")


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
    """The first of `names`, plain, .gz or .xz, in the first of `folders` that has one."""
    for folder in folders:
        for name in names:
            for suffix in SUFFIXES:
                path = folder / (name + suffix)
                if path.is_file():
                    return path
    return None


_HASHES: dict[tuple[str, int, int], str] = {}


def sha256_of(path: Path) -> str:
    """sha256 of the file's bytes, once per process for an unchanged file."""
    with one_line_errors(path):
        status = path.stat()
        key = (str(path), status.st_size, status.st_mtime_ns)
        if key not in _HASHES:
            digest = hashlib.sha256()
            with open(path, "rb") as stream:
                for block in iter(lambda: stream.read(1 << 20), b""):
                    digest.update(block)
            _HASHES[key] = digest.hexdigest()
    return _HASHES[key]
