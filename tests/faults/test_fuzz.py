"""Mutated files of every kind that is read back: read right, or refused in one line; never a
crash, a hang, or a part of it in force.

`make fuzz` tries 125,000 of them; GRADINIT_FUZZ=N tries N of each of the five kinds here.
"""

import gzip
import os
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
from faults.mutations import mutated, spoilt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from data_prep.lib import record
from data_prep.lib.packed import PrepError
from data_prep.lib.texts import aligned, read_lines
from fairseq_gradinit.before_training import _apply
from fairseq_gradinit.files import FileError, read_json, write_json
from fairseq_gradinit.gradinit import Blocks, GradInitError
from fairseq_gradinit.gradinit.settings import LARGEST_SCALE
from fairseq_gradinit.progress import read_progress, state_of
from fairseq_gradinit.records import read_scales
from recipes.engine.cells.records import Score

EXAMPLES = int(os.environ.get("GRADINIT_FUZZ", "120"))
SECONDS = 5.0  # for one input; a hang is longer, and one that waits takes no processor
fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=EXAMPLES == 120,
    suppress_health_check=list(HealthCheck),
)

tried: Counter[str] = Counter()  # "target read" or "target refused": how often


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))


BLOCKS = [
    {"name": block.name, "shape": list(block.shape), "scale": 0.5, "norm_before": 1.25}
    for block in Blocks(model()).blocks
]
SCALES = {"format": 1, "config": {"lr": 0.1}, "blocks": BLOCKS, "seed": 1}
PROGRESS = {
    **{"format": 1, "config": {"lr": 0.1}, "made_from": {}, "norms": {"a": 1.0}},
    **{"done": 2, "step": "lower_loss", "drawn": 5, "start": [1.0], "scales": [0.5]},
    **{"moments": {"lower_loss": {"m": [0.1], "v": [0.2], "t": 2}}, "seconds": 1.0},
}
SCORE = {
    **{"status": "done", "reason": "", "plateau": 8.0},
    **{name: {"score": 27.5, "signature": "s"} for name in ("bleu", "chrf")},
    "curves": {"train": [{"update": 1, "nll": 9.0}], "valid": []},
    "seconds": {"train": 1.5},
}
PROVENANCE = {
    "stages": {"get": {"params": {"a": 1}, "inputs": {"x": "0"}, "outputs": {"raw/t.de": "0"}}},
    "command": "c",
    "languages": {"source": "de", "target": "en"},
}
TEXT = "Der Hund läuft.\nZwei Wörter\u2028hier\n\nEnde\n".encode()


def refused(target: str, error: Exception) -> None:
    """One line that a terminal can show, and not without end."""
    tried[f"{target} refused"] += 1
    assert str(error).isprintable() and len(str(error)) < 2000, str(error)[:300]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(autouse=True)
def nothing_elsewhere(folder):
    """No file appears beside the folder."""
    before = set(folder.parent.iterdir())
    yield
    assert set(folder.parent.iterdir()) == before


@fuzzed
@given(content=spoilt(SCALES))
def test_scales(folder: Path, content: bytes) -> None:
    path, started = folder / "scales.json", time.monotonic()
    path.write_bytes(content)
    net = model()
    before = [p.detach().clone() for p in net.parameters()]
    try:
        applied = _apply(net, path, read_scales(path))
    except GradInitError as error:
        refused("scales", error)
        assert all(torch.equal(a, b) for a, b in zip(before, net.parameters()))
    else:
        tried["scales read"] += 1
        assert all(0 <= scale <= LARGEST_SCALE for scale in applied.scales)
        for parameter, old, scale in zip(net.parameters(), before, applied.scales):
            assert torch.equal(parameter, old * scale)
    assert time.monotonic() - started < SECONDS


@fuzzed
@given(content=spoilt(PROGRESS))
def test_progress(folder: Path, content: bytes) -> None:
    path = folder / "progress.json"
    path.write_bytes(content)
    try:
        state = state_of(read_progress(path))
    except FileError as error:
        refused("progress", error)
    else:
        tried["progress read"] += 1
        assert len(state.start) == len(state.scales) and bool(state.scales.isfinite().all())
        assert sum(t for _, _, t in state.moments.values()) == state.after.done


@fuzzed
@given(content=spoilt(SCORE), sealed=st.booleans(), data=st.data())
def test_score(folder: Path, content: bytes, sealed: bool, data: st.DataObject) -> None:
    path = folder / "score.json"
    if sealed:
        write_json(path, SCORE, sealed=True)
        content = data.draw(mutated(path.read_bytes()))
    path.write_bytes(content)
    try:
        found = read_json(path, Score)
    except FileError as error:
        refused("score", error)
        return
    tried["score read"] += 1
    if sealed and b"seal" in content:
        assert found.bleu.score == SCORE["bleu"]["score"]


@fuzzed
@given(content=spoilt(PROVENANCE))
def test_provenance(folder: Path, content: bytes) -> None:
    (folder / record.NAME).write_bytes(content)
    try:
        found = record.read(folder)
    except (FileError, PrepError) as error:
        refused("provenance", error)
        return
    tried["provenance read"] += 1
    for name in found.known():
        place = os.path.normpath(folder / name)
        assert place.startswith(f"{folder}{os.sep}"), name


@fuzzed
@given(content=mutated(TEXT), packed=st.booleans(), data=st.data())
def test_corpora(folder: Path, content: bytes, packed: bool, data: st.DataObject) -> None:
    path = folder / ("text.de.gz" if packed else "text.de")
    if packed:
        content = data.draw(mutated(gzip.compress(TEXT, mtime=0)))
    path.write_bytes(content)
    started = time.monotonic()
    try:
        lines = list(read_lines(path))
        pairs = list(aligned(iter(lines), iter(["x"] * 4), "a", "b"))
    except PrepError as error:
        refused("corpora", error)
    else:
        tried["corpora read"] += 1
        assert len(pairs) == 4
        assert all(len(line.splitlines()) <= 1 for line in lines)  # nothing that cuts a line
    assert time.monotonic() - started < SECONDS
