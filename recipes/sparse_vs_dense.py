"""`python -m recipes.sparse_vs_dense OUT`: does gradient flow tell how well a model trains?

Of the grids that recipes/sparse_vs_dense.sh leaves in OUT: BLEU and mean gradient flow of every
cell, and their rank correlation, in OUT/gradient_flow.md and .json.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

import msgspec

from fairseq_gradinit.files import FileError, read_json, read_json_lines, write_json, write_text

MEASURES = ("egf_1", "egf_2", "gradient_norm_2")
AGAIN = "delete the cell's folder and run the recipe again"
RESAMPLES, SEED = 2000, 1


class Metric(msgspec.Struct):
    score: float


class Score(msgspec.Struct):
    """What is used here of a cell's score.json."""

    status: str
    bleu: Metric


class Config(msgspec.Struct):
    """Of its cell.json."""

    values: dict[str, str]


class Probe(msgspec.Struct):
    """Of a line of its probes.jsonl; None where a number was not finite."""

    update: int
    egf_1: float | None = None
    egf_2: float | None = None
    gradient_norm_2: float | None = None


@dataclass(frozen=True)
class Run:
    """One cell. `flow`: the mean of each measure over the updates that were probed."""

    optimizer: str
    values: dict[str, str]
    status: str
    bleu: float
    flow: dict[str, float]

    @property
    def kind(self) -> str:
        return self.values["init"].partition("-")[0]


@dataclass(frozen=True)
class Correlation:
    """Kendall's τ_b of a measure with BLEU, and its 95 % bootstrap interval over the cells.

    None where fewer than three cells differ.
    """

    optimizer: str
    kind: str
    measure: str
    cells: int
    tau: float | None
    low: float | None
    high: float | None


def main(arguments: list[str] | None = None) -> int:
    """Writes both files. Returns the exit code; an error is one line."""
    parser = argparse.ArgumentParser(prog="recipes.sparse_vs_dense", description=__doc__)
    parser.add_argument("out", type=Path, help="the recipe's --out")
    out = parser.parse_args(arguments).out
    try:
        runs = read_runs(out)
        found = correlations(runs)
        about = {"runs": [asdict(run) for run in runs], "kendall": [asdict(one) for one in found]}
        write_json(out / "gradient_flow.json", about)
        write_text(out / "gradient_flow.md", report(runs, found))
    except FileError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(out / "gradient_flow.md")
    return 0


def read_runs(out: Path) -> list[Run]:
    """Every scored cell whose gradient flow was measured. Raises: FileError."""
    runs = []
    for folder in sorted(out.glob("*/grid/cells/*")):
        probes = folder / "checkpoints" / "gradinit" / "probes.jsonl"
        if not (folder / "score.json").exists() or not probes.exists():
            continue
        score = read_json(folder / "score.json", Score, AGAIN)
        config = read_json(folder / "cell.json", Config, AGAIN)
        if "init" not in config.values:
            raise FileError(f"{folder}: has no axis init; give an --out of sparse_vs_dense.sh")
        records = read_json_lines(probes, Probe, AGAIN)
        flow = {name: _mean([getattr(record, name) for record in records]) for name in MEASURES}
        optimizer = folder.relative_to(out).parts[0]
        runs.append(Run(optimizer, config.values, score.status, score.bleu.score, flow))
    if not runs:
        raise FileError(
            f"{out}: no scored cell with a probes.jsonl; run recipes/sparse_vs_dense.sh first"
        )
    return runs


def correlations(runs: Sequence[Run]) -> list[Correlation]:
    """For each optimizer, of all its cells, of the dense and of the sparse ones."""
    found = []
    for optimizer in sorted({run.optimizer for run in runs}):
        for kind in ("all", "dense", "sparse"):
            chosen = [r for r in runs if r.optimizer == optimizer and kind in ("all", r.kind)]
            for measure in MEASURES:
                pairs = [(r.flow[measure], r.bleu) for r in chosen]
                pairs = [pair for pair in pairs if math.isfinite(pair[0])]
                low, high = interval(pairs)
                found.append(
                    Correlation(optimizer, kind, measure, len(pairs), kendall(pairs), low, high)
                )
    return found


def kendall(pairs: Sequence[tuple[float, float]]) -> float | None:
    """τ_b of Kendall: concordant less discordant pairs, over those that are no tie in x and those
    that are none in y, geometric mean. None where all tie, or of fewer than three."""
    if len(pairs) < 3:
        return None
    score = ties_x = ties_y = 0
    for index, (x, y) in enumerate(pairs):
        for other_x, other_y in pairs[:index]:
            score += _sign(x - other_x) * _sign(y - other_y)
            ties_x += x == other_x
            ties_y += y == other_y
    total = len(pairs) * (len(pairs) - 1) // 2
    untied = (total - ties_x) * (total - ties_y)
    return score / math.sqrt(untied) if untied else None


def interval(pairs: Sequence[tuple[float, float]]) -> tuple[float | None, float | None]:
    """The middle 95 % of τ over resamples of the cells, drawn with replacement."""
    if kendall(pairs) is None:
        return None, None
    rng = random.Random(SEED)
    drawn = (kendall(rng.choices(pairs, k=len(pairs))) for _ in range(RESAMPLES))
    found = sorted(tau for tau in drawn if tau is not None)
    return found[int(0.025 * len(found))], found[int(0.975 * (len(found) - 1))]


def report(runs: Sequence[Run], found: Sequence[Correlation]) -> str:
    """Both tables in Markdown."""
    axes = list(dict.fromkeys(axis for run in runs for axis in run.values))
    lines = [
        "# Gradient flow and BLEU\n",
        _row("optimizer", "cells", "measure", "n", "Kendall's τ with BLEU", "95 % interval"),
        _row(*["---"] * 6),
    ]
    lines += [
        _row(
            c.optimizer,
            c.kind,
            c.measure,
            c.cells,
            _shown(c.tau),
            f"{_shown(c.low)} to {_shown(c.high)}",
        )
        for c in found
    ]
    lines += ["", _row("optimizer", *axes, "status", "BLEU", *MEASURES)]
    lines.append(_row(*["---"] * (len(axes) + len(MEASURES) + 3)))
    for run in sorted(runs, key=lambda run: -run.bleu):
        flow = [f"{run.flow[name]:.3g}" for name in MEASURES]
        values = [run.values.get(axis, "") for axis in axes]
        lines.append(_row(run.optimizer, *values, run.status, f"{run.bleu:.1f}", *flow))
    return "\n".join(lines) + "\n"


def _mean(values: Sequence[float | None]) -> float:
    finite = [value for value in values if value is not None]
    return fmean(finite) if finite else math.nan


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    sys.exit(main())
