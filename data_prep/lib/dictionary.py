"""German-English example phrases of the Ding dictionary: the corpus when only apt is reachable."""

import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .errors import PrepError
from .texts import read_lines

PACKAGE, INSTALLED = "trans-de-en", Path("/usr/share/trans/de-en")
LICENCE = (
    "Ding dictionary de-en (Frank Richter, TU Chemnitz; Debian package trans-de-en): GPL-2 or later"
)
LEAST_WORDS = 3  # a side; shorter entries are words, not phrases
HELD_OUT = 1_000  # phrases, in each of valid and test

_ANNOTATION = re.compile(r"\{[^}]*\}|\[[^\]]*\]")  # {f}, [techn.]


def phrases(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (German, English) phrases of three words or more, each pair once.

    A line is `variant | variant :: variant | variant`; variants correspond where both sides
    have as many. Variants with synonyms (`;`) are left out: which one is meant is not said.
    """
    seen = set()
    for line in read_lines(path):
        if line.startswith("#") or " :: " not in line:
            continue
        german, english = (side.split(" | ") for side in line.split(" :: ", 1))
        if len(german) != len(english):
            continue
        for pair in zip(map(_plain, german), map(_plain, english)):
            short = min(len(side.split()) for side in pair) < LEAST_WORDS
            if not short and ";" not in pair[0] + pair[1] and pair not in seen:
                seen.add(pair)
                yield pair


def _plain(variant: str) -> str:
    return " ".join(_ANNOTATION.sub(" ", variant).split())


def split(pairs: list[tuple[str, str]]) -> tuple[dict[str, list[tuple[str, str]]], int]:
    """Hold out valid and test by a hash of the pair, so that no order or count matters.

    Pairs of train that share a side with a held-out one are removed; their number is returned.
    """
    ranked = sorted(pairs, key=lambda p: hashlib.sha256("\t".join(p).encode("utf-8")).digest())
    size = min(HELD_OUT, len(ranked) // 10)
    held = {"valid": ranked[:size], "test": ranked[size : 2 * size]}
    german = {pair[0] for part in held.values() for pair in part}
    english = {pair[1] for part in held.values() for pair in part}
    rest = set(ranked[2 * size :])
    train = [p for p in pairs if p in rest and p[0] not in german and p[1] not in english]
    return {"train": train, **held}, len(rest) - len(train)


def from_apt(folder: Path) -> Path:
    """Download the Debian package (apt checks its signature and hash), unpack without root."""
    path = folder / PACKAGE / "de-en"
    if path.is_file():
        return path
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise PrepError("no apt-get and dpkg-deb here")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        patience = ["-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=10"]
        _call(["apt-get", *patience, "download", PACKAGE], scratch)
        package = next(Path(scratch).glob("*.deb"))
        _call(["dpkg-deb", "-x", package.name, "unpacked"], scratch)
        path.parent.mkdir(parents=True, exist_ok=True)
        (Path(scratch) / "unpacked" / INSTALLED.relative_to("/")).replace(path)
    return path


def _call(command: list[str], folder: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
        raise PrepError(f"{' '.join(command[:1] + command[-2:])}: {lines[-1]}")
