"""make faults: many faults of every kind; what came of them, in results/faults.json.

PYTHONPATH=.:tests:tests/support python -m faults --count 600 --out results/faults.json
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from fairseq_gradinit.files import versions, write_json

from . import engine, plugin, prep
from .injector import CLEAR_ERROR, LOST, SURVIVED

PARTS = {
    "plugin": (plugin.Plugin, plugin.faults, 0.3),
    "engine": (engine.Engine, engine.faults, 0.3),
    "data_prep": (prep.Prep, prep.faults, 0.4),
}
KILLS = 50  # one kill of a whole engine, which takes seconds, for so many faults


def inject(name: str, count: int, seed: int, folder: Path) -> dict[str, dict[str, int]]:
    """`count` faults under a part, by kind: injected, survived, clear_error, lost."""
    make, faults, _ = PARTS[name]
    rng = random.Random(seed)
    part: Any = make(folder)
    found = list(itertools.islice(faults(part, rng), count))
    if isinstance(part, engine.Engine):
        kills = max(1, count // KILLS)
        found += [("kill", part.killed_and_continued(rng)) for _ in range(kills)]
    counts: dict[str, dict[str, int]] = {}
    for kind in sorted({kind for kind, _ in found}):
        outcomes = Counter(outcome for one, outcome in found if one == kind)
        row = {outcome: outcomes[outcome] for outcome in (SURVIVED, CLEAR_ERROR, LOST)}
        counts[kind] = {"injected": sum(outcomes.values()), **row}
    return counts


def main() -> int:
    """Runs; 1 if anything was lost."""
    parser = argparse.ArgumentParser(prog="faults", description=__doc__)
    parser.add_argument("--count", type=int, default=600, help="faults in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("results/faults.json"))
    own = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts = {
            name: inject(name, round(own.count * share), own.seed, Path(folder, name))
            for name, (_, _, share) in PARTS.items()
        }
    rows = [row for kinds in counts.values() for row in kinds.values()]
    total = {
        key: sum(row[key] for row in rows) for key in ("injected", SURVIVED, CLEAR_ERROR, LOST)
    }
    about = {"seed": own.seed, "versions": versions("torch", "fairseq", "ve-fairseq", "numpy")}
    write_json(own.out, {**about, "total": total, "parts": counts})
    print("| part | fault | injected | survived | one-line error | lost |")
    print("|---|---|---:|---:|---:|---:|")
    for name, kinds in counts.items():
        for kind, row in kinds.items():
            print(f"| {name} | {kind} | {' | '.join(map(str, row.values()))} |")
    print(f"| all | | {' | '.join(map(str, total.values()))} |")
    return int(total[LOST] > 0)


if __name__ == "__main__":
    sys.exit(main())
