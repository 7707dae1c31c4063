"""Files that are whole or absent, read back only when they are what was written.

The one atomic writer, checked reader, lock and fingerprint of the package, the recipes and
data_prep. Imports neither torch nor fairseq.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import math
import os
import re
import stat
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, TypeVar

import msgspec

T = TypeVar("T")

SEAL = '"seal":'
SEALED = re.compile(rb'(.*),\n "seal": "([0-9a-f]{64})"\n\}\s*', re.DOTALL)
LARGEST = 64 * 2**20  # bytes of a JSON file that is read back
LONGEST = 200  # characters of a file's own text in an error
NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}


class FileError(ValueError):
    """A file that cannot be read, written or locked; one line with file, finding and remedy."""


@contextlib.contextmanager
def replacing(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """A file to write that takes the name `path` when the block ends without an error.

    Written under a temporary name beside it, flushed to the disk, then renamed, so that a kill or
    a full disk leaves the old file or none. Folders on the way are made. What a killed process left
    of such a file goes. mode: `w` or `wb`.

    Raises:
        FileError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    encoding = None if "b" in mode else "utf-8"
    newline = None if "b" in mode else "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_left(path)
        with open(temporary, mode, encoding=encoding, newline=newline) as file:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise FileError(
            f"{path}: cannot be written ({error.strerror}); give a writable folder with room in it"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def remove_left(path: Path) -> None:
    """Removes temporary files of `path` that no living process holds locked."""
    for name in os.listdir(path.parent):
        if re.fullmatch(rf"\.{re.escape(path.name)}\.\d+\.tmp", name):
            left = path.with_name(name)
            with contextlib.suppress(OSError), open(left, "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                left.unlink()


def remove(path: Path) -> None:
    """Removes a file, if there is one. Raises: FileError: a folder is in its place, or the like."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise FileError(f"{path}: cannot be removed ({error.strerror}); remove it") from error


def write_text(path: Path, text: str) -> None:
    """Writes `text` as UTF-8, whole or not at all. Raises: FileError."""
    with replacing(path) as file:
        file.write(text)


def write_json(path: Path, value: Any, sealed: bool = False) -> None:
    """Writes `value` as indented JSON, whole or not at all; NaN and infinity become null.

    sealed: with a last key `seal`, the sha256 of the text before it, by which the reader notices a
    digit that a disk has changed; for an object whose numbers are results.

    Raises:
        FileError: it cannot be written.
    """
    text = json.dumps(finite(msgspec.to_builtins(value)), indent=1, ensure_ascii=False)
    if sealed:
        text = text.removesuffix("\n}")
        text += f',\n {SEAL} "{hashlib.sha256(text.encode()).hexdigest()}"\n}}'
    write_text(path, text + "\n")


def append_json_line(path: Path, value: Any) -> None:
    """Adds a line to a JSON Lines file; NaN and infinity become null. A link is not followed.

    What a kill left of a last line makes way; a line that does not fit on the disk leaves nothing.

    Raises:
        FileError: it cannot be written, or is no regular file.
    """
    line = json.dumps(finite(msgspec.to_builtins(value)), ensure_ascii=False) + "\n"
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(path, flags, 0o644), "r+b", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise FileError(f"{path}: is not a regular file; remove it")
            end = _end_of_lines(file)
            file.truncate(end)
            file.seek(end)
            left = memoryview(line.encode())
            try:
                while left:
                    left = left[file.write(left) :]
            except OSError:
                file.truncate(end)
                raise
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise FileError(f"{path}: is a link, which is not followed; remove it") from error
        raise FileError(
            f"{path}: cannot be written ({error.strerror}); give a writable folder with room in it"
        ) from error


def finite(value: Any) -> Any:
    """`value` with None for each number that JSON cannot say."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, (list, tuple)) else value


def open_regular(path: Path) -> BufferedReader:
    """A regular file to read.

    Raises:
        FileError: it is missing, or no regular file: a pipe would never end.
    """
    try:
        # A pipe is opened without waiting for its writer, so that it can be refused.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror})") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileError(f"{path}: is not a regular file; give a file")
    return open(descriptor, "rb")


def read_bytes(path: Path, largest: int = LARGEST) -> bytes:
    """The content of a regular file of at most `largest` bytes. Raises: FileError."""
    with open_regular(path) as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise FileError(f"{path}: larger than {largest / 2**20:.0f} MiB; this is no file of ours")
    return content


def read_json(path: Path, kind: type[T], remedy: str = "remove it") -> T:
    """The content of a JSON file, checked against `kind`, a msgspec Struct or any type hint.

    remedy: what a user can do about a file that is not what it should be.

    Raises:
        FileError: it cannot be read, or is not a `kind`; JSON has no NaN, and a number too large
            for a float or nesting too deep for the reader is refused too. It was sealed, and has
            changed since.
    """
    return parse_json(_unsealed(path, read_bytes(path), remedy), kind, str(path), remedy)


def read_json_lines(path: Path, kind: type[T], remedy: str = "remove it") -> list[T]:
    """The lines of a JSON Lines file, each a `kind`; an unfinished last line, as a kill leaves it,
    is left out.

    Raises:
        FileError: as `read_json`, naming the line.
    """
    *lines, _unfinished = read_bytes(path).split(b"\n")
    return [
        parse_json(line, kind, f"{path}, line {number}", remedy)
        for number, line in enumerate(lines, start=1)
    ]


def parse_json(content: bytes, kind: type[T], name: str, remedy: str) -> T:
    """`read_json` of bytes already read; `name` says where they are from."""
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FileError(f"{name}: not what it should be ({shown(str(error))}); {remedy}") from error


def shown(text: str) -> str:
    """Text from a file as a part of one line: cut, and what does not print is escaped."""
    cut = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut)


def _unsealed(path: Path, content: bytes, remedy: str) -> bytes:
    """The content without its seal, if it has one."""
    if b"\n " + SEAL.encode() not in content:
        return content
    parts = SEALED.fullmatch(content)
    if parts is None or hashlib.sha256(parts[1]).hexdigest() != parts[2].decode():
        raise FileError(
            f"{path}: not what was written there (its seal does not fit); {remedy}, or take out "
            'the line "seal" and the comma before it if you changed it yourself'
        )
    return parts[1] + b"\n}"


def inside(folder: Path, name: str) -> Path:
    """`folder/name`, where that lies in `folder` once every link is followed.

    Raises:
        FileError: it lies elsewhere; a name read from a file is never followed out of its folder.
    """
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise FileError(f"{shown(name)}: lies outside {folder}; it is left alone")
    return path


@contextlib.contextmanager
def locked(path: Path, patience: float = 0.0) -> Iterator[int | None]:
    """Holds the lock at `path`; yields its file descriptor, or None when another has it.

    The kernel releases the lock when the last process that holds the descriptor ends, so a killed
    one leaves no stale lock; a child that is given the descriptor keeps it held.

    Args:
        path: a folder, or a file, which is made when missing.
        patience: seconds to wait for another to release it.

    Raises:
        FileError: the file system has no locks.
    """
    flags = os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise FileError(f"{path}: cannot be opened ({error.strerror})") from error
    try:
        yield descriptor if _lock(descriptor, path, patience) else None
    finally:
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Whether a living process holds the lock at `path`. Raises: FileError."""
    if not path.exists():
        return False
    with locked(path) as descriptor:
        return descriptor is None


def fingerprint(path: Path) -> str:
    """The sha256 of a regular file's content, in hexadecimal. Raises: FileError."""
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror})") from error


def versions(*packages: str) -> dict[str, str]:
    """The version of each package that is installed."""
    found = {}
    for package in packages:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _end_of_lines(file: IO[bytes]) -> int:
    """Where the last whole line of a file ends."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - 4096)
        file.seek(start)
        if (found := file.read(end - start).rfind(b"\n")) >= 0:
            return start + found + 1
        end = start
    return 0


def _lock(descriptor: int, path: Path, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            folder = path if path.is_dir() else path.parent
            raise FileError(
                f"{folder}: its file system has no locks ({error.strerror}), which keep two runs "
                "from writing there at once; give a folder on another file system"
            ) from error
