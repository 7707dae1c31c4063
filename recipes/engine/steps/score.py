"""The score of a cell: sacreBLEU with its signature, chrF, curves, speed, and the verdict."""

from __future__ import annotations

from pathlib import Path

from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.metrics.base import Metric as SacreMetric

from fairseq_gradinit.files import read_json, write_json

from ..cells import logs
from ..cells.cell import AGAIN, Cell
from ..cells.errors import CellFailed
from ..cells.grid import Grid
from ..cells.metrics import bleu
from ..cells.records import Curves, Decoded, Metric, Score, Seconds, Status, Trained
from ..cells.texts import read_lines
from ..cells.verdict import verdict
from .train import TRAINED


def score(grid: Grid, cell: Cell, plateau: float) -> None:
    """Write score.json from what training and decoding left.

    Args:
        plateau: the loss of a model that knows word frequencies only, bits per token.

    Raises:
        CellFailed: hypotheses and reference differ in length, the reference is missing, or the
            log no longer tells how the training ended.
    """
    trained = cell.read_trained()
    curves = logs.curves(cell.train_log)
    has_model = trained.outcome == TRAINED
    expected = references(grid.reference_path)
    # No model was left to decode: an empty translation scores 0.
    texts = cell.read_hypotheses() if has_model else [""] * len(expected)
    measured = measure(texts, expected, grid.target, grid.reference_path)
    status, reason = Status.DIVERGED, trained.outcome
    if has_model:
        _check_evidence(cell, curves, trained)
        status, reason = verdict(curves, plateau, measured["bleu"].score, cell.read_watch())
    result = Score(
        status, reason, plateau=plateau, curves=curves, **measured,
        tokenized_bleu=tokenized_bleu(cell) if grid.tokenized and has_model else None,
        seconds=_seconds(cell, trained),
        updates_per_second=logs.updates_per_second(cell.train_log),
    )  # fmt: skip
    write_json(cell.score, result, sealed=True)


def _check_evidence(cell: Cell, curves: Curves, trained: Trained) -> None:
    """Raise CellFailed where the log has lost the end of the training: no loss is no good loss."""
    last = max([point.update for point in [*curves.train, *curves.valid]], default=0)
    if not last or last < trained.updates:
        raise CellFailed(
            f"{cell.train_log}: does not hold the loss at the end of the training; "
            f"delete {cell.folder} and run again"
        )


def measure(
    hypotheses: list[str], expected: list[str], target: str, reference: Path
) -> dict[str, Metric]:
    """BLEU and chrF of detokenized hypotheses, each with sacreBLEU's signature.

    Args:
        expected: the lines of `reference`, the file's name for the error.
        target: language code, which chooses BLEU's tokenizer.

    Raises:
        CellFailed: the reference has another number of lines than `hypotheses`.
    """
    if len(expected) != len(hypotheses):
        raise CellFailed(
            f"{reference}: {len(expected)} lines, but {len(hypotheses)} hypotheses; give the "
            "reference of the decoded split (--subset, --reference)"
        )
    metrics: dict[str, SacreMetric] = {"bleu": bleu(target), "chrf": CHRF()}
    return {name: _measured(metric, hypotheses, expected) for name, metric in metrics.items()}


def _measured(metric: SacreMetric, hypotheses: list[str], expected: list[str]) -> Metric:
    value = metric.corpus_score(hypotheses, [expected]).score
    return Metric(round(value, 4), str(metric.get_signature()))


def references(file: Path) -> list[str]:
    """The reference, a line a sentence; CellFailed when it is missing."""
    if not file.exists():
        raise CellFailed(f"{file}: reference missing; run data_prep again or give --reference")
    return read_lines(file)


def tokenized_bleu(cell: Cell) -> Metric:
    """BLEU of lower-cased tokens as the corpus has them, for comparison with older papers only."""
    # force: sacreBLEU warns of tokenized input, which is the point here.
    metric = BLEU(tokenize="none", lowercase=True, force=True)
    return _measured(metric, read_lines(cell.tokenized), read_lines(cell.tokenized_reference))


def _seconds(cell: Cell, trained: Trained) -> Seconds:
    scales = cell.read_scales()
    decode = read_json(cell.decoded, Decoded, AGAIN).seconds if cell.decoded.exists() else None
    return Seconds(trained.seconds, scales.seconds if scales else None, decode)
