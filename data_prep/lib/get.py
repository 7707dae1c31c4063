"""Any source -> OUT/<folder>/{train,valid,test}.{de,en}: plain, aligned, checked text."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .archives import unpack
from .corpora import Alternatives, Corpus, Part
from .download import fetch
from .errors import PrepError
from .markup import READERS
from .stages import Report, Run, say, stage
from .texts import aligned, find_text, sha256_of

Pairs = Iterator[tuple[str, str]]


@dataclass(frozen=True)
class Source:
    """Where the two sides of a text lie, in the order of the run's languages."""

    sides: tuple[Path, Path]
    origin: tuple[Path, ...]  # what to hash for provenance: the files or the archive
    urls: tuple[str, ...] = ()
    markup: str = "plain"
    note: str = ""
    members: tuple[str, ...] = ()  # of origin[0], to be unpacked below `folder`
    folder: Path = Path()

    def pairs(self, languages: tuple[str, str]) -> Pairs:
        """Aligned lines of text, from the archive where it comes in one."""
        if self.members:
            unpack(self.origin[0], self.members, self.folder)
        read = READERS[self.markup]
        sides = [read(path, language) for path, language in zip(self.sides, languages)]
        return aligned(sides[0], sides[1], str(self.sides[0]), str(self.sides[1]))


def get_corpus(
    run: Run, corpus: Corpus, raw_dir: Path | None, folder: str, limit: int, drop_empty: bool
) -> None:
    """Stage `get`: the corpus from `raw_dir`, or downloaded when that is None."""
    say(f"licence: {corpus.licence}")
    outputs = [p for split in corpus.alternatives() for p in run.texts(folder, split)]
    params = {"corpus": corpus.name, "limit": limit, "drop_empty": drop_empty}
    local = locate(run, corpus, raw_dir) if raw_dir else None

    def work(partial: Callable[[Path], Path]) -> Report:
        sources = local or download(run, corpus)
        return write_splits(run, sources, folder, partial, limit, drop_empty, corpus.licence)

    stage(run, "get", origins(local), params, outputs, work)


def get_own(
    run: Run,
    files: dict[str, tuple[Path, Path]],
    licence: str,
    folder: str,
    limit: int,
    drop_empty: bool,
) -> None:
    """Stage `get` for anyone's files: split -> (source, target)."""
    sources = {split: [Source(sides, sides)] for split, sides in files.items()}
    outputs = [p for split in sources for p in run.texts(folder, split)]
    params = {"corpus": "own", "limit": limit, "drop_empty": drop_empty, "licence": licence}

    def work(partial: Callable[[Path], Path]) -> Report:
        return write_splits(run, sources, folder, partial, limit, drop_empty, licence)

    stage(run, "get", origins(sources), params, outputs, work)


def origins(sources: dict[str, list[Source]] | None) -> list[Path]:
    """The local files behind sources, to be hashed."""
    return sorted({p for parts in (sources or {}).values() for s in parts for p in s.origin})


def check_raw_dir(raw_dir: Path) -> None:
    """--raw-dir must be a folder."""
    if not raw_dir.is_dir():
        raise PrepError(f"--raw-dir {raw_dir}: no such folder")


def locate(run: Run, corpus: Corpus, raw_dir: Path) -> dict[str, list[Source]]:
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
            raise PrepError(
                f"--raw-dir {raw_dir}: nothing for {split}; it should hold "
                f"{_wanted(run, alternatives)} (plain, .gz or .xz)"
            )
    return found


def _wanted(run: Run, alternatives: Alternatives) -> str:
    """What the error of `locate` asks for: the first name of every part, then the archives."""
    language = run.languages[0]
    texts = [
        " + ".join(
            f"{part.side(part.names[-1], language)} ({'/'.join(run.languages)})" for part in parts
        )
        for parts in alternatives
    ]
    archives = {part.archive.name for parts in alternatives for part in parts if part.archive}
    return " or ".join([*texts, *([" + ".join(sorted(archives))] if archives else [])])


def _locate_part(run: Run, part: Part, folders: Sequence[Path]) -> Source | None:
    for name in part.names:
        sides = [find_text(folders, [part.side(name, lang)]) for lang in run.languages]
        if sides[0] and sides[1]:
            found = (sides[0], sides[1])
            return Source(found, found, markup=_markup(part, name), note=part.note)
    archive = find_text(folders, [part.archive.name]) if part.archive else None
    if not (part.archive and archive):
        return None
    source = _from_archive(run, part, archive)
    published = part.archive.sha256
    if published and not run.dry_run and sha256_of(archive) != published:
        source = replace(source, note=f"{archive.name}: not the published file, sha256 differs")
    return source


def _markup(part: Part, name: str) -> str:
    """Files named like the archive's member have its markup; under another name, plain text."""
    bare = name.rsplit("/", 1)[-1]
    as_published = not part.member or bare == part.member.rsplit("/", 1)[-1]
    return part.markup if as_published else "plain"


def _from_archive(run: Run, part: Part, archive: Path, urls: tuple[str, ...] = ()) -> Source:
    members = [part.side(part.member, language) for language in run.languages]
    folder = run.out / "work" / archive.name.split(".")[0]
    sides = (folder / members[0], folder / members[1])
    return Source(sides, (archive,), urls, part.markup, part.note, tuple(members), folder)


def download(run: Run, corpus: Corpus) -> dict[str, list[Source]]:
    """Fetch a corpus from where it is published (the first alternative of each split)."""
    folder = run.out / "work" / "downloads"
    found: dict[str, list[Source]] = {}
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
                found[split].append(Source((paths[0], paths[1]), tuple(paths), urls))
            else:
                raise PrepError(f"{corpus.name}: not published as a download; give --raw-dir")
    return found


def write_splits(
    run: Run,
    sources: dict[str, list[Source]],
    folder: str,
    partial: Callable[[Path], Path],
    limit: int,
    drop_empty: bool,
    licence: str,
) -> Report:
    """Stream every split to its two files; returns counts, sources and notes."""
    lines: dict[str, Any] = {}
    for split, parts in sources.items():
        pairs = (pair for source in parts for pair in source.pairs(run.languages))
        paths = run.texts(folder, split)
        where = " + ".join(path.name for source in parts for path in source.sides)
        drop = drop_empty and split == "train"
        lines[split] = write_pairs(pairs, [partial(p) for p in paths], where, limit, drop)
    return {
        "licence": licence,
        "lines": lines,
        "sources": list(
            {
                path: {
                    "file": str(path),
                    "sha256": sha256_of(path),
                    **({"url": url} if url else {}),
                }
                for parts in sources.values()
                for source in parts
                for path, url in zip(source.origin, [*source.urls, "", ""])
            }.values()
        ),
        "notes": list(dict.fromkeys(s.note for p in sources.values() for s in p if s.note)),
    }


def write_pairs(
    pairs: Pairs, paths: Sequence[Path], where: str, limit: int, drop_empty: bool
) -> dict[str, int]:
    """Write aligned pairs to two files; {"read", "empty", "kept"}.

    A pair with an empty side is dropped and counted where `drop_empty`, else an error: in a
    scored split, dropping it would change the score without a word.
    """
    read = empty = 0
    with (
        open(paths[0], "w", encoding="utf-8", newline="\n") as left,
        open(paths[1], "w", encoding="utf-8", newline="\n") as right,
    ):
        for source, target in pairs:
            read += 1
            if source.strip() and target.strip():
                left.write(source + "\n")
                right.write(target + "\n")
            elif drop_empty:
                empty += 1
            else:
                side = "target" if source.strip() else "source"
                raise PrepError(
                    f"{where}, line {read}: the {side} side is empty; "
                    "remove the pair from both files (own_text.sh: or give --drop-empty)"
                )
            if limit and read - empty >= limit:
                break
    if read == empty:
        raise PrepError(f"{where}: no text at all; check the files")
    return {"read": read, "empty": empty, "kept": read - empty}
