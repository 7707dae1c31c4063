"""From a trained cell to hypotheses: average or choose a checkpoint, fairseq-generate."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

from fairseq_gradinit.files import write_json, write_text

from ..cells import flags, logs
from ..cells.cell import Cell
from ..cells.errors import CellFailed
from ..cells.grid import Grid, train_flags
from ..cells.records import Decoded
from ..cells.texts import joined, read_lines
from . import process
from .train import environment

OUTPUT = re.compile(r"^([HDT])-(\d+)\t(.*)$")


def decode(grid: Grid, cell: Cell, lock: int, threads: str) -> None:
    """Write hypotheses.txt (detokenized, in corpus order) and, beside it, tokenized texts.

    Raises:
        CellFailed: averaging or fairseq-generate failed, sentences are missing, or subwords are
            left in them.
        CellInterrupted: a child was killed.
    """
    if cell.hypotheses.exists():
        return
    start = time.monotonic()
    log, env = cell.generate_log, environment(grid, cell, threads)
    checkpoint = _checkpoint(grid, cell, lock, env)
    user_dir = flags.value(train_flags(grid, cell.values), "--user-dir")
    # fairseq's batching drops what is left of its multiple of 8 sentences (seen in ve-fairseq
    # 0.12.3: 24 of 30, 3,000 of newstest2014's 3,003), so the multiple must be 1.
    command = [
        sys.executable, "-m", "fairseq_cli.generate", str(grid.data_bin),
        *(["--user-dir", user_dir] if user_dir else []), "--path", str(checkpoint),
        "--gen-subset", grid.subset, "--required-batch-size-multiple", "1", *grid.generate_flags,
    ]  # fmt: skip
    if process.run(command, log, lock, env) != 0:
        raise CellFailed(f"fairseq-generate: {logs.last_error(log)}")
    texts = parse(log)
    refuse_subwords(texts["D"], read_lines(grid.reference_path))
    write_text(cell.tokenized, joined(texts["H"]))
    write_text(cell.tokenized_reference, joined(texts["T"]))
    write_json(cell.decoded, Decoded(time.monotonic() - start))
    # Last, because this file says that decoding is over.
    write_text(cell.hypotheses, joined(texts["D"]))
    log.unlink()  # what it says is in the files above; it is the largest file of a cell


def refuse_subwords(hypotheses: list[str], reference: list[str]) -> None:
    """Raise CellFailed where the hypotheses hold marks of subwords and the reference none.

    BLEU of subwords is no BLEU, and the model may be perfect all the same.
    """
    for mark, found, flag in (
        ("▁", re.compile("▁"), "--remove-bpe sentencepiece"),
        ("@@", re.compile(r"@@( |$)"), "--remove-bpe"),
    ):
        if any(map(found.search, hypotheses)) and not any(map(found.search, reference)):
            raise CellFailed(
                f"the hypotheses are still subwords (they hold {mark}); add {flag} to "
                "--generate-flags and give another --out"
            )


def _checkpoint(grid: Grid, cell: Cell, lock: int, env: dict[str, str]) -> Path:
    if grid.average and any(cell.checkpoints.glob("checkpoint*.pt")):
        averaged = cell.checkpoints / "averaged.pt"
        arguments = [str(cell.checkpoints), str(grid.average), str(averaged)]
        command = process.ours("steps.average", *arguments)
        if process.run(command, cell.generate_log, lock, {**env, **process.path()}) != 0:
            raise CellFailed(logs.last_error(cell.generate_log))
        return averaged
    chosen = cell.checkpoints / f"checkpoint_{grid.checkpoint}.pt"
    if not chosen.exists():
        raise CellFailed(
            f"{chosen}: missing; let fairseq-train save it (drop --no-save, --no-last-checkpoints),"
            f" delete {cell.folder} and run again"
        )
    return chosen


def parse(output: Path) -> dict[str, list[str]]:
    """Sort fairseq-generate's output into corpus order.

    Returns:
        H (hypotheses, tokens joined), D (the same, detokenized) and T (references), a line a
        sentence.

    Raises:
        CellFailed: a sentence has no hypothesis.
    """
    found: dict[str, dict[int, str]] = {"H": {}, "D": {}, "T": {}}
    for line in read_lines(output):
        match = OUTPUT.match(line)
        if match:
            kind, number, rest = match.groups()
            # H and D carry the model's score before the text.
            text = rest if kind == "T" else rest.partition("\t")[2]
            found[kind].setdefault(int(number), text)  # the first of --nbest is the best
    size = max([number + 1 for by in found.values() for number in by], default=0)
    missing = [number for number in range(size) if number not in found["D"]]
    if missing or not size:
        raise CellFailed(
            f"fairseq-generate gave no hypothesis for {len(missing) or 'any'} of {size} sentences"
            " (see generate.log; too long for the model?)"
        )
    return {kind: [by.get(number, "") for number in range(size)] for kind, by in found.items()}
