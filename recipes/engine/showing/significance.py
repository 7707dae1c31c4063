"""Is one init better than another? Over sentences (sacreBLEU's paired bootstrap) and over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sacrebleu.metrics import BLEU
from sacrebleu.significance import PairedTest
from scipy import stats

from ..cells.cell import Cell
from ..cells.files import read_lines
from ..cells.grid import Grid
from .results import best, coordinates, inits_of

SAMPLES = 1000  # sacreBLEU's default for the bootstrap


@dataclass(frozen=True)
class Comparison:
    """Two inits at one setting, or each at its best.

    Attributes:
        what: where the two lie ("best cells" or the coordinates they share).
        first, second: init names; first_bleu, second_bleu: BLEU of the first seed with half the
            95 % interval over sentences.
        p: the bootstrap's p-value of the first seeds' difference.
        seeds: how many seeds both have.
        gain: mean over those seeds of second − first BLEU; gain_spread: its sample standard
            deviation; p_seeds: p-value of the paired t-test. NaN below two seeds.
    """

    what: str
    first: str
    second: str
    first_bleu: tuple[float, float]
    second_bleu: tuple[float, float]
    p: float
    seeds: int
    gain: float
    gain_spread: float
    p_seeds: float

    @property
    def difference(self) -> float:
        """Second − first, of the first seeds."""
        return self.second_bleu[0] - self.first_bleu[0]


def compare(
    grid: Grid, folder: Path, cells: pd.DataFrame, groups: pd.DataFrame
) -> list[Comparison]:
    """The best of every two inits (chosen on valid), then every setting where both train."""
    axes, inits = coordinates(grid), inits_of(grid)
    by_init = {init: groups[groups["init"] == init] for init in inits}
    found = []
    for index, first in enumerate(inits):
        for second in inits[index + 1 :]:
            mine, theirs = by_init[first], by_init[second]
            pairs: list[tuple[str, Any, Any]] = [("best cells", best(mine), best(theirs))]
            for _, one in mine.iterrows():
                same = theirs[(theirs[axes] == one[axes]).all(axis=1)]
                other = None if same.empty else same.iloc[0]
                pairs.append((" ".join(one[axes]), one, other))
            for what, one, other in pairs:
                if one is not None and other is not None and one["trains"] and other["trains"]:
                    found.append(_test(grid, folder, cells, what, one, other))
    return found


def _test(
    grid: Grid, folder: Path, cells: pd.DataFrame, what: str, first: pd.Series, second: pd.Series
) -> Comparison:
    # With several seeds, the first seed of each: sentences of one system, not a mixture.
    systems: list[tuple[str, Sequence[str]]] = [
        (str(number), read_lines(Cell(folder / "cells" / setting["cells"][0]).hypotheses))
        for number, setting in enumerate((first, second))
    ]
    test = PairedTest(
        systems,
        {"BLEU": BLEU(force=True)},  # scoring has already warned of tokenized text
        [read_lines(grid.reference_path)],
        test_type="bs",
        n_samples=SAMPLES,
    )
    results: list[Any] = test()[1]["BLEU"]
    scores = [(float(result.score), float(result.ci)) for result in results]
    p = float(results[1].p_value)
    paired = paired_over_seeds(cells, first["cells"], second["cells"])
    return Comparison(what, first["init"], second["init"], scores[0], scores[1], p, *paired)


def paired_over_seeds(
    cells: pd.DataFrame, first: list[str], second: list[str]
) -> tuple[int, float, float, float]:
    """The paired t-test (Student 1908) of BLEU over the seeds that both lists of cells have.

    Returns:
        How many seeds, mean difference second − first, its sample standard deviation, two-sided
        p-value. NaN below two seeds; p is NaN too where all seeds differ by the same amount.
    """
    if "seed" not in cells:
        return 1, math.nan, math.nan, math.nan
    table = cells.set_index("cell")[["seed", "bleu"]]
    one, other = (table.loc[names].set_index("seed")["bleu"] for names in (first, second))
    gains = (other - one).dropna().to_numpy()
    if len(gains) < 2:
        return len(gains), math.nan, math.nan, math.nan
    mean, spread = float(gains.mean()), float(np.std(gains, ddof=1))
    # Below this the spread is rounding, of which a t-test would make certainty.
    p = float(stats.ttest_1samp(gains, 0.0).pvalue) if spread > 1e-9 else math.nan
    return len(gains), mean, spread, p
