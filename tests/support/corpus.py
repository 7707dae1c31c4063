"""A generated German-English-like grammar, binarised by fairseq: real training in seconds."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from fairseq import options
from fairseq_cli import preprocess

NOUNS, VERBS, ADJECTIVES, PHRASES = 40, 30, 20, 30


def sentence_pair(rng: random.Random) -> tuple[str, str]:
    """Verb last in the source, in the middle in the target; adjectives change sides; subordinate
    clauses nest. Every word has one translation, so a trained model can be perfect."""

    def noun_phrase() -> tuple[list[str], list[str]]:
        noun, adjective = rng.randrange(NOUNS), rng.randrange(ADJECTIVES)
        if rng.random() < 0.5:
            return [f"n{noun}"], [f"N{noun}"]
        return [f"a{adjective}", f"n{noun}"], [f"N{noun}", f"A{adjective}"]

    def clause(depth: int) -> tuple[list[str], list[str]]:
        (s, subject), (o, obj) = noun_phrase(), noun_phrase()
        verb = rng.randrange(VERBS)
        source, target = [*s, *o, f"v{verb}"], [*subject, f"V{verb}", *obj]
        if depth and rng.random() < 0.4:
            inner_source, inner_target = clause(depth - 1)
            source, target = [*source, "dass", *inner_source], [*target, "that", *inner_target]
        return source, target

    source, target = clause(depth=2)
    return " ".join(source), " ".join(target)


def phrase_pair(rng: random.Random) -> tuple[str, str]:
    """Two or three of 30 set phrases of four words, in the other order in the target: a model
    that has left the unigram plateau soon has four words right at a time."""
    phrases = [rng.randrange(PHRASES) for _ in range(rng.choice((2, 3)))]
    source = [f"p{phrase}.{i}" for phrase in phrases for i in range(4)]
    target = [f"P{phrase}.{i}" for phrase in reversed(phrases) for i in range(4)]
    return " ".join(source), " ".join(target)


def write_corpus(
    folder: Path,
    sizes: dict[str, int],
    pair: Callable[[random.Random], tuple[str, str]] = sentence_pair,
    seed: int = 0,
) -> None:
    """Writes `split.de` and `split.en` for each split with its number of sentence pairs."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    for split, size in sizes.items():
        pairs = [pair(rng) for _ in range(size)]
        for language, side in (("de", 0), ("en", 1)):
            text = "".join(pair[side] + "\n" for pair in pairs)
            (folder / f"{split}.{language}").write_text(text, encoding="utf-8")


def binarise(folder: Path) -> Path:
    """fairseq-preprocess of the splits in `folder`, with a joined dictionary; the data-bin."""
    data = folder / "data-bin"
    splits = [
        f"--{split}pref={folder / split}"
        for split in ("train", "valid", "test")
        if (folder / f"{split}.de").exists()
    ]
    arguments = ["-s=de", "-t=en", "--joined-dictionary", f"--destdir={data}", *splits]
    preprocess.main(options.get_preprocessing_parser().parse_args(arguments))
    return data


def binarise_target(folder: Path) -> Path:
    """fairseq-preprocess of the English side alone, as a language model wants it."""
    data = folder / "data-bin"
    arguments = ["--only-source", f"--trainpref={folder / 'train.en'}"]
    arguments += [f"--validpref={folder / 'valid.en'}", f"--destdir={data}"]
    preprocess.main(options.get_preprocessing_parser().parse_args(arguments))
    return data
