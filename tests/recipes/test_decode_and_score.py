"""From fairseq's logs and outputs to numbers: order, lengths, curves, stored scores."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recipes.engine.cells import logs
from recipes.engine.cells.cell import Cell
from recipes.engine.cells.errors import CellFailed
from recipes.engine.cells.files import read_lines
from recipes.engine.cells.grid import Grid
from recipes.engine.steps.decode import parse
from recipes.engine.steps.score import measure, score

STORED = Path(__file__).parent / "stored"


def test_output_is_sorted_into_corpus_order(tmp_path):
    log = tmp_path / "generate.log"
    log.write_text(
        "S-1\tb\nT-1\tB .\nH-1\t-0.5\tB2 .\nD-1\t-0.5\tB2.\nT-0\tA .\nH-0\t-1\tA \u2028 .\n"
        "D-0\t-1\tA\u2028.\nP-0\t-1 -1\n"
    )
    found = parse(log)
    assert found["D"] == ["A\u2028.", "B2."]  # a line separator in a text is no new line
    assert found["T"] == ["A .", "B ."] and found["H"][1] == "B2 ."


def test_a_sentence_without_hypothesis_is_an_error(tmp_path):
    log = tmp_path / "generate.log"
    log.write_text("T-0\tA\nT-1\tB\nD-1\t-0.5\tB\n")
    with pytest.raises(CellFailed, match="no hypothesis for 1 of 2 sentences"):
        parse(log)
    log.write_text("")
    with pytest.raises(CellFailed, match="no hypothesis for any"):
        parse(log)


def test_reference_of_another_length(tmp_path):
    reference = tmp_path / "test.en"
    reference.write_text("a\nb\n")
    with pytest.raises(CellFailed, match=r"2 lines, but 3 hypotheses.*--reference"):
        measure(["a", "b", "c"], reference)
    with pytest.raises(CellFailed, match="reference missing"):
        measure(["a"], tmp_path / "none.en")


def test_stored_hypotheses_score_as_recorded():
    """BLEU and chrF, digit by digit, under the recorded signatures."""
    recorded = json.loads((STORED / "scores.json").read_text())
    for system, scores in recorded.items():
        hypotheses = read_lines(STORED / f"{system}.txt")
        measured = measure(hypotheses, STORED / "reference.txt")
        for metric in ("bleu", "chrf"):
            assert measured[metric]["score"] == scores[metric]["score"]
            version = measured[metric]["signature"].rsplit("version:", 1)
            assert version[0] == scores[metric]["signature"].rsplit("version:", 1)[0]


def test_a_resumed_log_counts_no_update_twice(tmp_path):
    log = tmp_path / "train.log"
    line = 'x | INFO | train_inner | {{"num_updates": "{}", "nll_loss": "{}", "ups": "5"}}\n'
    log.write_text(
        line.format(50, 9)
        + line.format(100, 8)
        + 'x | INFO | train_inner | {"num_upd'  # cut by a kill
        + "\n"
        + line.format(100, 7)
        + 'x | INFO | valid | {"valid_num_updates": "100", "valid_loss": "nan"}\n'
    )
    curves = logs.curves(log)
    assert [(p["update"], p["nll"]) for p in curves["train"]] == [(50, 9.0), (100, 7.0)]
    assert logs.is_stuck(curves["valid"], 8.0)
    assert logs.last_update(log) == 100


@pytest.mark.parametrize(
    ("text", "diverged"),
    [
        ("FloatingPointError: gradients are Nan/Inf\n", True),
        ('File "fairseq/nan_detector.py", line 40, in __exit__\nStopIteration\n', True),
        ("FloatingPointError: Minimum loss scale reached (0.0001).\n", True),
        ("OSError: [Errno 28] No space left on device\n", False),
    ],
)
def test_diverged_and_failed_are_told_apart(tmp_path, text, diverged):
    log = tmp_path / "train.log"
    log.write_text(text)
    assert logs.not_finite(log) == diverged
    assert logs.last_error(log) == text.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("nll", "words", "verdict"),
    [
        ("5.4", "a man rides a bike", "done"),
        ("8.1", "a man rides a bike", "diverged"),
        ("nan", "a man rides a bike", "diverged"),
        ("5.4", "x", "diverged"),
    ],
)
def test_verdict(tmp_path, nll, words, verdict):
    """Diverged: the loss at the end not below the plateau of 8 bits, or BLEU about 0."""
    reference = tmp_path / "test.en"
    reference.write_text("a man rides a bike\n")
    cell = Cell(tmp_path / "cell")
    cell.folder.mkdir()
    cell.trained.write_text('{"outcome": "trained", "seconds": 1}')
    cell.hypotheses.write_text(f"{words}\n")
    cell.train_log.write_text(
        f'x | valid | {{"valid_num_updates": "9", "valid_nll_loss": "{nll}"}}\n'
    )
    score(Grid(data="d", axes={}, reference=str(reference)), cell, plateau=8.0)
    assert json.loads(cell.score.read_text(), parse_constant=pytest.fail)["status"] == verdict
