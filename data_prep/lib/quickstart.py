"""The corpus chain of the quickstart: whatever real German-English text can be had here."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import dictionary
from .corpora import MULTI30K
from .errors import PrepError
from .get import check_raw_dir, download, locate, origins, write_pairs, write_splits
from .stages import SPLITS, Report, Run, say, stage
from .texts import find_text, sha256_of


def get_quickstart(run: Run, raw_dir: Path | None, folder: str, limit: int) -> None:
    """Stage `get`: --raw-dir, else Multi30k's download, else Debian's dictionary phrases."""
    outputs = [p for split in SPLITS for p in run.texts(folder, split)]
    words = sources = None
    if raw_dir:
        check_raw_dir(raw_dir)
        words = find_text([raw_dir, raw_dir / "trans"], ["de-en"])
        sources = None if words else locate(run, MULTI30K, raw_dir)
    inputs = [words] if words else origins(sources)

    def work(partial: Callable[[Path], Path]) -> Report:
        if words:
            return _write_phrases(run, words, folder, partial, limit)
        if sources:
            return _write_multi30k(run, sources, folder, partial, limit)
        try:
            found = download(run, MULTI30K)
        except PrepError as error:
            say(f"Multi30k: {error}")
            path = _dictionary(run.out / "work" / "downloads", str(error))
            return _write_phrases(run, path, folder, partial, limit)
        return _write_multi30k(run, found, folder, partial, limit)

    stage(run, "get", inputs, {"corpus": "quickstart", "limit": limit}, outputs, work)


def _dictionary(folder: Path, tried: str) -> Path:
    if dictionary.INSTALLED.is_file():
        return dictionary.INSTALLED
    say(f"trying Debian's package {dictionary.PACKAGE}")
    try:
        return dictionary.from_apt(folder)
    except PrepError as error:
        raise PrepError(
            f"no corpus: Multi30k ({tried.split(';')[0]}); {dictionary.PACKAGE} ({error}); "
            "give a folder with train.de, train.en, val.*, test2016.* (plain, .gz or .xz) as "
            "--raw-dir, or install the package trans-de-en"
        ) from error


def _write_multi30k(run: Run, sources: Any, folder: str, partial: Any, limit: int) -> Report:
    say(f"licence: {MULTI30K.licence}")
    return write_splits(run, sources, folder, partial, limit, False, MULTI30K.licence)


def _write_phrases(run: Run, path: Path, folder: str, partial: Any, limit: int) -> Report:
    say(f"licence: {dictionary.LICENCE}")
    pairs = list(dictionary.phrases(path))
    if run.languages != ("de", "en"):
        pairs = [pair[::-1] for pair in pairs]
    parts, removed = dictionary.split(pairs)
    lines: dict[str, dict[str, int]] = {}
    for split, part in parts.items():
        files = [partial(p) for p in run.texts(folder, split)]
        lines[split] = write_pairs(iter(part), files, str(path), limit, False)
    lines["train"]["removed_shared_side_with_valid_or_test"] = removed
    return {
        "licence": dictionary.LICENCE,
        "lines": lines,
        "sources": [{"file": str(path), "sha256": sha256_of(path)}],
        "notes": [
            "phrases of the Ding dictionary, not sentences of a corpus: compare no scores with "
            f"Multi30k; {removed:,} pairs that share a side with valid or test were removed "
            "from train"
        ],
    }
