"""Faults under the engine: a grid of stub cells is broken, read, and run again."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from fairseq_gradinit.files import FileError
from recipes.engine.cells.cell import Cell, cells_of, status
from recipes.engine.cells.errors import CellFailed, GridError
from recipes.engine.cells.grid import Grid, claim, load
from recipes.engine.steps.score import score

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
    one_line,
    told,
)

ROOT = Path(__file__).parents[2]
STUB = ROOT / "tests" / "recipes" / "stub"
DRIVE = """
import sys
from pathlib import Path
from recipes.engine.cells.grid import load
from recipes.engine.running.cluster import Cluster
from recipes.engine.running.engine import run_grid
folder = Path(sys.argv[1])
run_grid(load(folder), folder, Cluster(kind="local", jobs=1), lambda _: None, 0)
"""
LINES = ["a man in a red shirt rides a bike", "two dogs run over the green grass"]
RATES = ["0.1", "1"]
READ = ("score.json", "cell.json", "trained.json")
REFUSALS = (FileError, GridError)
TIMED = ("seconds", "updates_per_second")


class Engine:
    """A grid run to its end by the stub of fairseq in tests/recipes/stub."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.done = folder, folder / "grid"
        (folder / "data" / "raw").mkdir(parents=True)
        (folder / "data" / "raw" / "test.en").write_text("".join(f"{x}\n" for x in LINES))
        self._claim(self.done)
        self.start(self.done).wait(120)
        self.right = self.read(self.done)

    def _claim(self, folder: Path) -> None:
        flags = ["-s", "de", "--target-lang", "en", "--seconds", "0.3"]
        claim(Grid(data=str(self.folder / "data"), axes={"lr": RATES}, flags=flags), folder)
        corpus = {"plateau": 8.0, "sentences": len(LINES)}
        (folder / "corpus.json").write_text(json.dumps(corpus))

    def start(self, folder: Path) -> subprocess.Popen[bytes]:
        """The engine in a process group of its own."""
        paths = os.pathsep.join([str(STUB), str(ROOT)])
        return subprocess.Popen(
            [sys.executable, "-c", DRIVE, str(folder)],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )

    def cells(self, folder: Path) -> list[Cell]:
        """The cells of the grid in a folder."""
        return cells_of(load(folder), folder)

    def read(self, folder: Path) -> str:
        """Everything that is read back of a grid, besides times. Raises: FileError, GridError."""
        found = []
        for cell in self.cells(folder):
            score, config = cell.read_score(), cell.read_config()
            assert config is not None
            found.append([cell.name, status(cell), config.seed, config.values])
            if score is not None:
                found.append([score.bleu, score.chrf, score.plateau, score.curves])
            found.append([cell.read_trained().outcome, cell.read_trained().updates])
        return repr(found)

    def killed_and_continued(self, rng: random.Random) -> str:
        """The engine and all its children are killed at a random moment, and it runs again."""
        place = self.folder / "killed"
        shutil.rmtree(place, ignore_errors=True)
        self._claim(place)
        process = self.start(place)
        time.sleep(rng.uniform(0.2, 4.0))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self.start(place).wait(120)
        ended = in_a_child(lambda: self.read(place), REFUSALS)
        return SURVIVED if ended.said == self.right else _lost("kill", ended)


KINDS = ("corrupt", "truncate", "swap", "permission", "fill", "clock", "kill")
KILL = 0.08  # of the faults, since a killed engine and its restart take seconds


def fault(engine: Engine, rng: random.Random) -> tuple[str, str, str]:
    """One fault: its kind, what it hit, and the outcome."""
    if rng.random() < KILL:
        return "kill", "the engine and its cells", engine.killed_and_continued(rng)
    kind, place = rng.choice(KINDS[:-1]), engine.folder / "broken"
    with copy_of(engine.done, place):
        if kind == "fill":  # a cell's records are written anew, whole or not at all
            target, number = "score.json", rng.randrange(1, 8)
            ended = in_a_child(partial(_written_again, engine, place, number), REFUSALS)
        elif kind == "clock":
            target, seconds = "all files", rng.choice((-1, 1)) * rng.uniform(1, 60 * YEAR)
            for file in place.rglob("*.json"):
                os.utime(file, (max(0, time.time() + seconds),) * 2)
            ended = in_a_child(partial(_read_then, engine, place, seconds), REFUSALS)
        elif rng.random() < 0.2:
            return kind, "train.log", _scored_again(engine, place, kind, rng)
        else:
            cell = rng.choice(engine.cells(place))
            files = [
                *(cell.folder / name for name in READ if (cell.folder / name).exists()),
                place / "grid.json",
            ]
            chosen = rng.choice(files)
            target = chosen.name
            damage(chosen, kind, rng)
            ended = in_a_child(lambda: engine.read(place), REFUSALS)
    if ended.code == 0:
        return kind, target, SURVIVED if ended.said == engine.right else _lost(kind, ended)
    return kind, target, CLEAR_ERROR if one_line(ended) else _lost(kind, ended)


def _scored_again(engine: Engine, place: Path, kind: str, rng: random.Random) -> str:
    """A cell whose log was damaged before it was scored keeps its status, or fails in one line.

    What the log says of points in between is drawn, and no result.
    """
    cell = rng.choice(engine.cells(place))
    grid = load(place)
    before = cell.read_score()
    assert before is not None
    cell.score.unlink()
    damage(cell.train_log, kind, rng)

    def again() -> str:
        score(grid, cell, before.plateau)
        now = cell.read_score()
        assert now is not None
        return repr((now.status, now.bleu, now.chrf))

    ended = in_a_child(again, (*REFUSALS, CellFailed, OSError))
    if ended.code == 0:
        right = repr((before.status, before.bleu, before.chrf))
        return SURVIVED if ended.said == right else _lost(f"{kind} train.log", ended)
    return CLEAR_ERROR if one_line(ended) else _lost(f"{kind} train.log", ended)


def _read_then(engine: Engine, place: Path, seconds: float) -> str:
    jump(seconds)
    return engine.read(place)


def _written_again(engine: Engine, place: Path, number: int) -> str:
    from fairseq_gradinit.files import write_json

    cell = engine.cells(place)[0]
    score = cell.read_score()
    at_file_call(number, fill)
    try:
        write_json(cell.score, score, sealed=True)
    except FileError as error:
        assert "No space left" in str(error)
    return engine.read(place)


def _lost(name: str, ended: Ended) -> str:
    told(f"engine, {name}", ended)
    return LOST
