"""make faults: many faults of every kind; what came of them, in results/faults.json.

PYTHONPATH=.:tests:tests/support python -m faults --count 600 --out results/faults.json

What is done is kept in outputs/faults.jsonl, and the same command goes on from there.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fairseq_gradinit.files import write_json

from . import engine, plugin, prep
from .counts import OUTCOMES, Piece, summary, table
from .injector import LOST
from .kept import Bar, Kept, conditions

# Of each part how it is made, what breaks it, and its share of the faults.
PARTS: dict[str, tuple[Any, Any, float]] = {
    "plugin": (plugin.Plugin, plugin.fault, 0.2),
    "engine": (engine.Engine, engine.fault, 0.4),
    "data_prep": (prep.Prep, prep.fault, 0.4),
}


def inject(name: str, numbers: list[int], seed: int, folder: Path) -> Iterator[Piece]:
    """The faults of these numbers under a part; each is decided by seed, part and number alone."""
    make, fault, _ = PARTS[name]
    part = make(folder) if numbers else None
    for number in numbers:
        kind, target, outcome = fault(part, random.Random(f"{seed} {name} {number}"))
        found = {"kind": kind, "target": target, "outcome": outcome}
        yield {"part": name, "number": number, **found}


def main() -> int:
    """Runs; 1 if anything was lost."""
    parser = argparse.ArgumentParser(prog="faults", description=__doc__)
    parser.add_argument("--count", type=int, default=600, help="faults in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("results/faults.json"))
    parser.add_argument("--kept", type=Path, default=Path("outputs/faults.jsonl"))
    own = parser.parse_args()
    logging.disable(logging.CRITICAL)  # of fairseq
    warnings.simplefilter("ignore")
    about = conditions(own.seed)
    kept = Kept(own.kept, about)
    done = {(piece["part"], piece["number"]) for piece in kept.pieces}
    counts = {name: round(own.count * share) for name, (_, _, share) in PARTS.items()}
    bar = Bar(sum(counts.values()))
    with tempfile.TemporaryDirectory() as folder:
        for name, count in counts.items():
            numbers = [number for number in range(count) if (name, number) not in done]
            for piece in inject(name, numbers, own.seed, Path(folder, name)):
                kept.add(piece)
                lost = sum(piece["outcome"] == LOST for piece in kept.pieces)
                bar.show(len(kept.pieces), f"faults, {lost} lost; {name}")
    rows = summary(kept.pieces)
    total = {key: sum(row[key] for row in rows) for key in ("injected", *OUTCOMES)}
    write_json(own.out, {**about, "total": total, "faults": rows})
    print(table(rows))
    return int(total[LOST] > 0)


if __name__ == "__main__":
    sys.exit(main())
