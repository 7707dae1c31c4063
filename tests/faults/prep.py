"""Faults under data_prep: a corpus of a few lines is prepared, broken, and prepared again."""

from __future__ import annotations

import contextlib
import io
import random
import shutil
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


KINDS = ("kill", "fill", "corrupt", "truncate", "swap", "permission", "clock")


def fault(prep: Prep, rng: random.Random) -> tuple[str, str, str]:
    """One fault: its kind, what it hit, and the outcome."""
    kind, place = rng.choice(KINDS), prep.folder / "broken"
    if kind in ("kill", "fill"):
        shutil.rmtree(place, ignore_errors=True)
        act, number = (kill if kind == "kill" else fill), rng.randrange(1, 80)
        return kind, "a run", _restarted(prep, place, kind, partial(at_file_call, number, act))
    with copy_of(prep.done, place):
        before, target = prep.right, "a run"
        if kind == "clock":
            seconds = rng.choice((-1, 1)) * rng.uniform(1, 60 * YEAR)
            ended = prep.start(place, partial(jump, seconds))
        else:
            files = sorted(file for file in place.rglob("*") if file.is_file())
            chosen = rng.choice([*files, *[place / "provenance.json"] * len(files)])
            target = chosen.name if chosen.suffix == ".json" else "texts"
            damage(chosen, kind, rng)
            before = tree(place)
            ended = prep.start(place)
        if ended.code == 0:
            whole = undamaged(tree(place), prep.right)
            return kind, target, SURVIVED if whole else _lost(f"{kind}: wrong text", ended)
        left = one_line(ended) and tree(place) == before
        return kind, target, CLEAR_ERROR if left else _lost(kind, ended)


def _restarted(prep: Prep, place: Path, kind: str, act: Any) -> str:
    """The first run is killed or refuses in one line; the one after it gives the right text."""
    first = prep.start(place, act)
    if (first.code == 1 and not one_line(first)) or first.code not in (0, 1, -9):
        return _lost(kind, first)
    second = prep.start(place)
    if second.code != 0 or tree(place) != prep.right:
        return _lost(f"{kind}, restarted", second)
    return CLEAR_ERROR if first.code == 1 else SURVIVED


def undamaged(found: dict[str, bytes], right: dict[str, bytes]) -> bool:
    """Every file is right; what stood in place of one is kept beside it, as data_prep says."""
    beside = {name for name in found if name not in right}
    kept = {name for name in beside if name.rpartition(".kept-")[0] in right}
    return beside == kept and all(found.get(name) == text for name, text in right.items())


def _lost(name: str, ended: Ended) -> str:
    told(f"data_prep, {name}", ended)
    return LOST
