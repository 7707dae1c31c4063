"""Faults under data_prep: a corpus of a few lines is prepared, broken, and prepared again."""

from __future__ import annotations

import contextlib
import io
import random
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from prep_texts import form_of, tree, write_splits

from data_prep.lib.__main__ import main

from .injector import (
    CLEAR_ERROR,
    LOST,
    SURVIVED,
    YEAR,
    Ended,
    at_file_call,
    copy_of,
    damage,
    fill,
    in_a_child,
    jump,
    kill,
    one_line,
    told,
)


class Refused(Exception):
    pass


class Prep:
    """Text got and cleaned from a folder of raw files, in process."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.done = folder, folder / "done"
        write_splits(folder / "given")
        assert self.start(self.done).code == 0
        self.right = tree(self.done)

    def start(self, out: Path, fault: Any = None) -> Ended:
        """A run in a child. Its one line of error, if it has one, is what it says."""
        return in_a_child(lambda: self._prepare(out, fault), (Refused,))

    def _prepare(self, out: Path, fault: Any) -> None:
        given = ["--raw-dir", self.folder / "given", "--until", "get", "--workers", 1]
        if fault is not None:
            fault()
        with contextlib.redirect_stderr(io.StringIO()) as err:
            code = main(
                ["multi30k", *form_of("multi30k"), "--", "--out", str(out), *map(str, given)]
            )
        if code:
            lines = err.getvalue().splitlines()
            errors = [line for line in lines if line.startswith("error: ")]
            assert len(errors) == 1 and "Traceback" not in err.getvalue(), err.getvalue()
            raise Refused(errors[0])


def faults(prep: Prep, rng: random.Random) -> Iterator[tuple[str, str]]:
    """For ever: a fault's kind, and its outcome."""
    place = prep.folder / "broken"
    while True:
        kind = rng.choice(("kill", "fill", "corrupt", "truncate", "swap", "permission", "clock"))
        if kind in ("kill", "fill"):
            shutil.rmtree(place, ignore_errors=True)
            act, number = (kill if kind == "kill" else fill), rng.randrange(1, 80)
            first = prep.start(place, partial(at_file_call, number, act))
            if (first.code == 1 and not one_line(first)) or first.code not in (0, 1, -9):
                yield kind, _lost(kind, first)
                continue
            second = prep.start(place)
            whole = second.code == 0 and tree(place) == prep.right
            outcome = CLEAR_ERROR if first.code == 1 else SURVIVED
            yield kind, outcome if whole else _lost(f"{kind}, restarted", second)
            continue
        with copy_of(prep.done, place):
            before = prep.right
            if kind == "clock":
                seconds = rng.choice((-1, 1)) * rng.uniform(1, 60 * YEAR)
                ended = prep.start(place, partial(jump, seconds))
            else:
                files = sorted(file for file in place.rglob("*") if file.is_file())
                record = [place / "provenance.json"] * len(files)
                damage(rng.choice([*files, *record]), kind, rng)
                before = tree(place)
                ended = prep.start(place)
            if ended.code == 0:
                yield (
                    kind,
                    SURVIVED
                    if undamaged(tree(place), prep.right)
                    else _lost(f"{kind}: wrong text", ended),
                )
            else:
                left = one_line(ended) and tree(place) == before
                yield kind, CLEAR_ERROR if left else _lost(kind, ended)


def undamaged(found: dict[str, bytes], right: dict[str, bytes]) -> bool:
    """Every file is right; what stood in place of one is kept beside it, as data_prep says."""
    beside = {name for name in found if name not in right}
    kept = {name for name in beside if name.rpartition(".kept-")[0] in right}
    return beside == kept and all(found.get(name) == text for name, text in right.items())


def _lost(name: str, ended: Ended) -> str:
    told(f"data_prep, {name}", ended)
    return LOST
