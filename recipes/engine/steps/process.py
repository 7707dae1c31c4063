"""One child process of a worker: its output in a log, its life bound to the worker's."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from ..cells.cell import ROOT
from ..cells.errors import CellInterrupted

GRACE_SECONDS = 10.0  # for a child to put away its work after SIGTERM
PR_SET_PDEATHSIG = 1  # linux/prctl.h
STOPPED = -1  # `run` returns it when its caller ended the child


def ours(module: str, *arguments: str) -> list[str]:
    """The command line of a module of the engine; see `path` for its environment."""
    return [sys.executable, "-m", f"recipes.engine.{module}", *arguments]


def path() -> dict[str, str]:
    """The variable that lets a child import the engine in whatever folder it is started."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)]))}


def run(
    command: list[str],
    log: Path,
    lock: int,
    env: dict[str, str] | None = None,
    watch: Callable[[], bool] | None = None,
    append: bool = False,
) -> int:
    """Run `command` and return its exit code; STOPPED when `watch` ended it.

    Args:
        command: arguments; the first is the program.
        log: where stdout and stderr go.
        lock: file descriptor of the cell's lock. The child keeps it, so a child that outlives
            its worker still counts as running and nobody starts the cell twice.
        env: variables added to the environment.
        watch: called every few seconds; True ends the child.
        append: keep what the log holds of earlier attempts.

    Raises:
        CellInterrupted: the child was killed by a signal (preemption, out of memory, kill -9).
    """
    parent = os.getpid()
    libc = ctypes.CDLL(None, use_errno=True)

    def die_with_worker() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the worker died before prctl took hold
            os._exit(1)

    with open(log, "ab" if append else "wb") as output:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            pass_fds=[lock],
            preexec_fn=die_with_worker,
        )
    try:
        while (code := _wait(child, 3.0)) is None:
            if watch is not None and watch():
                _end(child)
                return STOPPED
    except BaseException:  # the worker is told to stop, or its watch has failed
        _end(child)
        raise
    if code < 0:
        raise CellInterrupted(f"{Path(command[0]).name} was killed by signal {-code}")
    return code


def _wait(child: subprocess.Popen[bytes], seconds: float) -> int | None:
    try:
        return child.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return None


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    if _wait(child, GRACE_SECONDS) is None:
        child.kill()
        child.wait()
