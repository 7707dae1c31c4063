"""Generated corpora for the tests of data_prep."""

import random
import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

SCRIPTS = {
    "multi30k": "multi30k_de_en.sh",
    "quickstart": "quickstart_de_en.sh",
    "iwslt14": "iwslt14_de_en.sh",
    "wmt14": "wmt14_en_de.sh",
    "wmt17": "wmt17_en_de.sh",
    "own": "own_text.sh",
}


def form_of(corpus):
    """The options that a script gives before those of the user."""
    text = (ROOT / "data_prep" / SCRIPTS[corpus]).read_text(encoding="utf-8").replace("\\\n", " ")
    words = shlex.split(next(line for line in text.splitlines() if line.startswith("prep ")))
    assert words[1] == corpus and words[-2:] == ["--", "$@"]
    return words[2:-2]


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


def own(folder, count=300, pairs=None, languages=("de", "en")):
    """The options of own_text.sh for files that are written into `folder`."""
    source, target = write_pairs(folder, "train", pairs or sentences(count), languages)
    source_lang, target_lang = languages
    files = ["--src", source, "--tgt", target]
    return [*files, "--source-lang", source_lang, "--target-lang", target_lang]


def write_splits(folder, count=50):
    """train, valid and test in `folder`, all different."""
    for seed, split in enumerate(("train", "valid", "test")):
        write_pairs(folder, split, sentences(count, seed))


def read_side(out, folder, split, language="de"):
    """The lines of one file below an output folder."""
    text = (out / folder / f"{split}.{language}").read_text(encoding="utf-8")
    return text.split("\n")[:-1]


def tree(folder):
    """{relative path: bytes} of all files, logs apart (they name paths and times)."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file() and "logs" not in path.relative_to(folder).parts
    }
