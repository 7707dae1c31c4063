"""Any source -> OUT/<folder>/{train,valid,test}.{de,en}: plain, aligned, checked text."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import record
from .archives import unpack
from .forms import unlike
from .markup import READERS
from .packed import PrepError, sha256_of
from .stages import Place, Report, Run, say, stage
from .texts import aligned

Pairs = Iterator[tuple[str, str]]
DOWNLOADS = "work/downloads"


@dataclass(frozen=True)
class Source:
    """A text of two sides, in the order of the run's languages."""

    read: Callable[[Path], Pairs]  # the pairs; the path is a folder to unpack into
    where: str  # the files, for a line about one of theirs
    files: Mapping[str, Path]  # the part a file plays -> the file or archive
    urls: tuple[str, ...] = ()
    note: str = ""
    version: str = ""
    texts: tuple[Path, ...] = ()  # the sides, where others may have given them in any form


@dataclass(frozen=True)
class Found:
    """A corpus that is at hand: its name, and for each split its sources."""

    corpus: str
    licence: str
    splits: Mapping[str, Sequence[Source]]
    counts: Mapping[str, int] | None = None

    def files(self) -> dict[str, Path]:
        """The part each file plays -> the file."""
        sources = [source for parts in self.splits.values() for source in parts]
        return {label: path for source in sources for label, path in source.files.items()}


def text_source(
    run: Run,
    sides: tuple[Path, Path],
    labels: tuple[str, str],
    markup: str = "plain",
    note: str = "",
    urls: tuple[str, ...] = (),
) -> Source:
    """A source of two files."""

    def read(_: Path) -> Pairs:
        left, right = (READERS[markup](p, lang) for p, lang in zip(sides, run.languages))
        return aligned(left, right, str(sides[0]), str(sides[1]))

    where = f"{sides[0].name} + {sides[1].name}"
    texts = sides if markup == "plain" else ()
    return Source(read, where, dict(zip(labels, sides)), urls, note, texts=texts)


def archive_source(
    run: Run,
    archive: Path,
    label: str,
    members: tuple[str, str],
    markup: str,
    note: str = "",
    url: str = "",
) -> Source:
    """A source of two files in a tar archive; unpacked each time that it is read."""

    def read(folder: Path) -> Pairs:
        unpack(archive, members, folder)
        sides = (folder / members[0], folder / members[1])
        left, right = (READERS[markup](p, lang) for p, lang in zip(sides, run.languages))
        return aligned(left, right, f"{archive.name}:{members[0]}", f"{archive.name}:{members[1]}")

    where = f"{archive.name}: {members[0]} + {members[1]}"
    return Source(read, where, {label: archive}, (url,) if url else (), note)


def get(
    run: Run,
    corpus: str,
    folder: str,
    local: Found | None,
    fetch: Callable[[], Found],
    *,
    limit: int = 0,
    drop_empty: bool = False,
    form: str | None = "raw",
) -> None:
    """Stage `get`: the corpus at hand, or what `fetch` gets where that is None.

    Args:
        folder: below OUT, where the text goes.
        limit: pairs of each split to take at the most; 0 takes all.
        drop_empty: drop and count pairs of train with an empty side; else they are an error.
        form: of forms.FORMS, what the text is said to be; None where nobody said, then text that
            is visibly not raw is an error and not a note.
    """
    params = {"corpus": corpus, "limit": limit, "drop_empty": drop_empty, "form": form or "raw"}
    if local:
        params["licence"] = local.licence
    outputs = run.names(folder, tuple(local.splits) if local else ())
    inputs = local.files() if local else _downloaded(run)

    def work(place: Place) -> Report:
        found = local or fetch()
        say(f"corpus: {found.corpus}; licence: {found.licence}")
        notes = _notes_on_form(found, form)
        lines = {}
        for split, parts in found.splits.items():
            scratch = place("unpacked/x").parent
            pairs = (pair for source in parts for pair in source.read(scratch))
            where = " + ".join(source.where for source in parts)
            paths = [place(name) for name in run.names(folder, [split])]
            drop = drop_empty and split == "train"
            lines[split] = write_pairs(pairs, paths, where, limit, drop)
        return {
            "corpus": found.corpus,
            "licence": found.licence,
            "lines": lines,
            "counts": dict(found.counts or {}),
            "sources": _sources(found),
            "notes": notes,
            "inputs": {label: sha256_of(path) for label, path in found.files().items()},
        }

    stage(run, "get", inputs, params, outputs, work)


def _downloaded(run: Run) -> dict[str, Path]:
    """What an earlier run downloaded and is still there."""
    before = None if run.dry_run else record.read(run.out).stages.get("get")
    labels = before.inputs if before else ()
    found = {label: run.out / label for label in labels if Path(label).parent == Path(DOWNLOADS)}
    return {label: path for label, path in found.items() if path.is_file()}


def _sources(found: Found) -> list[record.Source]:
    listed: dict[str, record.Source] = {}
    for parts in found.splits.values():
        for source in parts:
            for path, url in zip(source.files.values(), [*source.urls, "", ""]):
                listed[str(path)] = record.Source(str(path), sha256_of(path), url, source.version)
    return list(listed.values())


def _notes_on_form(found: Found, form: str | None) -> list[str]:
    """What the sources' notes say, and which files are not of the form they were given as."""
    sources = [source for parts in found.splits.values() for source in parts]
    notes = [source.note for source in sources if source.note]
    for path in dict.fromkeys(path for source in sources for path in source.texts):
        finding = unlike(path, form or "raw")
        if finding and form is None:
            raise PrepError(f"{path}: is no plain text: {finding.what}; {finding.remedy}")
        if finding:
            note = f"{path.name} was taken for {form} text, but {finding.what}: scores against it "
            notes.append(note + "are comparable with none of plain text")
            say(f"note: {notes[-1]}")
    return list(dict.fromkeys(notes))


def write_pairs(
    pairs: Pairs, paths: Sequence[Path], where: str, limit: int, drop_empty: bool
) -> dict[str, int]:
    """Write aligned pairs to two files; {"read", "empty", "kept"}.

    A pair with an empty side is dropped and counted where `drop_empty`, else an error: in a
    scored split, dropping it would change the score without a word. What holds nothing that can be
    seen, as joiners and marks of direction alone, is empty too.
    """
    # Of a scored split no option drops a pair.
    or_drop = ", or give --drop-empty" if paths[0].name.startswith("train.") else ""
    read = empty = 0
    with (
        open(paths[0], "w", encoding="utf-8", newline="\n") as left,
        open(paths[1], "w", encoding="utf-8", newline="\n") as right,
    ):
        for source, target in pairs:
            read += 1
            if _is_text(source) and _is_text(target):
                left.write(source + "\n")
                right.write(target + "\n")
            elif drop_empty:
                empty += 1
            else:
                side = "target" if _is_text(source) else "source"
                raise PrepError(
                    f"{where}, line {read}: the {side} side is empty; remove the pair from both "
                    f"files{or_drop}"
                )
            if limit and read - empty >= limit:
                break
    if read == empty:
        raise PrepError(f"{where}: no text at all; check the files")
    return {"read": read, "empty": empty, "kept": read - empty}


def _is_text(line: str) -> bool:
    """Whether anything in it shows: characters of format and control do not."""
    return any(c.isprintable() and not c.isspace() for c in line)
