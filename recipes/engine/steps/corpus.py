"""What the engine must know of the data: the unigram plateau and the size of the scored split.

Run as `python -m recipes.engine.steps.corpus DATA_BIN SUBSET SOURCE TARGET`, which prints both
as JSON: fairseq takes seconds to import and stays out of the engine's own process.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from ..cells.errors import GridError
from ..cells.files import read_lines
from ..cells.grid import Grid


def facts_of(grid: Grid) -> dict[str, Any]:
    """`facts` of the grid's data, found in a process of its own.

    Raises:
        GridError: a split is missing, or the reference has another number of lines than the
            scored split: found now and not after hours of training.
    """
    command = [sys.executable, "-m", __name__, str(grid.data_bin)]
    command += [grid.subset, grid.source, grid.target]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise GridError((result.stderr.strip() or "corpus: no output").splitlines()[-1])
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    lines = len(read_lines(grid.reference_path))
    if lines != found["sentences"]:
        raise GridError(
            f"{grid.reference_path}: {lines} lines, but {grid.subset} in {grid.data_bin} has "
            f"{found['sentences']} sentences; give its own --reference"
        )
    return found


def facts(data_bin: Path, subset: str, source: str, target: str) -> dict[str, Any]:
    """{"plateau": bits per token of the valid split, "sentences": number in `subset`}."""
    pair = f"{source}-{target}.{target}"
    valid = _sentences(data_bin / f"valid.{pair}")
    return {
        "plateau": unigram_bits(valid),
        "sentences": len(_sentences(data_bin / f"{subset}.{pair}")),
    }


def unigram_bits(sentences: list[list[int]]) -> float:
    """The unigram plateau: entropy of the tokens, bits per token, end of sentence included.

    Plug-in entropy is too low on a small sample; the Miller–Madow term (K − 1)/(2N) nats
    (Miller 1955), K seen types of N tokens, corrects for it. A model that knows word frequencies
    and nothing else has this loss; a Post-LN Transformer that does not train stays above it.
    """
    counts = Counter(token for sentence in sentences for token in sentence)
    total = sum(counts.values())
    nats = -sum(n / total * math.log(n / total) for n in counts.values())
    return (nats + (len(counts) - 1) / (2 * total)) / math.log(2)


def _sentences(prefix: Path) -> list[list[int]]:
    from fairseq.data import data_utils

    dataset = data_utils.load_indexed_dataset(str(prefix), None)
    if dataset is None:
        raise GridError(f"{prefix}.bin: missing; run data_prep again or correct --data, --subset")
    return [dataset[index].tolist() for index in range(len(dataset))]


if __name__ == "__main__":
    try:
        print(json.dumps(facts(Path(sys.argv[1]), *sys.argv[2:])))
    except GridError as problem:
        sys.exit(str(problem))
