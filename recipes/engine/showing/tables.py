"""Tables of a grid: grid.tsv and timings.tsv, Markdown, the terminal's, and the page's."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd
import rich.markup
import rich.table

from ..cells.grid import Grid
from ..cells.records import Status
from .results import (
    at,
    best,
    best_of,
    coordinates,
    corpus_of,
    highest_rate,
    inits_of,
    signatures,
)
from .significance import SAMPLES, Comparison

UNFINISHED = {Status.FAILED: "failed", Status.MISSING: "–", Status.RUNNING: "running"}


@dataclass(frozen=True)
class Table:
    """A table of text, as Markdown, on a terminal and in the page.

    Attributes:
        title: its heading.
        header: a text a column.
        lines: a text a cell.
        words: the columns of words; the rest hold numbers.
        bold: (line, column) of those that stand out.
    """

    title: str
    header: list[str]
    lines: list[list[str]]
    words: tuple[int, ...] = (0,)
    bold: frozenset[tuple[int, int]] = frozenset()

    def markdown(self) -> str:
        """The table alone, without its title, in GitHub's Markdown."""
        rule = ["---" if at in self.words else "---:" for at in range(len(self.header))]
        lines = [
            [
                f"**{text}**" if (row, column) in self.bold else text
                for column, text in enumerate(line)
            ]
            for row, line in enumerate(self.lines)
        ]
        return "".join(f"| {' | '.join(line)} |\n" for line in [self.header, rule, *lines])

    def terminal(self) -> rich.table.Table:
        """The table for rich to print."""
        table = rich.table.Table(title=self.title or None, title_justify="left")
        for number, name in enumerate(self.header):
            table.add_column(name, justify="left" if number in self.words else "right")
        for line in self.lines:
            table.add_row(*(rich.markup.escape(text) for text in line))
        return table


def number(value: float, digits: int = 2) -> str:
    """The number, "" for NaN."""
    return "" if math.isnan(value) else f"{value:.{digits}f}"


def spread(mean: float, deviation: float, digits: int = 2) -> str:
    """Mean ± sample standard deviation, the mean alone where there is none, "" for NaN."""
    text = number(mean, digits)
    return text if math.isnan(deviation) else f"{text} ± {deviation:.{digits}f}"


def grid_tsv(grid: Grid, frame: pd.DataFrame) -> str:
    """A line per cell. No times: an interrupted run gives the same file, byte for byte."""
    table = frame[[*grid.axes, "status"]].copy()
    for name in ("bleu", "chrf", "tokenized_bleu"):
        table[name] = frame[name].map(number)
    table["valid_nll_bits"] = frame["valid_nll"].map(lambda nll: number(nll, 3))
    table["updates"] = frame["updates"].map(lambda update: number(update, 0))
    table["reason"], table["bleu_signature"] = frame["reason"], frame["signature"]
    return table.to_csv(sep="\t", index=False, lineterminator="\n")


def timings_tsv(grid: Grid, frame: pd.DataFrame) -> str:
    """Seconds and speed by cell, over all attempts; cells without a result are left out."""
    frame = frame[frame["bleu"].notna()]
    table = frame[list(grid.axes)].copy()
    for name in ("train_seconds", "gradinit_seconds", "decode_seconds"):
        table[name] = frame[name].map(lambda seconds: number(seconds, 1))
    table["updates_per_second"] = frame["updates_per_second"].map(number)
    return table.to_csv(sep="\t", index=False, lineterminator="\n")


def setting_text(setting: pd.Series) -> str:
    """BLEU of a setting: mean ± spread over its seeds, what befell them, or why there is none."""
    states = setting["states"]
    for state, text in UNFINISHED.items():
        if state in states:
            return text
    if set(states) == {Status.DIVERGED}:
        return f"diverged ({setting['bleu']:.2f})"
    text = spread(setting["bleu"], setting["bleu_spread"])
    for state in dict.fromkeys(states):
        if state != Status.DONE:
            count = "" if set(states) == {state} else f"{states.count(state)} of {len(states)} "
            text += f" ({count}{state})"
    return text


def by_init(grid: Grid, groups: pd.DataFrame) -> list[Table]:
    """BLEU: a table an init, lr across, the other coordinates down; its best setting bold."""
    axes = coordinates(grid)
    found = []
    for init in inits_of(grid):
        mine = groups[groups["init"] == init]
        has = (
            set(mine[axes[0]]) if axes else set()
        )  # a grid may be a part of the product of its axes
        across = [value for value in grid.axes[axes[0]] if value in has] if axes else [""]
        chosen = best(mine)
        places = {tuple(setting[axes]): setting for _, setting in mine.iterrows()}
        lines: list[list[str]] = []
        bold: set[tuple[int, int]] = set()
        for down in dict.fromkeys(place[1:] for place in places):
            settings = [places.get((*([value] if axes else []), *down)) for value in across]
            texts = ["–" if one is None else setting_text(one) for one in settings]
            bold |= {
                (len(lines), column)
                for column, one in enumerate(settings, start=1)
                if one is not None and chosen is not None and one["cells"] == chosen["cells"]
            }
            lines.append([" / ".join(down), *texts])
        corner = f"{' / '.join(axes[1:])} \\ {axes[0]}" if axes else ""
        found.append(Table(init, [corner, *across], lines, bold=frozenset(bold)))
    return found


def summary(grid: Grid, groups: pd.DataFrame) -> Table:
    """A line an init: its best setting by validation loss, and how far up in lr it trains."""
    axes = coordinates(grid)
    chosen = best_of(groups)
    places = ["best at"] if axes else []
    header = ["init", *places, f"BLEU on {grid.subset}", "chrF", "validation loss (bits)"]
    rates = "lr" in axes and len(grid.axes["lr"]) > 1
    lines = []
    for init in inits_of(grid):
        mine = groups[groups["init"] == init]
        states = [state for states in mine["states"] for state in states]
        counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        one = chosen.get(init)
        texts = [""] * 4
        if one is not None:
            texts = [
                at(one, axes),
                setting_text(one),
                spread(one["chrf"], one["chrf_spread"]),
                spread(one["valid_nll"], one["valid_nll_spread"], 3),
            ]
        line = [init, *texts[0 if places else 1 :]]
        lines.append([*line, *([highest_rate(mine) or "none"] if rates else []), counts])
    header += [*(["highest lr that trains"] if rates else []), "cells"]
    return Table("", header, lines, (0, *range(1, 1 + len(places)), len(header) - 1))


def differences(comparisons: list[Comparison]) -> Table | None:
    """The comparisons, None when there is none; what is over seeds only where there are seeds."""
    if not comparisons:
        return None
    header = ["where", "A", "B", "BLEU of A", "BLEU of B", "B − A", "p"]
    seeds = any(one.seeds > 1 for one in comparisons)
    lines = []
    for one in comparisons:
        scores = (one.first_bleu, one.second_bleu)
        first, second = (f"{mean:.2f} ± {half:.2f}" for mean, half in scores)
        lines.append([one.what, one.first, one.second, first, second, f"{one.difference:+.2f}"])
        lines[-1].append(f"{one.p:.3f}")
        if seeds:
            gain = "" if math.isnan(one.gain) else f"{one.gain:+.2f} ± {one.gain_spread:.2f}"
            lines[-1] += [str(one.seeds), gain, number(one.p_seeds, 3)]
    if seeds:
        header += ["seeds", "B − A over seeds", "p over seeds"]
    return Table("", header, lines, (0, 1, 2))


DIFFERENCES_NOTE = (
    f"BLEU, B − A and p are of the first seed: paired bootstrap of sacreBLEU, {SAMPLES} samples, "
    "seed 12345; ± is half the 95 % interval over sentences, not the spread over seeds. Over "
    "seeds: mean ± sample standard deviation of the same seed's difference, p of the paired "
    "t-test, two-sided."
)


def measured_by(grid: Grid, frame: pd.DataFrame) -> str:
    """What BLEU is: of which text, and sacreBLEU's signature (several, had versions been mixed)."""
    text = f"BLEU on {grid.subset}, sacreBLEU {', '.join(signatures(frame))}"
    corpus = corpus_of(grid)
    return f"{corpus}: {text}" if corpus else text


def note(grid: Grid, frame: pd.DataFrame) -> str:
    """What the numbers of the tables are."""
    return (
        f"{measured_by(grid, frame)}; ± is the sample standard deviation over seeds. Bold: lowest "
        "validation loss of the init; the test set has no say. Diverged: loss not finite, or not "
        "below the unigram plateau at the end (its BLEU in parentheses)."
    )
