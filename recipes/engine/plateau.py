"""The unigram plateau: the loss of a model that knows word frequencies and nothing else.

Run as `python -m recipes.engine.plateau DATA_BIN SPLIT SOURCE TARGET`, which prints the number:
fairseq takes seconds to import and stays out of the engine's own process.
"""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter
from pathlib import Path

from .errors import GridError


def plateau_of(data_bin: Path, split: str, source: str, target: str) -> float:
    """`unigram_bits`, computed in a process of its own."""
    command = [sys.executable, "-m", __name__, str(data_bin), split, source, target]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise GridError((result.stderr.strip() or "plateau: no output").splitlines()[-1])
    return float(result.stdout.splitlines()[-1])


def unigram_bits(data_bin: Path, split: str, source: str, target: str) -> float:
    """Entropy of the target side's tokens, in bits per token, end of sentence included.

    Plug-in entropy is too low on a small sample; the Miller–Madow term (K − 1)/(2N) nats
    (Miller 1955), K seen types of N tokens, corrects for it. A Post-LN Transformer that does
    not train stays at or above this value.
    """
    from fairseq.data import data_utils

    prefix = data_bin / f"{split}.{source}-{target}.{target}"
    dataset = data_utils.load_indexed_dataset(str(prefix), None)
    if dataset is None:
        raise GridError(f"{prefix}.bin: missing; run data_prep again or correct --data")
    counts: Counter[int] = Counter()
    for index in range(len(dataset)):
        counts.update(dataset[index].tolist())
    total = sum(counts.values())
    nats = -sum(n / total * math.log(n / total) for n in counts.values())
    return (nats + (len(counts) - 1) / (2 * total)) / math.log(2)


if __name__ == "__main__":
    try:
        print(unigram_bits(Path(sys.argv[1]), *sys.argv[2:]))
    except GridError as problem:
        sys.exit(str(problem))
