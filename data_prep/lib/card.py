"""The data card: what came out, counted from OUT/segmented and OUT/data-bin's dictionaries."""

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from . import record
from .binarise import FOLDER
from .blocks import map_blocks
from .stages import Place, Report, Run, stage


def card(run: Run) -> None:
    """Stage `card`: OUT/card.json and OUT/card.txt; the text is also printed."""
    labels = [f"{FOLDER}/dict.{language}.txt" for language in run.languages]
    stages = {} if run.dry_run else record.read(run.out).stages
    notes = [note for done in stages.values() for note in done.notes]
    about = {"corpus": "", "licence": "", "version": ""}
    if "get" in stages:
        versions = (source.version for source in stages["get"].sources if source.version)
        about = {
            "corpus": stages["get"].corpus,
            "licence": stages["get"].licence,
            "version": next(versions, ""),
        }

    def work(place: Place) -> Report:
        known = [_read_dictionary(run.out / label) for label in labels]
        counts, hashes = {}, {}
        for split in run.splits:
            counts[split], hashes[split] = _count_split(run, split, known)
        overlap = {
            split: {
                what: int(np.isin(hashes[split][what], hashes["train"][what]).sum())
                for what in hashes[split]
            }
            for split in run.splits
            if split != "train"
        }
        facts = {
            **about,
            "splits": counts,
            "in_train_too": overlap,
            "dictionary": dict(zip(run.languages, map(len, known))),
            "notes": notes,
        }
        text = json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
        place("card.json").write_text(text, encoding="utf-8")
        place("card.txt").write_text(_as_text(run, facts), encoding="utf-8")
        return {}

    inputs = run.inputs(*labels, *run.names("segmented"))
    stage(run, "card", inputs, {"notes": notes, **about}, ["card.json", "card.txt"], work)
    if not run.dry_run:
        print((run.out / "card.txt").read_text(encoding="utf-8"), end="", flush=True)


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
    version = f", version {facts['version']}" if facts["version"] else ""
    console.print(f"corpus: {facts['corpus']}{version}", markup=False, soft_wrap=True)
    console.print(f"licence: {facts['licence']}", markup=False, soft_wrap=True)
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
