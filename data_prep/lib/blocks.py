"""Work on aligned line files with all cores, in bounded memory, in the order of the lines."""

import contextlib
import ctypes
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .packed import PrepError

BLOCK = 5_000  # lines; the unit of work and of memory, whatever the number of workers
Offsets = list[tuple[int, int]]

_STATE: dict[str, Any] = {}  # per worker process: what `setup` made (a model, a tokenizer)


def line_blocks(path: Path, size: int = BLOCK) -> Offsets:
    r"""Byte ranges [(begin, end)] of `path`, `size` lines each; lines end at \n."""
    ranges, begin, position = [], 0, 0
    with open(path, "rb") as stream:
        for number, line in enumerate(stream, 1):
            position += len(line)
            if number % size == 0:
                ranges.append((begin, position))
                begin = position
    if position > begin:
        ranges.append((begin, position))
    return ranges


def read_block(path: Path, begin: int, end: int) -> list[str]:
    """The lines of one byte range, without line ends."""
    with open(path, "rb") as stream:
        stream.seek(begin)
        text = stream.read(end - begin).decode("utf-8")
    return (text[:-1] if text.endswith("\n") else text).split("\n")


def map_blocks(
    paths: Sequence[Path],
    function: Callable[..., Any],
    *,
    setup: Callable[..., Any] | None = None,
    setup_args: tuple[Any, ...] = (),
    workers: int = 1,
    title: str = "",
) -> Iterator[Any]:
    """Yield function(state, *lines_of_each_file) for each block of aligned lines, in order.

    `setup(*setup_args)` runs once in each worker and makes `state`. Results do not depend on
    `workers`: blocks have a fixed size and come back in order.
    """
    offsets = [line_blocks(path) for path in paths]
    if len({len(o) for o in offsets}) > 1:
        names = " and ".join(str(path) for path in paths)
        raise PrepError(f"{names}: different numbers of lines; remove them and run again")
    tasks = [(function, tuple(zip(paths, ranges))) for ranges in zip(*offsets)]
    with tqdm(total=len(tasks), desc=title, unit="block", disable=None) as bar:
        for result in _results(tasks, setup, setup_args, workers):
            bar.update()
            yield result


def _results(
    tasks: list[Any], setup: Callable[..., Any] | None, args: tuple[Any, ...], workers: int
) -> Iterator[Any]:
    if workers <= 1 or len(tasks) <= 1:
        _start(setup, args)
        yield from map(_run_task, tasks)
        return
    with ProcessPoolExecutor(
        min(workers, len(tasks)), initializer=_start_worker, initargs=(setup, args)
    ) as pool:
        try:
            yield from pool.map(_run_task, tasks)
        except BrokenProcessPool as error:
            raise PrepError(
                "a worker process was killed (out of memory?); run again with fewer --workers"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def end_with_parent() -> None:
    """Make this process end when its parent does, even where that is killed (on Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _start_worker(setup: Callable[..., Any] | None, args: tuple[Any, ...]) -> None:
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops its workers
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _start(setup, args)


def _start(setup: Callable[..., Any] | None, args: tuple[Any, ...]) -> None:
    _STATE["value"] = setup(*args) if setup else None


def _run_task(task: Any) -> Any:
    function, ranges = task
    blocks = [read_block(path, begin, end) for path, (begin, end) in ranges]
    if len({len(block) for block in blocks}) > 1:
        names = " and ".join(str(path) for path, _ in ranges)
        raise PrepError(f"{names}: different numbers of lines; remove them and run again")
    return function(_STATE["value"], *blocks)
