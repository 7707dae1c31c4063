"""Opening files that others made: known by their first bytes, bounded in what they expand to."""

import bz2
import contextlib
import errno
import gzip
import hashlib
import lzma
import os
import re
import stat
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

LONGEST_LINE = 1 << 20  # bytes; a sentence has some hundred
SMALL = 16 << 20  # bytes that any packed file may expand to
EXPANSION = 100  # times what was read of it that a larger one may; text has 3 to 10
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_READ: dict[str, Callable[[BinaryIO], Any]] = {
    "gzip": lambda file: gzip.GzipFile(fileobj=file),
    "xz": lzma.LZMAFile,
    "bzip2": bz2.BZ2File,
}
_SUFFIXES = {".gz": "gzip", ".tgz": "gzip", ".xz": "xz", ".bz2": "bzip2"}
_FIRST_BYTES = {  # kind: how such a file begins
    "gzip": re.compile(rb"\x1f\x8b\x08"),
    "xz": re.compile(rb"\xfd7zXZ\x00"),
    "bzip2": re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"),
    "zip": re.compile(rb"PK(\x03\x04|\x05\x06)"),
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd"),
    "7z": re.compile(rb"7z\xbc\xaf\x27\x1c"),
    "PDF": re.compile(rb"%PDF-"),
    # With its mark, or without: every second byte of Western text is then 0.
    "UTF-16": re.compile(rb"\xff\xfe|\xfe\xff|([^\0]\0){4}|(\0[^\0]){4}"),
}
_REMEDIES = {"UTF-16": "convert it (iconv -f UTF-16 -t UTF-8)"}


class PrepError(Exception):
    """Bad input or surroundings: one line that names what was found, where, and the remedy."""


@contextlib.contextmanager
def one_line_errors(path: Path) -> Iterator[None]:
    """Turn what reading a damaged or absent file raises into one line about `path`."""
    try:
        yield
    except (EOFError, zlib.error, lzma.LZMAError) as error:
        raise _damaged(path, error) from error
    except OSError as error:
        if error.errno in _FULL:  # of what is written meanwhile
            raise
        if error.errno is None:  # gzip.BadGzipFile, and bz2's "Invalid data stream"
            raise _damaged(path, error) from error
        raise PrepError(f"{path}: cannot be read ({error.strerror}); check the path") from error


def _damaged(path: Path, error: Exception) -> PrepError:
    return PrepError(f"{path}: truncated or damaged ({error}); remove it and fetch it again")


def disk_full(error: OSError) -> str | None:
    """The line for a full disk, a quota or a file-size limit; None for any other error."""
    if error.errno not in _FULL:
        return None
    where = f" while writing {error.filename}" if error.filename else ""
    return f"no room{where} ({error.strerror}); free some space or choose another --out"


def kind_of(path: Path) -> str:
    """What a file is by its first bytes: `plain`, `gzip`, `xz` or `bzip2`.

    Raises:
        PrepError: it cannot be read, is no regular file (a pipe may never end), is packed in a
            way not known here or not as its name says.
    """
    with one_line_errors(path):
        # A pipe is opened without waiting for its writer, so that it can be refused.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                what = "a folder" if path.is_dir() else "a pipe or device, not a file"
                raise PrepError(f"{path}: is {what}; give a regular file")
            start = stream.read(16)
    kind = next((name for name, begins in _FIRST_BYTES.items() if begins.match(start)), "plain")
    named = _SUFFIXES.get(path.suffix)
    if named and start and kind != named:
        found = "is not packed so" if kind == "plain" else f"is a {kind} file"
        raise PrepError(
            f"{path}: truncated or damaged (its name says {named}, but it {found}); name it as "
            "what it is, or fetch it again"
        )
    if kind != "plain" and kind not in _READ:
        remedy = _REMEDIES.get(kind, "unpack it and give the text in it")
        raise PrepError(f"{path}: is a {kind} file; {remedy}")
    return kind


class Bounded:
    """The bytes of a file, through what it is packed in; read to a limit that no text reaches."""

    def __init__(self, path: Path, stream: BinaryIO, packed: BinaryIO | None = None) -> None:
        """packed: the file itself, of which `stream` is what it expands to."""
        self._path, self._stream, self._packed = path, stream, packed
        self._count, self._most = 0, SMALL

    def read(self, size: int = -1) -> bytes:
        """As of a file object; this is all that tarfile needs."""
        return self._counted(self._stream.read(size))

    def lines(self) -> Iterator[bytes]:
        r"""The lines, which end with \n."""
        number = 0
        while line := self._counted(self._stream.readline(LONGEST_LINE + 1)):
            number += 1
            if len(line) > LONGEST_LINE:
                raise PrepError(
                    f"{self._path}, line {number}: longer than {LONGEST_LINE:,} bytes; this is "
                    "no text with a sentence a line"
                )
            yield line

    def _counted(self, data: bytes) -> bytes:
        self._count += len(data)
        if self._packed and self._count > self._most:
            if self._count > EXPANSION * self._packed.tell():
                raise PrepError(
                    f"{self._path}: expands to over {EXPANSION} times its size, more than "
                    f"{self._most >> 20} MiB; this is no text. If it is, give what is in it"
                )
            self._most = self._count + (1 << 20)  # when to look again
        return data


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Bounded]:
    """A file to read bytes from, unpacked on the way where it is packed. Raises: PrepError."""
    kind = kind_of(path)
    with one_line_errors(path), open(path, "rb") as file:
        if kind == "plain":
            yield Bounded(path, file)
        else:
            with _READ[kind](file) as stream:
                yield Bounded(path, stream, file)


_HASHES: dict[tuple[str, int, int], str] = {}


def sha256_of(path: Path) -> str:
    """sha256 of a regular file's bytes, once per process for an unchanged file."""
    with one_line_errors(path):
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise PrepError(f"{path}: is not a regular file; give a file")
        key = (str(path), status.st_size, status.st_mtime_ns)
        if key not in _HASHES:
            with open(path, "rb") as stream:
                _HASHES[key] = hashlib.file_digest(stream, "sha256").hexdigest()
    return _HASHES[key]
