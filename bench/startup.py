"""What `--user-dir` adds to fairseq's own import, in seconds.

    python bench/startup.py [--rounds 5]

Each round is a fresh interpreter, bytecode cached as after any first start.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.progress import track
from side_by_side import quartiles

PACKAGE = Path(__file__).resolve().parents[1] / "fairseq_gradinit"
TARGET = 0.3  # seconds
CODE = f"""
import argparse, logging, time
logging.disable(logging.CRITICAL)
begun = time.process_time()
import fairseq_cli.train
from fairseq import utils
fairseq = time.process_time()
utils.import_user_module(argparse.Namespace(user_dir={str(PACKAGE)!r}))
print(fairseq - begun, time.process_time() - fairseq)
"""


def measured(rounds: int) -> dict[str, Any]:
    """CPU seconds of fairseq's import, and of the --user-dir's after it."""
    found = []
    for _ in track(range(rounds + 1), "start-up", transient=True):
        ended = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", CODE], capture_output=True, text=True, check=True
        )
        found.append([float(word) for word in ended.stdout.split()[-2:]])
    fairseq, user_dir = zip(*found[1:])  # the first may write bytecode
    low, middle, high = quartiles(list(user_dir))
    return {
        "fairseq_seconds": round(quartiles(list(fairseq))[1], 3),
        "user_dir_seconds": round(middle, 3),
        "quartiles": [round(low, 3), round(high, 3)],
        "target": TARGET,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    found = measured(parser.parse_args().rounds)
    print("  ".join(f"{name} {value}" for name, value in found.items()))


if __name__ == "__main__":
    main()
