"""Texts of a line a sentence: hypotheses, references, logs."""

from __future__ import annotations

from pathlib import Path


def read_lines(path: Path) -> list[str]:
    """The lines without their line feeds; no other character ends a line."""
    with open(path, encoding="utf-8", newline="\n") as file:
        return [line.rstrip("\r\n") for line in file]


def joined(lines: list[str]) -> str:
    """The text whose lines these are."""
    return "".join(f"{line}\n" for line in lines)
