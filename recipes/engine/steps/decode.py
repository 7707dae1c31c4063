"""From a trained cell to hypotheses: average or choose a checkpoint, fairseq-generate."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

from ..cells import logs
from ..cells.cell import Cell
from ..cells.errors import CellFailed
from ..cells.files import read_lines, write_json, write_text
from ..cells.grid import Grid, Point, train_flags
from . import process
from .train import environment

OUTPUT = re.compile(r"^([HDT])-(\d+)\t(.*)$")


def decode(grid: Grid, point: Point, cell: Cell, lock: int) -> None:
    """Write hypotheses.txt (detokenized, in corpus order) and, beside it, tokenized texts.

    Raises:
        CellFailed: averaging or fairseq-generate failed, or sentences are missing.
        CellInterrupted: a child was killed.
    """
    if cell.hypotheses.exists():
        return
    start = time.monotonic()
    log = cell.folder / "generate.log"
    checkpoint = _checkpoint(grid, cell, lock, log)
    # fairseq's batching drops what is left of its multiple of 8 sentences (seen in ve-fairseq
    # 0.12.3: 24 of 30, 3,000 of newstest2014's 3,003), so the multiple must be 1.
    command = [
        sys.executable, "-m", "fairseq_cli.generate", str(grid.data_bin),
        *_user_dir(train_flags(grid, point.values)), "--path", str(checkpoint),
        "--gen-subset", grid.subset, "--required-batch-size-multiple", "1", *grid.generate_flags,
    ]  # fmt: skip
    if process.run(command, log, lock, environment(grid, point)) != 0:
        raise CellFailed(f"fairseq-generate: {logs.last_error(log)}")
    texts = parse(log)
    write_text(cell.folder / "tokenized.txt", _joined(texts["H"]))
    write_text(cell.folder / "tokenized_reference.txt", _joined(texts["T"]))
    write_json(cell.folder / "decoded.json", {"seconds": time.monotonic() - start})
    # Last, because this file says that decoding is over.
    write_text(cell.hypotheses, _joined(texts["D"]))
    log.unlink()  # what it says is in the files above; it is the largest file of a cell


def _joined(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _user_dir(flags: list[str]) -> list[str]:
    if "--user-dir" not in flags[:-1]:
        return []
    return ["--user-dir", flags[flags.index("--user-dir") + 1]]


def _checkpoint(grid: Grid, cell: Cell, lock: int, log: Path) -> Path:
    if grid.average:
        averaged = cell.checkpoints / "averaged.pt"
        arguments = [str(cell.checkpoints), str(grid.average), str(averaged)]
        command = [sys.executable, "-m", "recipes.engine.steps.average", *arguments]
        if process.run(command, log, lock) != 0:
            raise CellFailed(logs.last_error(log))
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
            text = rest if kind == "T" else rest.split("\t", 1)[1]
            found[kind].setdefault(int(number), text)  # the first of --nbest is the best
    size = max([number + 1 for by in found.values() for number in by], default=0)
    missing = [number for number in range(size) if number not in found["D"]]
    if missing or not size:
        raise CellFailed(
            f"fairseq-generate gave no hypothesis for {len(missing) or 'any'} of {size} sentences"
            " (see generate.log; too long for the model?)"
        )
    return {kind: [by.get(number, "") for number in range(size)] for kind, by in found.items()}
