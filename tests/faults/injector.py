"""Faults, each decided by a seeded generator, and what a process does when it meets one.

Work runs in a forked child, so that a kill is a kill: no `finally`, no flush, no release of a lock.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SURVIVED, CLEAR_ERROR, LOST = "survived", "clear_error", "lost"
CALLS = ("open", "write", "fsync", "replace", "unlink", "mkdir", "ftruncate")
PATIENCE = 60.0  # seconds, after which a child hangs
YEAR = 365 * 86400.0


@dataclass(frozen=True)
class Ended:
    """How a child ended.

    code: 0; 1 for an error that a user is meant to read, 2 for a trace; −9 killed, −1 hung.
    """

    code: int
    said: str


def in_a_child(work: Callable[[], Any], refusals: tuple[type[BaseException], ...]) -> Ended:
    """Runs `work` in a forked child; of `refusals` the message is what the user would read."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        code, said = 0, ""
        try:
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, 1)
            os.dup2(silence, 2)
            result = work()
            said = "" if result is None else str(result)
        except refusals as error:
            code, said = 1, str(error)
        except BaseException:
            code, said = 2, traceback.format_exc()
        with contextlib.suppress(BaseException):
            REAL_WRITE(writer, said.encode(errors="replace")[:60_000])
        os._exit(code)
    os.close(writer)
    deadline = time.monotonic() + PATIENCE
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os.close(reader)
            return Ended(-1, "hung")
        time.sleep(0.002)
    with os.fdopen(reader, "rb") as pipe:
        return Ended(os.waitstatus_to_exitcode(status), pipe.read().decode())


REAL_WRITE = os.write


def at_file_call(number: int, act: Callable[[], None]) -> None:
    """In this process, `act` happens at the `number`-th call that changes a file, before it."""
    count = [0]

    def counting(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **named: Any) -> Any:
            count[0] += 1
            if count[0] == number:
                act()
            return call(*args, **named)

        return wrapped

    for name in CALLS:
        setattr(os, name, counting(getattr(os, name)))


def kill() -> None:
    """SIGKILL to this process."""
    os.kill(os.getpid(), signal.SIGKILL)


def fill() -> None:
    """What a full disk says."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def jump(seconds: float) -> None:
    """This process's wall clock is off by `seconds`."""
    now = time.time
    time.time = lambda: now() + seconds


def damage(path: Path, kind: str, rng: random.Random) -> None:
    """`corrupt`: some bytes are others; `truncate`; `swap`: two pieces of the file change places;
    `permission`: it cannot be read (a folder in its place, which stops root too)."""
    content = bytearray(path.read_bytes())
    if kind == "permission":
        path.unlink()
        path.mkdir()
        return
    if kind == "truncate":
        content = content[: rng.randrange(len(content))]
    elif kind == "corrupt":
        for _ in range(rng.choice((1, 1, 3, 20))):
            content[rng.randrange(len(content))] ^= rng.randrange(1, 256)
    elif kind == "swap":
        size = rng.choice((1, 1, 8, 64))
        a, b = (rng.randrange(max(1, len(content) - size)) for _ in range(2))
        if abs(a - b) >= size:
            content[a : a + size], content[b : b + size] = (
                content[b : b + size],
                content[a : a + size],
            )
    path.write_bytes(content)


def one_line(ended: Ended) -> bool:
    """Whether an error is what a user can act upon."""
    said = ended.said.strip()
    return ended.code == 1 and bool(said) and "\n" not in said and "Traceback" not in said


@contextlib.contextmanager
def copy_of(folder: Path, place: Path) -> Iterator[Path]:
    """A copy to break, removed afterwards."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(folder, place, symlinks=True)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def told(name: str, ended: Ended) -> None:
    """Says of a lost case what it ended with."""
    print(f"lost: {name}: {ended.code} {ended.said[-1500:]}", file=sys.stderr)
