"""What the engine must know of the data: the unigram plateau, sizes, and whether it is the same.

`python -m recipes.engine.steps.corpus DATA_BIN SUBSET SOURCE TARGET TRAIN` prints what needs
fairseq, which takes seconds to import and stays out of the engine's own process.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from fairseq_gradinit.files import fingerprint, parse_json, read_json, write_json

from ..cells import flags as line
from ..cells.cell import AGAIN
from ..cells.errors import GridError
from ..cells.grid import Grid, corpus_file
from ..cells.records import Corpus
from ..cells.texts import read_lines
from . import process


def take_note(grid: Grid, folder: Path) -> Corpus:
    """The facts of the grid's data, kept in its folder: every cell is run on the same.

    Raises:
        GridError: a split is missing, the reference has another number of lines than the scored
            split, or one of the files is no longer what the cells there were made with.
    """
    files = {str(path): fingerprint(path) for path in _files(grid)}
    kept = corpus_file(folder)
    # Without a grid.json there is no cell yet, and what is kept is of a run that was refused.
    ours = kept.exists() and (folder / "grid.json").exists()
    known = read_json(kept, Corpus, AGAIN) if ours else None
    if known is not None and known.files:
        for path in [*known.files, *files]:
            if known.files.get(path) != files.get(path):
                raise GridError(
                    f"{path}: no longer what the cells in {folder} were made with; give another "
                    "--out or bring it back"
                )
        return known
    found = msgspec.structs.replace(known or facts_of(grid), files=files)
    write_json(kept, found, sealed=True)
    return found


def _files(grid: Grid) -> list[Path]:
    languages = sorted((grid.source, grid.target))
    # fairseq takes the parts of a split, train1 and so on, for its own.
    splits = "|".join(map(re.escape, (_split(grid, "train"), *_split(grid, "valid").split(","))))
    named = re.compile(rf"(?:{splits}|{re.escape(grid.subset)})\d*\.([^.]+)\..*")
    found = [
        path
        for path in sorted(grid.data_bin.glob("*"))
        if ((match := named.fullmatch(path.name)) and sorted(match[1].split("-")) == languages)
        or path.name in [f"dict.{language}.txt" for language in languages]
    ]
    return [*found, grid.reference_path]


def _split(grid: Grid, name: str) -> str:
    """The split that the cells' flags give as --train-subset or --valid-subset."""
    return line.value(grid.flags, f"--{name}-subset") or name


def facts_of(grid: Grid) -> Corpus:
    """`facts` of the grid's data, found in a process of its own.

    Raises:
        GridError: as `take_note`: found now and not after hours of training.
    """
    arguments = [str(grid.data_bin), grid.subset, grid.source, grid.target, _split(grid, "train")]
    env = {**os.environ, **process.path()}
    result = subprocess.run(
        process.ours("steps.corpus", *arguments),
        env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if result.returncode != 0:
        raise GridError((result.stderr.strip() or "corpus: no output").splitlines()[-1])
    last = result.stdout.splitlines()[-1].encode()
    found = parse_json(last, Corpus, "steps.corpus", "report it")
    lines = len(read_lines(grid.reference_path))
    if lines != found.sentences:
        raise GridError(
            f"{grid.reference_path}: {lines} lines, but {grid.subset} in {grid.data_bin} has "
            f"{found.sentences} sentences; give its own --reference"
        )
    return found


def facts(data_bin: Path, subset: str, source: str, target: str, trained: str = "train") -> Corpus:
    """The plateau of the split that is trained on and the number of sentences in `subset`."""
    train = _dataset(data_bin, trained, source, target)
    sentences = len(_dataset(data_bin, subset, source, target))
    return Corpus(unigram_bits(_counts(train)), sentences)


def unigram_bits(counts: np.ndarray) -> float:
    """The unigram plateau: entropy of the tokens, bits per token, end of sentence included.

    A model that knows the word frequencies of its training data and nothing else has this loss.
    Counted in the target side itself: a joined dictionary's counts mix two languages, and no
    dictionary counts ends of sentences. Plug-in entropy is too low on a small sample; the
    Miller–Madow term (K − 1)/(2N) nats (Miller 1955), K seen types of N tokens, corrects for it.

    Args:
        counts: how often each type occurs, [types].
    """
    seen = counts[counts > 0].astype(np.float64)
    total = seen.sum()
    nats = -(seen / total * np.log(seen / total)).sum()
    return float(nats + (len(seen) - 1) / (2 * total)) / math.log(2)


def _counts(dataset: Any) -> np.ndarray:
    counts = np.zeros(0, dtype=np.int64)
    for start in range(0, len(dataset), 10_000):
        stop = min(start + 10_000, len(dataset))
        tokens = np.concatenate([np.asarray(dataset[at]) for at in range(start, stop)])
        more = np.bincount(tokens, minlength=len(counts))
        more[: len(counts)] += counts
        counts = more
    return counts


def _dataset(data_bin: Path, split: str, source: str, target: str) -> Any:
    from fairseq.data import data_utils

    for pair in (f"{source}-{target}", f"{target}-{source}"):  # fairseq looks for both
        dataset = data_utils.load_indexed_dataset(str(data_bin / f"{split}.{pair}.{target}"), None)
        if dataset is not None and len(dataset):
            return dataset
    raise GridError(
        f"{data_bin}/{split}.{source}-{target}.{target}.bin: missing or empty; run data_prep again "
        "or correct --data, --subset"
    )


if __name__ == "__main__":
    try:
        sys.stdout.write(json.dumps(msgspec.to_builtins(facts(Path(sys.argv[1]), *sys.argv[2:]))))
    except GridError as problem:
        sys.exit(str(problem))
