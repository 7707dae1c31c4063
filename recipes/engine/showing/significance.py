"""Is one init better than another? Over sentences (sacreBLEU's paired bootstrap) and over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sacrebleu.significance import PairedTest
from scipy import stats  # type: ignore[import-untyped]

from ..cells import metrics
from ..cells.texts import read_lines
from .results import Results, best, best_of, coordinates, inits_of

SAMPLES = 1000  # sacreBLEU's default for the bootstrap
MANY = 6  # inits, beyond which not every two are compared: that takes seconds a pair


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


def compare(results: Results) -> list[Comparison]:
    """The best of every two inits (chosen on valid), then every setting where both train. Of more
    than MANY inits the one with the highest BLEU at its best, against each other at its best.

    Raises:
        FileNotFoundError: the reference or a cell's hypotheses are gone.
    """
    groups = results.groups
    axes, inits = coordinates(results.grid), inits_of(results.grid)
    by_init = {init: groups[groups["init"] == init] for init in inits}
    if len(inits) > MANY:
        return _against_the_leader(results)
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
                    found.append(_test(results, what, one, other))
    return found


def _against_the_leader(results: Results) -> list[Comparison]:
    ranked = sorted(best_of(results.groups).values(), key=lambda one: -one["bleu"])
    return [_test(results, "best cells", ranked[0], one) for one in ranked[1:]]


def _test(results: Results, what: str, first: pd.Series, second: pd.Series) -> Comparison:
    cells, grid = {cell.name: cell for cell in results.cells}, results.grid
    # With several seeds, the first seed of each: sentences of one system, not a mixture.
    systems: list[tuple[str, Sequence[str]]] = [
        (str(number), cells[setting["cells"][0]].read_hypotheses())
        for number, setting in enumerate((first, second))
    ]
    test = PairedTest(
        systems,
        # force: scoring has already warned of tokenized text.
        {"BLEU": metrics.bleu(grid.target, force=True)},
        [read_lines(grid.reference_path)],
        test_type="bs",
        n_samples=SAMPLES,
    )
    tested: list[Any] = test()[1]["BLEU"]
    scores = [(float(one.score), float(one.ci)) for one in tested]
    p = float(tested[1].p_value)
    paired = paired_over_seeds(results.frame, first["cells"], second["cells"])
    return Comparison(what, first["init"], second["init"], scores[0], scores[1], p, *paired)


def paired_over_seeds(
    frame: pd.DataFrame, first: list[str], second: list[str]
) -> tuple[int, float, float, float]:
    """The paired t-test (Student 1908) of BLEU over the seeds that both lists of cells have.

    frame: a line a cell, with cell, bleu and, where there are several, seed.

    Returns:
        How many seeds, mean difference second − first, its sample standard deviation, two-sided
        p-value. NaN below two seeds; p is NaN too where all seeds differ by the same amount.
    """
    if "seed" not in frame:
        return 1, math.nan, math.nan, math.nan
    table = frame.set_index("cell")[["seed", "bleu"]]
    one, other = (table.loc[names].set_index("seed")["bleu"] for names in (first, second))
    gains = (other - one).dropna().to_numpy()
    if len(gains) < 2:
        return len(gains), math.nan, math.nan, math.nan
    mean, spread = float(gains.mean()), float(np.std(gains, ddof=1))
    # Below this the spread is rounding, of which a t-test would make certainty.
    p = float(stats.ttest_1samp(gains, 0.0).pvalue) if spread > 1e-9 else math.nan
    return len(gains), mean, spread, p
