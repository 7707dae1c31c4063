"""Any source -> OUT/<folder>/{train,valid,test}.{de,en}: plain, aligned, checked text."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from . import markup
from .archives import unpack
from .corpora import Corpus, Part
from .download import fetch
from .errors import PrepError
from .stages import SPLITS, Report, Run, say, stage
from .texts import find_text, sha256_of

Pairs = Iterator[Tuple[str, str]]


@dataclass(frozen=True)
class Source:
    """Where the two sides of a part lie, in the order of the run's languages."""

    part: Part
    sides: Tuple[Path, Path]
    origin: Tuple[Path, ...]  # what to hash for provenance: the files or the archive
    urls: Tuple[str, ...] = ()

    def pairs(self) -> Pairs:
        """Aligned lines, markup removed."""
        return markup.READERS[self.part.markup](*self.sides)


def get_corpus(
    run: Run, corpus: Corpus, raw_dir: Optional[Path], folder: str, limit: int, drop_empty: bool
) -> None:
    """Stage `get`: the corpus from `raw_dir`, or downloaded when that is None."""
    say(f"licence: {corpus.licence}")
    local = locate(run, corpus, raw_dir) if raw_dir else None
    inputs = sorted({p for parts in local.values() for s in parts for p in s.origin}) if local else []
    params = {"corpus": corpus.name, "limit": limit, "drop_empty": drop_empty}

    def work(partial: Callable[[Path], Path]) -> Report:
        sources = local or download(run, corpus)
        return write_splits(run, sources, folder, partial, limit, drop_empty, corpus.licence)

    outputs = [p for split in SPLITS for p in run.texts(folder, split)]
    stage(run, "get", inputs, params, outputs, work)


def check_raw_dir(raw_dir: Path) -> None:
    """--raw-dir must be a folder."""
    if not raw_dir.is_dir():
        raise PrepError(f"--raw-dir {raw_dir}: no such folder")


def locate(run: Run, corpus: Corpus, raw_dir: Path) -> Dict[str, List[Source]]:
    """Find every split of a corpus in `raw_dir`: single files first, else the archives."""
    check_raw_dir(raw_dir)
    folders = [raw_dir, *(raw_dir / name for name in corpus.folders)]
    found = {}
    for split, alternatives in corpus.alternatives().items():
        for parts in alternatives:
            sources = [_locate_part(run, part, folders) for part in parts]
            if all(sources):
                found[split] = [source for source in sources if source]
                break
        else:
            wanted = " or ".join(
                " + ".join(part.names[0].format(language="{%s,%s}" % run.languages) for part in parts)
                for parts in alternatives
            )
            raise PrepError(
                f"--raw-dir {raw_dir}: nothing for {split}; it should hold {wanted} "
                "(plain, .gz or .xz) or the archive they come in"
            )
    return found


def _locate_part(run: Run, part: Part, folders: Sequence[Path]) -> Optional[Source]:
    for name in part.names:
        sides = [find_text(folders, [name.format(language=lang)]) for lang in run.languages]
        if all(sides):
            return Source(part, (sides[0], sides[1]), (sides[0], sides[1]))  # type: ignore[arg-type]
    archive = find_text(folders, [part.archive.name]) if part.archive else None
    return _from_archive(run, part, archive) if archive else None


def _from_archive(run: Run, part: Part, archive: Path, urls: Tuple[str, ...] = ()) -> Source:
    members = [part.member_for(language) for language in run.languages]
    folder = run.out / "work" / archive.name.split(".")[0]
    paths = [folder / member for member in members] if run.dry_run else list(
        unpack(archive, members, folder).values()
    )
    return Source(part, (paths[0], paths[1]), (archive,), urls)


def download(run: Run, corpus: Corpus) -> Dict[str, List[Source]]:
    """Fetch a corpus from where it is published (the first alternative of each split)."""
    folder = run.out / "work" / "downloads"
    found: Dict[str, List[Source]] = {}
    for split, alternatives in corpus.alternatives().items():
        found[split] = []
        for part in alternatives[0]:
            if part.archive:
                archive = fetch(part.archive, folder)
                found[split].append(_from_archive(run, part, archive, (part.archive.url,)))
            elif part.files:
                remotes = [part.files[language] for language in run.languages]
                paths = [fetch(remote, folder) for remote in remotes]
                urls = tuple(remote.url for remote in remotes)
                found[split].append(Source(part, (paths[0], paths[1]), tuple(paths), urls))
            else:
                raise PrepError(f"{corpus.name}: not published as a download; give --raw-dir")
    return found


def write_splits(
    run: Run,
    sources: Dict[str, List[Source]],
    folder: str,
    partial: Callable[[Path], Path],
    limit: int,
    drop_empty: bool,
    licence: str,
) -> Report:
    """Stream every split to its two files; returns counts, sources and notes."""
    lines: Dict[str, Any] = {}
    for split, parts in sources.items():
        pairs = (pair for source in parts for pair in source.pairs())
        paths = run.texts(folder, split)
        where = " + ".join(path.name for source in parts for path in source.sides)
        drop = drop_empty and split == "train"
        lines[split] = write_pairs(pairs, [partial(p) for p in paths], where, limit, drop)
    return {
        "licence": licence,
        "lines": lines,
        "sources": list(
            {
                path.name: {
                    "file": str(path),
                    "sha256": sha256_of(path),
                    **({"url": url} if url else {}),
                }
                for parts in sources.values()
                for source in parts
                for path, url in zip(source.origin, [*source.urls, "", ""])
            }.values()
        ),
        "notes": [s.part.note for parts in sources.values() for s in parts if s.part.note],
    }


def write_pairs(
    pairs: Pairs, paths: Sequence[Path], where: str, limit: int, drop_empty: bool
) -> Dict[str, int]:
    """Write aligned pairs to two files; {"read", "empty", "kept"}.

    A pair with an empty side is dropped and counted where `drop_empty`, else an error: in a
    scored split, dropping it would change the score without a word.
    """
    read = empty = 0
    with open(paths[0], "w", encoding="utf-8", newline="\n") as left, open(
        paths[1], "w", encoding="utf-8", newline="\n"
    ) as right:
        for source, target in pairs:
            read += 1
            if source.strip() and target.strip():
                left.write(source + "\n")
                right.write(target + "\n")
            elif drop_empty:
                empty += 1
            else:
                raise PrepError(
                    f"{where}, pair {read}: the {'target' if source.strip() else 'source'} side is empty; "
                    "remove the pair from both files (own_text.sh: or give --drop-empty)"
                )
            if limit and read - empty >= limit:
                break
    if read == empty:
        raise PrepError(f"{where}: no text at all; check the files")
    return {"read": read, "empty": empty, "kept": read - empty}
