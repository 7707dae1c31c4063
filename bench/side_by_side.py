"""Timing things in turns in one process, so that what disturbs one disturbs all."""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress

ROOT = Path(__file__).resolve().parents[1]

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)


@dataclass(frozen=True)
class Row:
    """What something costs, over the base's cost in the same round.

    Attributes:
        ratio, low, high: median over rounds and the quartiles around it.
        seconds: median CPU time.
        target: what the ratio is wanted to be at most, if there is such a number.
    """

    ratio: float
    low: float
    high: float
    seconds: float
    target: float | None = None


def prepare(threads: int = 1) -> None:
    """One thread, fairseq silent, and freed memory kept by the process as a GPU's allocator keeps
    it: where the kernel takes it back, the page faults of each large tensor can cost more than the
    arithmetic on it, and differ from one order of allocations to another."""
    torch.set_num_threads(threads)
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):  # glibc
            libc.mallopt(M_MMAP_THRESHOLD, 2**30)
            libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def timed(
    contenders: Mapping[str, Callable[[], Any]], rounds: int, what: str
) -> dict[str, list[float]]:
    """CPU seconds of each, in `rounds` rounds after one that warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(what, total=(rounds + 1) * len(contenders))
        for at in range(rounds + 1):
            for name, run in contenders.items():
                start = time.process_time()  # of this process: neighbours count little
                run()
                if at > 0:
                    seconds[name].append(time.process_time() - start)
                progress.advance(bar)
    return seconds


def rows(
    seconds: Mapping[str, list[float]],
    base: str,
    targets: Mapping[str, float] | None = None,
    parts: Mapping[str, int] | None = None,
) -> dict[str, Row]:
    """Each over `base`, round by round.

    parts: how many of a kind a contender runs at once; its row is of one of them.
    """
    made = {}
    for name, taken in seconds.items():
        count = (parts or {}).get(name, 1)
        ratios = [one / count / other for one, other in zip(taken, seconds[base])]
        low, middle, high = quartiles(ratios)
        made[name] = Row(
            round(middle, 4),
            round(low, 4),
            round(high, 4),
            round(statistics.median(taken) / count, 6),
            (targets or {}).get(name),
        )
    return made


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """First quartile, median, third."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def about(**given: Any) -> dict[str, Any]:
    """Where and how the numbers of this process came about."""
    here = Path(sys.argv[0]).resolve()
    name = str(here.relative_to(ROOT)) if here.is_relative_to(ROOT) else here.name
    return {
        **given,
        "command": " ".join(["python", name, *sys.argv[1:]]),
        "commit": _commit(),
        "torch": str(torch.__version__),  # a class of its own
        "python": platform.python_version(),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} thread",
        "load": round(os.getloadavg()[0], 1),
        "time": time.strftime("%Y-%m-%d %H:%M"),
    }


def _commit() -> str:
    """The checkout's, marked where it is not what was committed; what benches write there is no
    part of what they measure."""
    git = ["git", "-C", str(ROOT)]
    found = subprocess.run([*git, "describe", "--always"], capture_output=True, text=True)
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", ":!results"])
    name = found.stdout.strip() or "not a checkout"
    return f"{name}-dirty" if changed.returncode == 1 else name


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names and names[0] != "unknown" else platform.machine()


def markdown(title: str, made: Mapping[str, Row]) -> str:
    """A table of rows; what is over its target is marked."""
    lines = [f"| {title} | median | quartiles | wanted at most |", "|---|---:|---:|---:|"]
    for name, row in made.items():
        wanted = "" if row.target is None else f"{row.target:.3g}"
        over = " (over)" if row.target is not None and row.ratio > row.target else ""
        spread = f"{row.low:.3g} to {row.high:.3g}"
        lines.append(f"| {name} | {row.ratio:.3g}{over} | {spread} | {wanted} |")
    return "\n".join(lines) + "\n"


def show(title: str, made: Mapping[str, Row]) -> None:
    """The same on the terminal."""
    Console(width=100).print(markdown(title, made), highlight=False, markup=False)
