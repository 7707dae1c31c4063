"""`make bench`: what GradInit, its optimizers and probes cost, as one JSON file and one table.

    python bench/run.py [--out outputs/bench] [--rounds 10]

Writes bench.json and bench.md. The measurements are those of cost.py, optimizers.py, memory.py and
startup.py, each runnable alone; growth.py and sixteen_bit.py take longer and are not of these.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import cost
import memory
import optimizers
import startup
from side_by_side import Row, about, markdown, prepare

from fairseq_gradinit.files import replacing, write_json
from fairseq_gradinit.gradinit import Settings
from fairseq_gradinit.gradinit.trial import UP
from fairseq_gradinit.watch import WATCHED

UPDATES = 100_000  # of the run that the default's cost is a share of
SHARE = 0.001  # which it is to be at most
LAYERS, WIDTH, TOKENS, WIDE = 6, 128, 1024, 512


def default_share(parts: dict[str, Row], updates: int = UPDATES) -> dict[str, Row]:
    """Each part of `--gradinit` with its default settings, over the forward+backward passes of a
    run of `updates`. The trials are those at η and 2η, as where the first trains."""
    settings, trials = Settings.of(), 1 + UP
    often = {
        "unigram start, counting and writing, once": 1,
        "measured start, three passes, once": 1,
        f"multistep, K = {cost.K}, an iteration": settings.iters,
        "trial, an update": trials * settings.trial,
        f"watch, a look at {WATCHED} tokens": 2 * trials,  # before and after each trial
    }
    shares = {}
    for name, times in often.items():
        row, part = parts[name], times / updates
        ratio, low, high = row.ratio * part, row.low * part, row.high * part
        shares[f"{name}, × {times}"] = Row(ratio, low, high, row.seconds * times)
    shares["the whole default"] = Row(
        sum(row.ratio for row in shares.values()),
        sum(row.low for row in shares.values()),
        sum(row.high for row in shares.values()),
        sum(row.seconds for row in shares.values()),
        SHARE,
    )
    return shares


def measured(rounds: int) -> dict[str, Any]:
    """Everything, by the heading of its table."""
    parts = cost.measured(LAYERS, WIDTH, TOKENS, rounds)
    share = optimizers.power_iteration(WIDE, max(3, rounds // 2))
    return {
        f"{LAYERS}+{LAYERS} layers, d = {WIDTH}, {TOKENS} tokens: × forward+backward": parts,
        f"of the passes of {UPDATES:,} updates": default_share(parts),
        "optimizer's step, × torch's AdamW": optimizers.steps(LAYERS, WIDTH, rounds),
        "power iteration": {f"σ_max, of an update of modular_adam at d = {WIDE}": share},
        "an update that is probed, × one that is not": optimizers.probed(2, WIDTH, 3),
        "memory": memory.measured(LAYERS, WIDTH, TOKENS),
        "start-up": startup.measured(max(3, rounds // 3)),
    }


def text(found: dict[str, Any], where: dict[str, Any]) -> str:
    """Markdown."""
    lines = [f"`{where['command']}`, commit {where['commit']}, {where['machine']}, "]
    lines[0] += f"torch {where['torch']}, load {where['load']}.\n"
    for title, made in found.items():
        if title == "memory":
            lines += ["| most memory of tensors | MB | over training, copies of the parameters |"]
            lines += ["|---|---:|---:|"]
            for name, row in made["rows"].items():
                lines += [f"| {name} | {row['peak_mb']} | {row['copies_over_training']:+} |"]
            lines += [""]
        elif title == "start-up":
            lines += [
                f"Start-up: fairseq's own import {made['fairseq_seconds']} s, `--user-dir` "
                f"{made['user_dir_seconds']} s more (wanted at most {made['target']} s).\n"
            ]
        else:
            lines += [markdown(title, made)]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("outputs/bench"))
    parser.add_argument("--rounds", type=int, default=10)
    args = parser.parse_args()
    prepare()
    where = about(rounds=args.rounds)
    found = measured(args.rounds)
    write_json(args.out / "bench.json", {"about": where, **found})
    table = text(found, where)
    with replacing(args.out / "bench.md") as file:
        file.write(table)
    print(table)


if __name__ == "__main__":
    main()
