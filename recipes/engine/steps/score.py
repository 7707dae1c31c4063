"""The score of a cell: sacreBLEU with its signature, chrF, curves, speed, and the verdict."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from sacrebleu.metrics import BLEU, CHRF

from ..cells import logs
from ..cells.cell import DIVERGED, DONE, Cell
from ..cells.errors import CellFailed
from ..cells.files import read_json, read_lines, write_json
from ..cells.grid import Grid
from .train import STUCK, TRAINED

# Runs stuck on the plateau score 0.00 to 0.02. A short run that learns can stay below 1 with the
# lowest validation loss of its grid, so the bound is no higher.
DIVERGED_BLEU = 0.1


def score(grid: Grid, cell: Cell, plateau: float) -> None:
    """Write score.json from what training and decoding left.

    Args:
        plateau: entropy of the scored split's target tokens, bits per token.

    Raises:
        CellFailed: hypotheses and reference differ in length, or the reference is missing.
    """
    trained = read_json(cell.trained)
    curves = logs.curves(cell.train_log)
    result: dict[str, Any] = {"status": DONE, "reason": ""}
    if trained["outcome"] != TRAINED:
        result = {"status": DIVERGED, "reason": trained["outcome"]}
        # No model was left to decode: an empty translation scores 0.
        texts = [""] * len(references(grid.reference_path))
    else:
        texts = read_lines(cell.hypotheses)
    result.update(measure(texts, grid.reference_path))
    if grid.tokenized and trained["outcome"] == TRAINED:
        result["tokenized_bleu"] = tokenized_bleu(cell)
    if result["status"] == DONE and logs.is_stuck(curves["valid"], plateau):
        result.update(status=DIVERGED, reason=STUCK)
    elif result["status"] == DONE and result["bleu"]["score"] < DIVERGED_BLEU:
        result.update(status=DIVERGED, reason=f"BLEU below {DIVERGED_BLEU:g}")
    speeds = sorted(point.pop("ups") for point in curves["train"])
    for point in [*curves["train"], *curves["valid"]]:
        point["nll"] = point["nll"] if math.isfinite(point["nll"]) else None  # JSON has no NaN
    result.update(
        plateau=plateau,
        curves=curves,
        seconds={
            "train": trained["seconds"],
            "gradinit": _gradinit_seconds(cell),
            "decode": _decode_seconds(cell),
        },
        updates_per_second=speeds[len(speeds) // 2] if speeds else None,
    )
    write_json(cell.score, result)


def measure(hypotheses: list[str], reference: Path) -> dict[str, Any]:
    """BLEU and chrF of detokenized hypotheses, each with sacreBLEU's signature.

    Raises:
        CellFailed: the reference is missing or has another number of lines than `hypotheses`.
    """
    expected = references(reference)
    if len(expected) != len(hypotheses):
        raise CellFailed(
            f"{reference}: {len(expected)} lines, but {len(hypotheses)} hypotheses; give the "
            "reference of the decoded split (--subset, --reference)"
        )
    found = {}
    for name, metric in (("bleu", BLEU()), ("chrf", CHRF())):
        value = metric.corpus_score(hypotheses, [expected]).score
        found[name] = {"score": round(value, 4), "signature": str(metric.get_signature())}
    return found


def references(file: Path) -> list[str]:
    """The reference, a line a sentence; CellFailed when it is missing."""
    if not file.exists():
        raise CellFailed(f"{file}: reference missing; run data_prep again or give --reference")
    return read_lines(file)


def tokenized_bleu(cell: Cell) -> dict[str, Any]:
    """BLEU of lower-cased tokens as the corpus has them, for comparison with older papers only."""
    # force: sacreBLEU warns of tokenized input, which is the point here.
    metric = BLEU(tokenize="none", lowercase=True, force=True)
    hypotheses = read_lines(cell.folder / "tokenized.txt")
    expected = read_lines(cell.folder / "tokenized_reference.txt")
    value = metric.corpus_score(hypotheses, [expected]).score
    return {"score": round(value, 4), "signature": str(metric.get_signature())}


def _gradinit_seconds(cell: Cell) -> float | None:
    scales = cell.gradinit / "scales.json"
    return read_json(scales).get("seconds") if scales.exists() else None


def _decode_seconds(cell: Cell) -> float | None:
    decoded = cell.folder / "decoded.json"
    return read_json(decoded)["seconds"] if decoded.exists() else None
