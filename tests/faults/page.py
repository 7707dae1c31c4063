"""Puts the counts of results/ into docs/errors.md: `python -m faults.page`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from fairseq_gradinit.files import write_text

from .counts import table

ROOT = Path(__file__).parents[2]


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def of_results(results: Path) -> dict[str, str]:
    """What stands in each marked place of the page."""
    fuzz, leaks = read(results / "fuzz.json"), read(results / "leaks.json")
    targets = ", ".join(f"{row['inputs']:,} of {name}" for name, row in fuzz["targets"].items())
    total = fuzz["total"]
    parts = [f"{_growth(found['held'])} ({name})" for name, found in leaks["parts"].items()]
    return {
        "faults": f"\n\n{table(read(results / 'faults.json')['faults'])}\n\n",
        "fuzz": f"{total['inputs']:,} inputs ({targets}), {total['crashes']} crashes",
        "leaks": "resident memory grew by " + " and ".join(parts),
    }


def _growth(held: list[list[int]]) -> str:
    """Of resident memory a run, once the first fifth of the runs is done."""
    before, after = held[len(held) // 5 - 1], held[-1]
    return f"{(after[-1] - before[-1]) / (after[0] - before[0]):.1f} KiB a run"


def between(page: str, name: str) -> str:
    """What stands in a marked place."""
    found = re.search(f"<!-- {name} -->(.*?)<!-- /{name} -->", page, re.DOTALL)
    assert found, name
    return found[1]


def main() -> None:
    """Writes the page."""
    path = ROOT / "docs" / "errors.md"
    page = path.read_text(encoding="utf-8")
    for name, text in of_results(ROOT / "results").items():
        old = f"<!-- {name} -->{between(page, name)}<!-- /{name} -->"
        page = page.replace(old, f"<!-- {name} -->{text}<!-- /{name} -->")
    write_text(path, page)


if __name__ == "__main__":
    main()
