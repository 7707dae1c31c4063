"""make mutation: small changes of the code that a test must notice; results/mutation.json.

PYTHONPATH=.:tests python -m mutation --only gradinit/gradient --sample 20

Stopped, it reports what is done and goes on there the next time. What survived is tried again when
its tests have changed.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .mutants import Mutant, mutants_of
from .trial import KILLED, ROOT, SURVIVED, TIMEOUT, Tree

HERE = Path(__file__).parent
EQUIVALENT = "equivalent"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="mutation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sample", type=int, default=40, help="mutants a module at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--only", nargs="+", default=[""], help="modules with one of these in their path"
    )
    parser.add_argument("--work", type=Path, default=Path("outputs/mutation"))
    parser.add_argument("--out", type=Path, default=Path("results/mutation.json"))
    own = parser.parse_args()
    config = tomllib.loads((HERE / "modules.toml").read_text(encoding="utf-8"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no child is left behind
    own.work.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        tree = Tree(Path(folder))
        try:
            for group in config["group"]:
                chosen = {
                    module: tests
                    for module, tests in group["modules"].items()
                    if any(part in module for part in own.only)
                }
                for module in group["preload"] if chosen else ():
                    import_module(module)
                for module, tests in chosen.items():
                    tests = [f"tests/{one}" for one in tests]
                    found[module] = of_module(tree, module, tests, own)
        finally:
            report(found, own)
    return 0


def of_module(tree: Tree, module: str, tests: list[str], own: argparse.Namespace) -> dict[str, Any]:
    """Tries the module's mutants; their number, and each that was tried with its outcome."""
    rng = random.Random(f"{own.seed} {module}")
    whole = mutants_of(tree.folder / module, rng)
    rng.shuffle(whole)
    sample = whole[: own.sample]  # a larger sample holds the smaller one
    kept = own.work / (module.replace("/", ".") + ".jsonl")
    stamp = {"module": tree.fingerprint([module]), "tests": tree.fingerprint(tests)}
    known = _known(kept, stamp)
    limit = 0.0
    tried = []
    for mutant in sorted(sample, key=lambda mutant: mutant.key):
        row = known.get(mutant.key)
        if row is None:
            if not limit:
                limit = 10 + 3 * tree.seconds(tests)
            outcome = tree.outcome(module, mutant.source, tests, limit)
            row = _row(mutant, outcome, tree.why() if outcome == KILLED else "")
            with open(kept, "a", encoding="utf-8") as file:
                file.write(json.dumps({**row, **stamp}, ensure_ascii=False) + "\n")
        tried.append(row)
        if row["outcome"] == SURVIVED:
            print(f"  {module}:{mutant.line}: {mutant.before}  →  {mutant.after}", flush=True)
    counts = Counter(row["outcome"] for row in tried)
    print(f"{module}: {len(whole)} mutants, tried {len(tried)}, {dict(counts)}", flush=True)
    return {"mutants": len(whole), "tried": tried}


def report(found: dict[str, dict[str, Any]], own: argparse.Namespace) -> None:
    """Writes the scores, equivalent mutants apart."""
    from fairseq_gradinit.files import write_json  # only now: children import it afresh

    text = (HERE / "equivalent.toml").read_text(encoding="utf-8")
    reasons = {
        (module, one["before"], one["after"]): one["why"]
        for module, ones in tomllib.loads(text).items()
        for one in ones
    }
    modules, survivors, equivalent = {}, [], []
    for module, result in found.items():
        counts: Counter[str] = Counter()
        for row in result["tried"]:
            outcome = row["outcome"]
            named = {"module": module, **{k: row[k] for k in ("line", "before", "after")}}
            why = reasons.get((module, row["before"], row["after"]))
            if outcome == SURVIVED and why:
                outcome = EQUIVALENT
                equivalent.append({**named, "why": why})
            elif outcome == SURVIVED:
                survivors.append(named)
            counts[outcome] += 1
        modules[module] = {
            "mutants": result["mutants"],
            "tried": len(result["tried"]),
            **{name: counts[name] for name in (KILLED, TIMEOUT, SURVIVED, EQUIVALENT)},
        }
    names = ("mutants", "tried", KILLED, TIMEOUT, SURVIVED, EQUIVALENT)
    total: dict[str, Any] = {name: sum(one[name] for one in modules.values()) for name in names}
    noticed = total[KILLED] + total[TIMEOUT]
    total["score"] = round(noticed / max(1, total["tried"] - total[EQUIVALENT]), 4)
    chosen = ["--seed", str(own.seed), *(["--only", *own.only] if any(own.only) else [])]
    about = {
        "tool": f"cosmic-ray {version('cosmic-ray')}, with the operators of tests/mutation",
        "command": f"make mutation ARGS='{' '.join(['--sample', str(own.sample), *chosen])}'",
        "commit": _git("rev-parse", "HEAD") + ("+" if _git("status", "--porcelain") else ""),
        "seed": own.seed,
        "sample": own.sample,
    }
    write_json(
        own.out,
        {
            **about,
            "total": total,
            "modules": modules,
            "survivors": survivors,
            "equivalents": equivalent,
        },
    )
    print(total)


def _row(mutant: Mutant, outcome: str, killed_by: str) -> dict[str, Any]:
    return {
        "line": mutant.line,
        "before": mutant.before,
        "after": mutant.after,
        "operator": mutant.operator,
        "outcome": outcome,
        "killed_by": killed_by,
    }


def _known(kept: Path, stamp: dict[str, str]) -> dict[Any, dict[str, Any]]:
    """What an earlier run found of the same source; what survived, of the same tests too."""
    known = {}
    if kept.exists():
        for line in kept.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            module, tests = row.pop("module"), row.pop("tests")
            if module == stamp["module"] and (
                row["outcome"] != SURVIVED or tests == stamp["tests"]
            ):
                known[row["before"], row["after"], row["line"]] = row
    return known


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", ROOT, *arguments], capture_output=True, text=True, check=True
    ).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
