"""Mutated files of every kind that is read back: read right, or refused in one line; never a
crash, a hang, or a part of it in force.

GRADINIT_FUZZ=25000 tries that many inputs of each of the five kinds instead of a few.
"""

import gzip
import json
import os
import time
from pathlib import Path

import pytest
import torch
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
SECONDS = 5.0  # for one input; a hang is longer
fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES == 120,
    suppress_health_check=list(HealthCheck),
)

# What a hand, another program or a broken disk writes where something else stood.
WORDS = [
    *(b"null", b"NaN", b"Infinity", b"-1", b"1e400", b"9" * 400, b"1e30", b"0", b"true", b'""'),
    *(b"[]", b"{}", b"[" * 3000, b'{"a":' * 3000, b"\xff\xfe", b"\x00", b"\xef\xbb\xbf", b"\r\n"),
    *("\u2028\u0085\u200b".encode(), b"../../precious", b"/etc/passwd", b'"name": "a",'),
]


@st.composite
def mutated(draw: st.DrawFn, whole: bytes) -> bytes:
    """`whole` after one to four changes."""
    content = whole
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        to = min(len(content), at + draw(st.sampled_from((0, 1, 1, 4, 30, 10_000))))
        kind = draw(st.sampled_from(("word", "bytes", "flip", "cut", "twice", "token")))
        if kind == "word":
            content = content[:at] + draw(st.sampled_from(WORDS)) + content[to:]
        elif kind == "bytes":
            content = content[:at] + draw(st.binary(max_size=8)) + content[to:]
        elif kind == "flip" and at < len(content):
            flipped = content[at] ^ (1 << draw(st.integers(0, 7)))
            content = content[:at] + bytes([flipped]) + content[at + 1 :]
        elif kind == "cut":
            content = content[:at] + content[to:]
        elif kind == "twice":
            content = content[:to] + content[at:to] + content[to:]
        elif kind == "token":  # a whole value of the JSON
            start = content.find(b": ", at)
            if start >= 0:
                ends = [content.find(mark, start) for mark in (b",", b"\n")]
                end = min((end for end in ends if end >= 0), default=len(content))
                value = draw(st.sampled_from(WORDS))
                content = content[: start + 2] + value + content[end:]
    return content


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


def as_text(value: object) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()


def refused(error: Exception) -> None:
    """One line, and not without end."""
    assert "\n" not in str(error) and len(str(error)) < 2000, str(error)[:300]


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
@given(content=mutated(as_text(SCALES)))
def test_scales(folder: Path, content: bytes) -> None:
    path, started = folder / "scales.json", time.monotonic()
    path.write_bytes(content)
    net = model()
    before = [p.detach().clone() for p in net.parameters()]
    try:
        applied = _apply(net, path, read_scales(path))
    except GradInitError as error:
        refused(error)
        assert all(torch.equal(a, b) for a, b in zip(before, net.parameters()))
    else:
        assert all(0 <= scale <= LARGEST_SCALE for scale in applied.scales)
        for parameter, old, scale in zip(net.parameters(), before, applied.scales):
            assert torch.equal(parameter, old * scale)
    assert time.monotonic() - started < SECONDS


@fuzzed
@given(content=mutated(as_text(PROGRESS)))
def test_progress(folder: Path, content: bytes) -> None:
    path = folder / "progress.json"
    path.write_bytes(content)
    try:
        state = state_of(read_progress(path))
    except FileError as error:
        refused(error)
    else:
        assert len(state.start) == len(state.scales) and bool(state.scales.isfinite().all())
        assert sum(t for _, _, t in state.moments.values()) == state.after.done


@fuzzed
@given(content=mutated(as_text(SCORE)), sealed=st.booleans(), data=st.data())
def test_score(folder: Path, content: bytes, sealed: bool, data: st.DataObject) -> None:
    path = folder / "score.json"
    if sealed:
        write_json(path, SCORE, sealed=True)
        content = data.draw(mutated(path.read_bytes()))
    path.write_bytes(content)
    try:
        found = read_json(path, Score)
    except FileError as error:
        refused(error)
        return
    if sealed and b"seal" in content:
        assert found.bleu.score == SCORE["bleu"]["score"]


@fuzzed
@given(content=mutated(as_text(PROVENANCE)))
def test_provenance(folder: Path, content: bytes) -> None:
    (folder / record.NAME).write_bytes(content)
    try:
        found = record.read(folder)
    except (FileError, PrepError) as error:
        refused(error)
        return
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
        refused(error)
    else:
        assert len(pairs) == 4
        assert all(len(line.splitlines()) <= 1 for line in lines)  # nothing that cuts a line
    assert time.monotonic() - started < SECONDS
