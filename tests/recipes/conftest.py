"""A grid of stub cells, driven in a process of its own so that it can be killed."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.corpus import binarise, phrase_pair, write_corpus

from recipes.engine.cells.grid import Grid, claim

ROOT = Path(__file__).parents[2]
STUB = Path(__file__).parent / "stub"
LINES = ["a man in a red shirt rides a bike", "two dogs run over the green grass", "a girl sings"]
DRIVE = """
import json, sys
from pathlib import Path
from recipes.engine.running.engine import run_grid
from recipes.engine.cells.grid import load
from recipes.engine.running.cluster import Cluster
folder = Path(sys.argv[1])
progress = run_grid(
    load(folder), folder, Cluster(**{"kind": "local", "jobs": 1, **json.loads(sys.argv[2])}),
    lambda _: None, int(sys.argv[3]),
)
print(json.dumps(progress.states))
"""


@dataclasses.dataclass
class StubGrid:
    """A grid folder whose cells run tests/recipes/stub instead of fairseq."""

    folder: Path
    grid: Grid

    def start(self, early_stop: int = 0, **cluster: object) -> subprocess.Popen[str]:
        """The engine on this grid, in a process of its own; `early_stop` as in Worker."""
        paths = os.pathsep.join([str(STUB), str(ROOT)])
        return subprocess.Popen(
            [sys.executable, "-c", DRIVE, str(self.folder), json.dumps(cluster), str(early_stop)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )

    def run(self, early_stop: int = 0, **cluster: object) -> dict[str, list[str]]:
        """Run the grid to its end: status and reason by cell name."""
        out, _ = self.start(early_stop, **cluster).communicate(timeout=300)
        return json.loads(out.splitlines()[-1])


@pytest.fixture(scope="session")
def phrases(tmp_path_factory) -> Path:
    """A --data of some hundred short sentences."""
    folder = tmp_path_factory.mktemp("phrases")
    raw = folder / "raw"
    write_corpus(raw, {"train": 400, "valid": 20, "test": 20}, phrase_pair)
    # Copied and not moved: fairseq keeps its log there open.
    shutil.copytree(binarise(raw), folder / "data-bin")
    return folder


@pytest.fixture
def stub_grid(tmp_path):
    """Make a StubGrid of the given learning rates; `seconds` is what a training takes."""

    def make(rates: list[str], seconds: float = 0.0, name: str = "grid") -> StubGrid:
        data = tmp_path / "data"
        (data / "raw").mkdir(parents=True, exist_ok=True)
        (data / "raw" / "test.en").write_text("".join(f"{line}\n" for line in LINES))
        flags = ["-s", "de", "--target-lang", "en", "--seconds", str(seconds)]
        grid = Grid(data=str(data), axes={"lr": rates}, flags=flags)
        folder = tmp_path / name
        claim(grid, folder)
        corpus = {"plateau": 8.0, "sentences": len(LINES)}  # the stub has no data to count
        (folder / "corpus.json").write_text(json.dumps(corpus))
        return StubGrid(folder, grid)

    return make
