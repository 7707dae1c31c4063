"""Generated corpora for the tests of data_prep."""

import random
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

GERMAN = [
    "der",
    "Hund",
    "läuft",
    "schnell",
    "über",
    "große",
    "grüne",
    "Wiesen",
    "laut",
    "am",
    "See",
]
ENGLISH = ["the", "dog", "runs", "fast", "across", "big", "green", "fields", "loud", "by", "lakes"]


def sentences(count, seed=0):
    """Aligned (German, English) lines of 4 to 12 words, every pair different."""
    rng = random.Random(seed)
    pairs = []
    for number in range(count):
        picks = [rng.randrange(len(GERMAN)) for _ in range(rng.randint(4, 12))]
        pairs.append(
            tuple(" ".join(words[i] for i in picks) + f" {number}." for words in (GERMAN, ENGLISH))
        )
    return pairs


def write_pairs(folder, split, pairs, languages=("de", "en")):
    """Write split.<language> files; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for side, language in enumerate(languages):
        path = folder / f"{split}.{language}"
        path.write_text("".join(pair[side] + "\n" for pair in pairs), encoding="utf-8")
        paths.append(path)
    return paths


def tree(folder):
    """{relative path: bytes} of all files, logs apart (they name paths and times)."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file() and "logs" not in path.relative_to(folder).parts
    }
