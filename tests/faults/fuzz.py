"""make fuzz: many mutated files of each kind that is read back; the counts, in results/fuzz.json.

PYTHONPATH=.:tests:tests/support python -m faults.fuzz --count 125000 --out results/fuzz.json

The properties are those of test_fuzz.py. What is done is kept in outputs/fuzz.jsonl, and the same
command goes on from there.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from hypothesis import seed

from fairseq_gradinit.files import write_json

from .kept import Bar, Kept, conditions

PROPERTIES = ("scales", "progress", "score", "provenance", "corpora")
PIECE = 500  # inputs; hypothesis remembers all of a piece, so that none comes twice in it
os.environ["GRADINIT_FUZZ"] = str(PIECE)

from . import test_fuzz  # noqa: E402  reads it


def tried(target: str, number: int) -> dict[str, Any]:
    """A piece of a property's inputs, those of seed `number`: how many were read and refused,
    and of a crash (hypothesis ends a piece at the first) its trace."""
    test_fuzz.tried.clear()
    found = seed(number)(getattr(test_fuzz, f"test_{target}"))
    crash = ""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent, "fuzz")
        folder.mkdir()
        try:
            found(folder=folder)
            beside = [path.name for path in Path(parent).iterdir() if path != folder]
            assert not beside, f"files outside the folder: {beside}"
        except Exception as error:
            *_, last = traceback.extract_tb(error.__traceback__)
            example = "".join(getattr(error, "__notes__", []))
            crash = f"{last.filename}:{last.lineno}: {error!r:.500}; {example:.9000}"
    counts = {what: test_fuzz.tried[f"{target} {what}"] for what in ("read", "refused")}
    return {"target": target, "number": number, **counts, "crash": crash}


def summary(pieces: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """By target: inputs, of which read, of which refused in one line; crashes."""
    rows: dict[str, Counter[str]] = {target: Counter() for target in PROPERTIES}
    for piece in pieces:
        row = rows[piece["target"]]
        row.update(read=piece["read"], refused=piece["refused"], crashes=int(bool(piece["crash"])))
    return {
        target: {"inputs": row["read"] + row["refused"] + row["crashes"], **row}
        for target, row in rows.items()
    }


def main() -> int:
    """Runs; 1 after a crash."""
    parser = argparse.ArgumentParser(prog="faults.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=125_000, help="inputs in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("results/fuzz.json"))
    parser.add_argument("--kept", type=Path, default=Path("outputs/fuzz.jsonl"))
    own = parser.parse_args()
    torch.set_num_threads(1)
    about = conditions(own.seed)
    kept = Kept(own.kept, about)
    done = {(piece["target"], piece["number"]) for piece in kept.pieces}
    rounds = -(-own.count // (PIECE * len(PROPERTIES)))
    wanted = [
        (target, own.seed * 1_000_000 + number) for number in range(rounds) for target in PROPERTIES
    ]
    bar, started = Bar(len(wanted)), time.monotonic()
    for target, number in wanted:
        if (target, number) not in done:
            piece = tried(target, number)
            kept.add(piece)
            if piece["crash"]:
                print(f"crash: {target}: {piece['crash']}", file=sys.stderr)
        crashes = sum(bool(piece["crash"]) for piece in kept.pieces)
        bar.show(len(kept.pieces), f"pieces of {PIECE} inputs, {crashes} crashes")
    targets = summary(kept.pieces)
    total = {key: sum(row.get(key, 0) for row in targets.values()) for key in ("inputs", "crashes")}
    write_json(own.out, {**about, "total": total, "targets": targets})
    print(
        f"{total['inputs']} inputs, {total['crashes']} crashes, {time.monotonic() - started:.0f} s"
    )
    return int(total["crashes"] > 0)


if __name__ == "__main__":
    sys.exit(main())
