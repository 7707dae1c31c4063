"""Giving files their names in OUT, and taking away those of before.

Nothing is replaced or removed but files whose bytes are those that provenance.json recorded.
"""

import contextlib
import os
import shutil
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

from fairseq_gradinit.files import inside

from .packed import sha256_of
from .record import Provenance

SCRATCH = ".data_prep"


def say(text: str) -> None:
    """One line of news for the person at the terminal."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def scratch_in(out: Path) -> Iterator[Path]:
    """A folder to write in. What a killed run left of its own is removed first."""
    folder = out / SCRATCH
    _remove_scratch(folder)
    scratch = folder / str(os.getpid())  # a straggler of a killed run cannot write into it
    scratch.mkdir(parents=True)
    try:
        yield scratch
    finally:
        _remove_scratch(folder)


def _remove_scratch(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
    shutil.rmtree(folder, ignore_errors=True)


def publish(out: Path, label: str, new: Path, known: set[str]) -> None:
    """Give a file its name; one that is there and was not written here is set aside."""
    target = inside(out, label)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and digest_of(target) not in known:
        number = 1
        while (aside := target.with_name(f"{target.name}.kept-{number}")).exists():
            number += 1
        say(f"{target}: was changed by someone else; kept as {aside.name}")
        target.rename(aside)
    os.replace(new, target)


def remove_old(out: Path, provenance: Provenance, labels: Collection[str]) -> None:
    """Remove files of before, unless another stage has them now or someone changed them."""
    current = {label for stage in provenance.stages.values() for label in stage.outputs}
    known = provenance.known()
    for label in sorted(set(labels) - current):
        path = inside(out, label)
        if path.is_file() and not path.is_symlink() and digest_of(path) in known[label]:
            path.unlink()
            with contextlib.suppress(OSError):
                path.parent.rmdir()  # refused where it is not empty


def digest_of(path: Path) -> str | None:
    """The sha256 of a file, None where there is none."""
    return sha256_of(path) if path.is_file() else None
