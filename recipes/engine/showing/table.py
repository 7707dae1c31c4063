"""Tables of a grid: grid.tsv and timings.tsv, Markdown, and the terminal's."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable

from rich.table import Table

from ..cells.grid import Grid
from ..cells.records import Status
from .rows import Group, Row, best, coordinates, groups_of, inits_of

UNFINISHED = {Status.FAILED: "failed", Status.MISSING: "–", Status.RUNNING: "running"}


def number(value: float | None, digits: int = 2) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def perplexity(row: Row) -> str:
    return number(2**row.valid_nll if row.valid_nll < 60 else math.nan, 1)


def _tsv(header: list[str], lines: Iterable[list[str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(header)
    writer.writerows(lines)
    return text.getvalue()


def grid_tsv(grid: Grid, rows: list[Row]) -> str:
    """A line per cell. No times: an interrupted run gives the same file, byte for byte."""
    axes = list(grid.axes)
    header = [*axes, "status", "bleu", "chrf", "tokenized_bleu", "valid_nll_bits", "updates"]
    return _tsv([*header, "reason", "bleu_signature"], ([
        *row.at(axes), row.status, number(row.bleu), number(row.chrf),
        number(row.score.tokenized_bleu.score
               if row.score and row.score.tokenized_bleu else math.nan),
        number(row.valid_nll, 3), _updates(row), row.reason,
        row.score.bleu.signature if row.score else "",
    ] for row in rows))  # fmt: skip


def _updates(row: Row) -> str:
    last = row.score.curves.last if row.score else None
    return str(last.update) if last else ""


def timings_tsv(grid: Grid, rows: list[Row]) -> str:
    """Seconds and speed by cell, over all attempts."""
    axes = list(grid.axes)
    names = ["train", "gradinit", "decode"]
    header = [*axes, *(f"{name}_seconds" for name in names), "updates_per_second"]
    return _tsv(header, ([
        *row.at(axes),
        *(number(getattr(row.score.seconds, name), 1)
          for name in names),
        number(row.score.updates_per_second or math.nan),
    ] for row in rows if row.score))  # fmt: skip


def cell_text(group: Group) -> str:
    """BLEU of a group for a table: mean, spread over seeds, or why there is none."""
    states = {row.status for row in group.rows}
    for state, mark in UNFINISHED.items():
        if state in states:
            return mark
    if states == {Status.DIVERGED}:
        return f"diverged ({group.bleu:.2f})"
    text = f"{group.bleu:.2f}"
    if not math.isnan(group.spread):
        text += f" ± {group.spread:.2f}"
    diverged = sum(row.status is Status.DIVERGED for row in group.rows)
    return text + (f" ({diverged} of {len(group.rows)} diverged)" if diverged else "")


def markdown(grid: Grid, rows: list[Row]) -> str:
    """BLEU by init: one table each, lr across, the other coordinates down; best cell bold."""
    groups = groups_of(grid, rows)
    axes = coordinates(grid)
    across = grid.axes[axes[0]] if axes else []
    parts = []
    for init in inits_of(grid):
        mine = {group.at: group for group in groups.values() if group.init == init}
        chosen = best(list(mine.values()))
        parts.append(f"### {init}\n")
        parts.append(
            f"| {' / '.join(axes[1:])} \\ {axes[0] if axes else ''} | " + " | ".join(across) + " |"
        )
        parts.append("| --- |" + " ---: |" * len(across))
        for down in dict.fromkeys(at[1:] for at in mine):
            texts = [_bold(mine[(value, *down)], chosen) for value in across]
            parts.append(f"| {' / '.join(down)} | " + " | ".join(texts) + " |")
        if not across:
            parts.append(f"| {cell_text(mine[()])} |")
        parts.append("")
    parts.append(
        f"BLEU on {grid.subset}, sacreBLEU `{'`, `'.join(signatures(rows))}`. Bold: "
        "lowest validation loss of the init. Diverged: loss not finite or not below the "
        "unigram plateau at the end (its BLEU in parentheses).\n"
    )
    return "\n".join(parts)


def signatures(rows: list[Row]) -> list[str]:
    """sacreBLEU's signatures of all results: one, unless versions were mixed."""
    return sorted({row.score.bleu.signature for row in rows if row.score})


def _bold(group: Group, chosen: Group | None) -> str:
    text = cell_text(group)
    return f"**{text}**" if group is chosen else text


def terminal(grid: Grid, rows: list[Row]) -> Table:
    """All cells, a line each, for the end of a run."""
    axes = list(grid.axes)
    table = Table(*axes, "status", "BLEU", "chrF", "valid perplexity", "minutes", "why")
    for row in rows:
        seconds = (
            (row.score.seconds.train or 0) + (row.score.seconds.decode or 0)
            if (row.score)
            else math.nan
        )
        status = "trains" if row.status is Status.DONE else row.status.value
        table.add_row(
            *row.at(axes),
            status,
            number(row.bleu),
            number(row.chrf),
            perplexity(row),
            number(seconds / 60, 1),
            row.reason,
        )
    return table
