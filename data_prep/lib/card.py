"""The data card: what came out, counted from OUT/segmented and OUT/data-bin's dictionaries."""

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from .parallel import map_blocks
from .stages import Report, Run, load_provenance, stage


def card(run: Run) -> None:
    """Stage `card`: OUT/card.json and OUT/card.txt; the text is also printed."""
    splits = run.splits("segmented")
    outputs = [run.out / "card.json", run.out / "card.txt"]
    dictionaries = [run.out / "data-bin" / f"dict.{language}.txt" for language in run.languages]
    inputs = [*dictionaries, *(p for split in splits for p in run.texts("segmented", split))]
    stages = {} if run.dry_run else load_provenance(run.out)["stages"]
    notes = [note for record in stages.values() for note in record.get("notes", [])]

    def work(partial: Callable[[Path], Path]) -> Report:
        known = [_read_dictionary(path) for path in dictionaries]
        counts, hashes = {}, {}
        for split in splits:
            counts[split], hashes[split] = _count_split(run, split, known)
        overlap = {
            split: {
                what: int(np.isin(hashes[split][what], hashes["train"][what]).sum())
                for what in hashes[split]
            }
            for split in splits
            if split != "train"
        }
        facts = {
            "splits": counts,
            "in_train_too": overlap,
            "dictionary": dict(zip(run.languages, map(len, known))),
            "notes": notes,
        }
        text = json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
        partial(outputs[0]).write_text(text, encoding="utf-8")
        partial(outputs[1]).write_text(_as_text(run, facts), encoding="utf-8")
        return {}

    stage(run, "card", inputs, {"notes": notes}, outputs, work)
    if not run.dry_run:
        print(outputs[1].read_text(encoding="utf-8"), end="", flush=True)


def _read_dictionary(path: Path) -> set[str]:
    lines = path.read_text(encoding="utf-8").split("\n")
    return {line.rsplit(" ", 1)[0] for line in lines if line}


def _count_split(
    run: Run, split: str, known: list[set[str]]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Counts of a split, and 8-byte hashes of its pairs and sides (8 bytes a line in memory)."""
    tokens, unknown, pairs = [0, 0], [0, 0], 0
    hashes: dict[str, list[np.ndarray]] = {"pair": [], "source": [], "target": []}
    for count, sizes, misses, found in map_blocks(
        run.texts("segmented", split),
        _count_block,
        setup=list,
        setup_args=(known,),
        workers=run.workers,
        title=f"card {split}",
    ):
        pairs += count
        tokens = [a + b for a, b in zip(tokens, sizes)]
        unknown = [a + b for a, b in zip(unknown, misses)]
        for what, values in found.items():
            hashes[what].append(values)
    joined = {what: np.concatenate(values) for what, values in hashes.items()}
    sides = {
        language: {
            "tokens": tokens[i],
            "average_length": round(tokens[i] / pairs, 2),
            "covered_percent": round(100 * (1 - unknown[i] / max(tokens[i], 1)), 3),
            "unknown_tokens": unknown[i],
        }
        for i, language in enumerate(run.languages)
    }
    duplicates = pairs - len(np.unique(joined["pair"]))
    return {"pairs": pairs, "duplicate_pairs": duplicates, **sides}, joined


def _count_block(
    known: list[set[str]], *sides: list[str]
) -> tuple[int, list[int], list[int], dict[str, np.ndarray]]:
    tokens = [[token for line in side for token in line.split()] for side in sides]
    unknown = [sum(token not in words for token in side) for words, side in zip(known, tokens)]
    texts = {
        "pair": ["\t".join(pair) for pair in zip(*sides)],
        "source": sides[0],
        "target": sides[1],
    }
    hashes = {
        what: np.array([_hash(line) for line in lines], dtype=np.uint64)
        for what, lines in texts.items()
    }
    return len(sides[0]), [len(side) for side in tokens], unknown, hashes


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest(), "big")


def _as_text(run: Run, facts: dict[str, Any]) -> str:
    source, target = run.languages
    table = Table(title=f"data card, {source}-{target} (tokens are subwords)")
    table.add_column("")
    for split in facts["splits"]:
        table.add_column(split, justify="right")
    for name, cells in _rows(run, facts):
        table.add_row(name, *cells)
    console = Console(width=100, file=io.StringIO(), color_system=None, highlight=False)
    console.print(table)
    for lang, size in facts["dictionary"].items():
        console.print(f"dictionary {lang}: {size:,} types (+ 4 special)")
    for note in facts["notes"]:
        console.print(f"note: {note}", markup=False)
    return console.file.getvalue()  # type: ignore[attr-defined]


def _rows(run: Run, facts: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    splits = facts["splits"].values()
    yield "pairs", [f"{split['pairs']:,}" for split in splits]
    yield "duplicate pairs", [f"{split['duplicate_pairs']:,}" for split in splits]
    for lang in run.languages:
        yield f"{lang} tokens", [f"{split[lang]['tokens']:,}" for split in splits]
        yield f"{lang} average length", [f"{split[lang]['average_length']}" for split in splits]
        yield f"{lang} covered", [f"{split[lang]['covered_percent']} %" for split in splits]
    for what in ("pair", "source", "target"):
        counts = [facts["in_train_too"].get(split) for split in facts["splits"]]
        yield f"{what} also in train", [f"{count[what]:,}" if count else "" for count in counts]
