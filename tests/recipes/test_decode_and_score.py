"""From fairseq's logs and outputs to numbers: order, lengths, curves, stored scores."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from fairseq_gradinit.files import FileError
from recipes.engine.cells import logs
from recipes.engine.cells.cell import Cell, status
from recipes.engine.cells.errors import CellFailed
from recipes.engine.cells.grid import Grid
from recipes.engine.cells.metrics import bleu
from recipes.engine.cells.records import Point, Status
from recipes.engine.cells.texts import read_lines
from recipes.engine.cells.verdict import is_stuck
from recipes.engine.steps.decode import parse, refuse_subwords
from recipes.engine.steps.score import measure, references, score

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
        measure(["a", "b", "c"], read_lines(reference), "en", reference)
    with pytest.raises(CellFailed, match="reference missing"):
        references(tmp_path / "none.en")


def test_stored_hypotheses_score_as_recorded():
    """BLEU and chrF, digit by digit, under the recorded signatures."""
    recorded = json.loads((STORED / "scores.json").read_text())
    for system, scores in recorded.items():
        hypotheses = read_lines(STORED / f"{system}.txt")
        reference = STORED / "reference.txt"
        measured = measure(hypotheses, read_lines(reference), "en", reference)
        for metric in ("bleu", "chrf"):
            assert measured[metric].score == scores[metric]["score"]
            version = measured[metric].signature.rsplit("version:", 1)
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
    assert curves.train == [Point(50, 9.0), Point(100, 7.0)]
    assert curves.valid == [Point(100, None)] and is_stuck(curves, 8.0)
    assert logs.updates_per_second(log) == 5.0
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
    ("said", "reason"),
    [
        ("Traceback:\n  x\n_pickle.UnpicklingError: Weights only\nCheck the docs.\n", "_pickle."),
        ("torch.OutOfMemoryError: CUDA\n\nfurther words\n", "torch.OutOfMemoryError: CUDA"),
        ("  raise x\nRuntimeError\n", "RuntimeError at raise x"),
        ("train.py: error: argument --foo: invalid\n", "train.py: error: argument --foo: invalid"),
        ("killed\n", "killed"),
    ],
)
def test_the_reason_is_the_line_that_names_the_error(said, reason):
    assert logs.why(said).startswith(reason)


@pytest.mark.parametrize("rest", ["null", "[]", "{}", '{"valid_num_updates": {}}', "[" * 9999])
def test_log_lines_of_another_shape_are_no_points(tmp_path, rest):
    log = tmp_path / "train.log"
    log.write_text(f"x | valid | {rest}\nx | train_inner | {{{rest}}}\n")
    assert logs.curves(log).last is None and logs.updates_per_second(log) is None


def trained_cell(folder: Path, nll: str, words: str, updates: int = 9) -> tuple[Grid, Cell]:
    """A cell after training and decoding; the reference is one sentence."""
    reference = folder / "test.en"
    reference.write_text("a man rides a bike\n")
    cell = Cell(folder / "cell", {})
    cell.folder.mkdir()
    cell.trained.write_text(f'{{"outcome": "trained", "seconds": 1, "updates": {updates}}}')
    cell.hypotheses.write_text(f"{words}\n")
    cell.train_log.write_text(
        f'x | valid | {{"valid_num_updates": "9", "valid_nll_loss": "{nll}"}}\n'
    )
    return Grid(data="d", axes={}, flags=["-ten"], reference=str(reference)), cell


@pytest.mark.parametrize(
    ("nll", "words", "worth", "verdict"),
    [
        ("5.4", "a man rides a bike", None, Status.DONE),
        ("5.4", "a man rides a bike", 0.01, Status.DONE),
        ("8.0", "a man rides a bike", None, Status.DIVERGED),
        ("nan", "a man rides a bike", None, Status.DIVERGED),
        ("7.9", "x", None, Status.UNDERTRAINED),
        ("7.9", "x", 0.05, Status.UNDERTRAINED),
        ("7.9", "x", 0.049, Status.BLIND),
        ("8.1", "x", 0.01, Status.DIVERGED),
    ],
)
def test_verdict(tmp_path, nll, words, worth, verdict):
    """Diverged is a matter of the loss alone; the plateau is 8 bits."""
    grid, cell = trained_cell(tmp_path, nll, words)
    if worth is not None:
        cell.gradinit.mkdir(parents=True)
        lines = f'{{"update": 1, "source_worth": 2}}\n{{"update": 9, "source_worth": {worth}}}\n'
        (cell.gradinit / "watch.jsonl").write_text(lines)
    score(grid, cell, plateau=8.0)
    assert json.loads(cell.score.read_text(), parse_constant=pytest.fail)["status"] == verdict
    assert status(cell)[0] is verdict and verdict.trains == (verdict is not Status.DIVERGED)


def test_a_run_that_left_no_model_scores_0(tmp_path):
    grid, cell = trained_cell(tmp_path, "5", "not its own")
    cell.trained.write_text('{"outcome": "loss not finite after update 9", "seconds": 1}')
    score(grid, cell, plateau=8.0)
    found = cell.read_score()
    assert (found.status, found.bleu.score, found.chrf.score) == (Status.DIVERGED, 0, 0)
    assert found.reason == "loss not finite after update 9"


def test_a_score_that_somebody_changed_is_noticed(tmp_path):
    grid, cell = trained_cell(tmp_path, "5", "a man rides a horse")
    score(grid, cell, plateau=8.0)
    changed = cell.score.read_text().replace('"plateau": 8.0', '"plateau": 9.0')
    assert changed != cell.score.read_text()
    cell.score.write_text(changed)
    with pytest.raises(FileError, match="its seal does not fit"):
        cell.read_score()


@pytest.mark.parametrize("tokenized", [False, True])
def test_a_log_that_goes_beyond_the_end_is_evidence_and_tokens_are_scored_if_asked(
    tmp_path, tokenized
):
    grid, cell = trained_cell(tmp_path, "5", "a man rides a bike", updates=5)
    cell.tokenized.write_text("a man rides a horse\n")
    cell.tokenized_reference.write_text("a man rides a bike\n")
    score(msgspec.structs.replace(grid, tokenized=tokenized), cell, plateau=8.0)
    found = cell.read_score()
    assert found.status is Status.DONE and found.bleu.score == pytest.approx(100)
    if tokenized:  # 4 of 5 words, 3 of 4 pairs, 2 of 3, 1 of 2
        expected = 100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25
        assert found.tokenized_bleu.score == pytest.approx(expected, abs=1e-4)
    else:
        assert found.tokenized_bleu is None


@pytest.mark.parametrize("log", [None, "", "\0" * 99, "x | valid | null\n"])
def test_without_evidence_a_cell_has_failed(tmp_path, log):
    grid, cell = trained_cell(tmp_path, "5", "a man rides a bike")
    cell.train_log.unlink() if log is None else cell.train_log.write_text(log)
    with pytest.raises(CellFailed, match=r"train\.log: does not hold the loss at the end"):
        score(grid, cell, plateau=8.0)


def test_a_log_that_lost_its_end_is_no_evidence(tmp_path):
    grid, cell = trained_cell(tmp_path, "5", "a man rides a bike", updates=10)
    with pytest.raises(CellFailed, match="does not hold the loss at the end"):
        score(grid, cell, plateau=8.0)


@pytest.mark.parametrize(
    ("target", "tokenizer"),
    [("en", "13a"), ("zh", "zh"), ("zh_CN", "zh"), ("zho_Hans", "zh"), ("th", "char")],
)
def test_the_tokenizer_follows_the_target(target, tokenizer):
    sentence = ["我们在红房子里读书。"]
    metric = bleu(target)
    assert metric.corpus_score(sentence, [sentence]).score == pytest.approx(100) or target == "en"
    assert f"tok:{tokenizer}|" in str(metric.get_signature())


def test_subwords_are_not_scored(tmp_path):
    refuse_subwords(["a man ▁ x"], ["▁ is a character of this text"])
    refuse_subwords(["me@@home.org"], ["a man"])
    for text, flag in (("▁a ▁ma n", "--remove-bpe sentencepiece"), ("a m@@ an", "--remove-bpe ")):
        with pytest.raises(CellFailed, match=f"still subwords.*add {flag}"):
            refuse_subwords([text], ["a man"])
