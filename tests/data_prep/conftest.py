"""Generated corpora and ways to run data_prep, for its tests."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # data_prep is not part of the installed package

GERMAN = "der Hund läuft schnell über große grüne Wiesen und bellt laut am See".split()
ENGLISH = "the dog runs fast across big green fields and barks loudly by lakes".split()


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


@pytest.fixture
def stage(capsys):
    """stage(out, name, *options) -> (exit code, stderr) of one stage, in this process."""
    from data_prep.lib.__main__ import main

    def run(out, name, *options, languages=("de", "en"), workers=1):
        shared = ["--out", out, "--languages", *languages, "--workers", workers]
        code = main([str(word) for word in (name, *options, *shared)])
        return code, capsys.readouterr().err

    return run


@pytest.fixture
def script():
    """script(name, *options, **environment) -> the finished process of a whole script."""

    def run(name, *options, **environment):
        clean = {k: v for k, v in os.environ.items() if not k.startswith("GRADINIT_")}
        return subprocess.run(
            ["bash", str(ROOT / "data_prep" / name), *map(str, options)],
            env={**clean, "PYTHON": sys.executable, **environment},
            capture_output=True,
            text=True,
        )

    return run


@pytest.fixture
def one_line():
    """Assert that text is one "error: ..." line with the given words in it."""

    def check(text, *words):
        errors = [line for line in text.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1 and "Traceback" not in text, text
        for word in words:
            assert word in errors[0], errors[0]

    return check


@pytest.fixture
def shared_data():
    """The folder with the real corpora; a test that needs it is skipped without."""
    folder = os.environ.get("GRADINIT_SHARED_DATA")
    if not folder:
        pytest.skip("GRADINIT_SHARED_DATA is not set: the folder with iwslt14.de-en and others")
    return Path(folder)
