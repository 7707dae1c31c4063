"""Is one init better than another? sacreBLEU's own paired bootstrap, cell by cell."""

from __future__ import annotations

from dataclasses import dataclass

from sacrebleu.significance import PairedTest

from ..cells.grid import Grid
from ..cells.metrics import bleu
from ..cells.texts import read_lines
from .rows import Group, Row, best, groups_of, inits_of

SAMPLES = 1000  # sacreBLEU's default for the bootstrap


@dataclass(frozen=True)
class Comparison:
    """Two inits on the same sentences; `p` is the bootstrap's p-value of their difference.

    Attributes:
        what: where the two cells lie ("best cells" or the coordinates they share).
        first, second: init names; first_bleu, second_bleu: BLEU with half the 95 % interval.
    """

    what: str
    first: str
    second: str
    first_bleu: tuple[float, float]
    second_bleu: tuple[float, float]
    p: float

    @property
    def difference(self) -> float:
        return self.second_bleu[0] - self.first_bleu[0]


def compare(grid: Grid, rows: list[Row]) -> list[Comparison]:
    """The best cells of every two inits (chosen on valid), then every place where both train."""
    groups = list(groups_of(grid, rows).values())
    inits = inits_of(grid)
    found = []
    for index, first in enumerate(inits):
        for second in inits[index + 1 :]:
            mine = [group for group in groups if group.init == first]
            theirs = {group.at: group for group in groups if group.init == second}
            pairs = [("best cells", best(mine), best(list(theirs.values())))]
            pairs += [(" ".join(group.at), group, theirs.get(group.at)) for group in mine]
            found += [_test(grid, *pair) for pair in pairs if _both_train(*pair[1:])]
    return found


def _both_train(first: Group | None, second: Group | None) -> bool:
    return first is not None and second is not None and first.trains and second.trains


def _test(grid: Grid, what: str, first: Group, second: Group) -> Comparison:
    # With several seeds, the first seed of each: sentences of one system, not a mixture.
    systems = [
        (str(number), group.rows[0].cell.read_hypotheses())
        for number, group in enumerate((first, second))
    ]
    test = PairedTest(
        systems,
        {"BLEU": bleu(grid.target, force=True)},  # scoring has already warned of tokenized text
        [read_lines(grid.reference_path)],
        test_type="bs",
        n_samples=SAMPLES,
    )
    results = test()[1]["BLEU"]
    scores = [(float(result.score), float(result.ci)) for result in results]
    return Comparison(
        what, first.init, second.init, scores[0], scores[1], float(results[1].p_value)
    )


def markdown(comparisons: list[Comparison]) -> str:
    """The comparisons as a Markdown table, "" when there is none."""
    if not comparisons:
        return ""
    lines = [
        "| where | A | B | BLEU of A | BLEU of B | B − A | p |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for c in comparisons:
        first, second = (f"{mean:.2f} ± {half:.2f}" for mean, half in (c.first_bleu, c.second_bleu))
        lines.append(
            f"| {c.what} | {c.first} | {c.second} | {first} | {second} | "
            f"{c.difference:+.2f} | {c.p:.3f} |"
        )
    lines.append(
        f"\nPaired bootstrap of sacreBLEU, {SAMPLES} samples, seed 12345; ± is half the 95 % "
        "interval over sentences, not the spread over seeds.\n"
    )
    return "\n".join(lines)
