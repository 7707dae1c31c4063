"""What came of the faults, counted."""

from __future__ import annotations

from typing import Any

from .injector import CLEAR_ERROR, LOST, SURVIVED

PARTS = ("plugin", "engine", "data_prep")
OUTCOMES = (SURVIVED, CLEAR_ERROR, LOST)
Piece = dict[str, Any]


def summary(pieces: list[Piece]) -> list[Piece]:
    """By part, kind and target: how many were injected, survived, clear_error, lost."""

    def place(one: Piece) -> tuple[int, str, str]:
        return PARTS.index(one["part"]), one["kind"], one["target"]

    rows: dict[tuple[str, str, str], Piece] = {}
    for piece in sorted(pieces, key=place):
        key = (piece["part"], piece["kind"], piece["target"])
        new = {**dict(zip(("part", "kind", "target"), key)), "injected": 0}
        row = rows.setdefault(key, {**new, **dict.fromkeys(OUTCOMES, 0)})
        row["injected"] += 1
        row[piece["outcome"]] += 1
    return list(rows.values())


def table(rows: list[Piece]) -> str:
    """The counts by part and kind, as docs/errors.md has them."""
    added: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        counts = added.setdefault((row["part"], row["kind"]), [0, 0, 0, 0])
        for at, name in enumerate(("injected", *OUTCOMES)):
            counts[at] += row[name]
    total = [sum(column) for column in zip(*added.values())]
    lines = [
        "| part | fault | injected | survived | one-line error | lost |",
        "|---|---|---:|---:|---:|---:|",
    ]
    named = [*((*key, counts) for key, counts in added.items()), ("all", "", total)]
    lines += [f"| {part} | {kind} | {' | '.join(map(str, c))} |" for part, kind, c in named]
    return "\n".join(lines)
