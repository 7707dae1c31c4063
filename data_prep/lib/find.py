"""Where a corpus is: in --raw-dir, at its publisher's, or in Debian's packages."""

from collections.abc import Sequence
from pathlib import Path

from . import debian
from .corpora import HELP, MULTI30K, Alternatives, Corpus, Part
from .get import DOWNLOADS, Found, Source, archive_source, text_source
from .packed import PrepError, sha256_of
from .stages import Run, made_folder, say
from .texts import find_text

SECONDS = 5.0  # that the quickstart waits for Multi30k's server


def locate(run: Run, corpus: Corpus, raw_dir: Path) -> Found:
    """A corpus in `raw_dir`: single files first, else the archives.

    Raises:
        PrepError: a split is not there; the line says what should be.
    """
    folders = [raw_dir, *(raw_dir / name for name in corpus.folders)]
    found: dict[str, list[Source]] = {}
    for split, alternatives in corpus.alternatives().items():
        for parts in alternatives:
            sources = [_locate_part(run, part, raw_dir, folders) for part in parts]
            if all(sources):
                found[split] = [source for source in sources if source]
                break
        else:
            raise PrepError(
                f"--raw-dir {raw_dir}: nothing for {split}; it should hold "
                f"{_wanted(run, alternatives)} (plain, .gz, .xz or .bz2)"
            )
    return Found(corpus.title, corpus.licence, found)


def _wanted(run: Run, alternatives: Alternatives) -> str:
    """What the error of `locate` asks for: the names of every part, then the archives."""
    texts = [
        " + ".join(
            f"{part.side(part.names[-1], language)}" for part in parts for language in run.languages
        )
        for parts in alternatives
    ]
    archives = {part.archive.name for parts in alternatives for part in parts if part.archive}
    return " or ".join([*texts, *([" + ".join(sorted(archives))] if archives else [])])


def _locate_part(run: Run, part: Part, raw_dir: Path, folders: Sequence[Path]) -> Source | None:
    def label(path: Path) -> str:
        return f"--raw-dir/{path.relative_to(raw_dir).as_posix()}"

    for name in part.names:
        sides = [find_text(folders, [part.side(name, lang)]) for lang in run.languages]
        if sides[0] and sides[1]:
            markup = part.markup if part.is_published_name(name) else "plain"
            labels = (label(sides[0]), label(sides[1]))
            return text_source(run, (sides[0], sides[1]), labels, markup, part.note)
    archive = find_text(folders, [part.archive.name]) if part.archive else None
    if not (part.archive and archive):
        return None
    note = part.note
    published = part.archive.sha256
    if published and not run.dry_run and sha256_of(archive) != published:
        note = f"{archive.name}: not the published file, sha256 differs"
    members = part.members(run.languages)
    return archive_source(run, archive, label(archive), members, part.markup, note)


def download(run: Run, corpus: Corpus, tries: int = 3) -> Found:
    """A corpus from where it is published (the first alternative of each split).

    Raises:
        PrepError: no network, or a file that is not the published one.
    """
    from .fetch import fetch  # the network's libraries take half a second

    folder = run.out / DOWNLOADS
    found: dict[str, list[Source]] = {}
    with made_folder(folder):
        for split, alternatives in corpus.alternatives().items():
            found[split] = []
            for part in alternatives[0]:
                if part.archive:
                    archive = fetch(part.archive, folder, tries)
                    label, members = f"{DOWNLOADS}/{archive.name}", part.members(run.languages)
                    url = part.archive.url
                    source = archive_source(
                        run, archive, label, members, part.markup, part.note, url
                    )
                elif part.files:
                    remotes = [part.files[language] for language in run.languages]
                    left, right = (fetch(remote, folder, tries) for remote in remotes)
                    labels = (f"{DOWNLOADS}/{left.name}", f"{DOWNLOADS}/{right.name}")
                    urls = tuple(remote.url for remote in remotes)
                    source = text_source(run, (left, right), labels, urls=urls)
                else:
                    raise PrepError(f"{corpus.name}: not published as a download; give --raw-dir")
                found[split].append(source)
    return Found(corpus.title, corpus.licence, found)


def locate_quickstart(run: Run, raw_dir: Path) -> Found:
    """Multi30k's files in `raw_dir`, or the packages with LibreOffice's help. Raises: PrepError."""
    packages = {name: debian.find_package([raw_dir], name) for name in HELP.values()}
    if all(packages.values()):
        return _help(run, {name: path for name, path in packages.items() if path}, "--raw-dir")
    return locate(run, MULTI30K, raw_dir)


def download_quickstart(run: Run) -> Found:
    """Multi30k if its server answers at once, else LibreOffice's help from Debian's packages.

    Raises:
        PrepError: neither can be had.
    """
    from .fetch import reachable

    remote = MULTI30K.train[0][0].files[run.languages[0]]
    try:
        if not reachable(remote.url, SECONDS):
            raise PrepError(f"no answer from {remote.url} in {SECONDS:.0f} s")
        return download(run, MULTI30K, tries=1)
    except PrepError as error:
        say(f"Multi30k: {error}")
        tried = str(error).split(";")[0]
    say(f"trying Debian's packages {' and '.join(HELP.values())}")
    folder = run.out / DOWNLOADS
    try:
        with made_folder(folder):
            return _help(run, debian.download_packages(list(HELP.values()), folder), DOWNLOADS)
    except PrepError as error:
        raise PrepError(
            f"no corpus: Multi30k ({tried}); LibreOffice's help ({error}); give a folder with "
            "train.de, train.en, val.*, test2016.* (plain or packed), or the packages "
            f"{' and '.join(HELP.values())} (.deb), as --raw-dir"
        ) from error


def _help(run: Run, packages: dict[str, Path], place: str) -> Found:
    """LibreOffice's help in two packages as a corpus."""
    from . import help_pages  # lxml is needed here alone

    paths = [packages[HELP[language]] for language in run.languages]
    versions = [debian.version_of(path) for path in paths]
    source, target = (help_pages.read_pages(debian.files_in(path, ".html")) for path in paths)
    splits, removed = help_pages.split(help_pages.pairs_by_page(source, target))
    if not all(splits.values()):
        raise PrepError(f"{paths[0]}, {paths[1]}: hold no pages with the same names")
    files = {f"{place}/{path.name}": path for path in paths}
    where = " + ".join(path.name for path in paths)
    note = (
        f"LibreOffice's help {versions[0]}: compare no scores with Multi30k; valid and test are "
        f"whole pages, and {removed:,} sentences that resemble one of theirs were taken out"
    )

    def source_of(pairs: list[help_pages.Pair]) -> Source:
        return Source(lambda _: iter(pairs), where, files, note=note, version=versions[0])

    return Found(
        corpus=f"LibreOffice help {versions[0].split(':')[-1].split('-')[0]}",
        licence="MPL-2.0 (LibreOffice contributors; Debian packages " + ", ".join(packages) + ")",
        splits={split: [source_of(pairs)] for split, pairs in splits.items()},
        counts={"pages": len(source.keys() & target.keys()), "resembling_removed": removed},
    )
