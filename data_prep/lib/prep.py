"""A script from top to bottom: its options, then its row of stages."""

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from . import binarise, options
from .clean import Recipe, clean
from .corpora import CORPORA
from .find import download, download_quickstart, locate, locate_quickstart
from .get import Found, get, text_source
from .packed import PrepError
from .stages import SPLITS, Run, drop_stages, only_run_in

SOURCE = "work/source"  # text before Moses and cleaning


def prepare(corpus: str, form: Sequence[str], given: Sequence[str], about: str = "") -> None:
    """Prepare a corpus.

    Args:
        corpus: one of options.corpora().
        form: the options that make the corpus' usual form, from its script.
        given: the options that the user gave.
        about: what --help says before the options.

    Raises:
        PrepError, FileError: one line for the user.
    """
    asked = options.read(corpus, form, given, about)
    from . import subwords  # after what --help and a wrong option need
    from .card import card

    published, held_out = _splits(corpus, asked)
    run = Run(
        out=asked.out,
        languages=(asked.source_lang, asked.target_lang),
        splits=tuple(split for split in SPLITS if split in (*published, *held_out)),
        workers=asked.workers,
        dry_run=asked.dry_run,
        command=os.environ.get("PREP_COMMAND", ""),
    )
    recipe = _recipe(corpus, asked)
    changes = recipe != Recipe(tokens=False)
    has_text_stage = bool(corpus == options.OWN or changes or held_out)
    text = "tokenized" if asked.kind == "bpe" else "raw"
    stages: dict[str, Callable[[], None]] = {
        "get": lambda: _get(run, corpus, asked, SOURCE if has_text_stage else "raw"),
        "text": lambda: clean(run, SOURCE, recipe, asked.every, held_out),
        "learn": lambda: subwords.learn(
            run, text, asked.kind, asked.size, asked.bpe_codes, asked.coverage
        ),
        "segment": lambda: subwords.segment(
            run, text, asked.kind, asked.most_pieces, asked.piece_ratio, asked.coverage
        ),
        "binarise": lambda: binarise.binarise(run, asked.joined_dictionary, asked.dict),
        "card": lambda: card(run),
    }
    if not has_text_stage:
        del stages["text"]
    folders = ["raw", "segmented", *([SOURCE] if has_text_stage else [])]
    folders += ["tokenized"] if recipe.tokens else []
    outputs = [name for folder in folders for name in run.names(folder)]
    outputs += [*binarise.names(run), subwords.MODEL[asked.kind], "card.json", "card.txt"]
    if run.dry_run:
        _do(stages, asked.until)
        return
    with only_run_in(run, outputs):
        drop_stages(run, list(stages))
        _do(stages, asked.until)


def _do(stages: dict[str, Callable[[], None]], until: str) -> None:
    for name, work in stages.items():
        work()
        if name == until:
            break


def _name(corpus: str, asked: argparse.Namespace) -> str:
    """The corpus of corpora.py that is meant."""
    if corpus != options.IWSLT or asked.form in (None, "archive"):
        return corpus
    return "iwslt14-text" if asked.form == "text" else "iwslt14-splits"


def _splits(corpus: str, asked: argparse.Namespace) -> tuple[tuple[str, ...], list[str]]:
    """The splits that a corpus has, and those to be held out of its train."""
    if corpus == options.OWN:
        given = {"train": asked.src, "valid": asked.valid_src, "test": asked.test_src}
        published = tuple(split for split, path in given.items() if path)
        return published, [split for split in ("valid", "test") if split not in published]
    if corpus == options.QUICKSTART:
        return SPLITS, []
    published = tuple(CORPORA[_name(corpus, asked)].alternatives())
    return published, [split for split in asked.hold_out if split not in published]


def _recipe(corpus: str, asked: argparse.Namespace) -> Recipe:
    """What stage `text` does to each pair."""
    processed = asked.form if getattr(asked, "form", None) in ("tokenized", "segmented") else "raw"
    if corpus == options.IWSLT and processed != "raw":
        return Recipe(form=processed)  # as published: cleaned and lower-cased already
    tokens = asked.kind == "bpe" or asked.tokens
    return Recipe(
        form=processed,
        tokens=tokens,
        normalise=asked.normalise and tokens,
        aggressive=asked.aggressive and tokens,
        lowercase=asked.lowercase,
        apostrophes={"never": False, "tokens": tokens, "always": True}[asked.apostrophes],
        most=asked.most,
        ratio=asked.ratio,
    )


def _get(run: Run, corpus: str, asked: argparse.Namespace, folder: str) -> None:
    form = getattr(asked, "form", "raw")
    local: Found | None
    if corpus == options.OWN:
        local, fetch = _own(run, asked), _no_download
    elif corpus == options.QUICKSTART:
        local = locate_quickstart(run, asked.raw_dir) if asked.raw_dir else None
        fetch = lambda: download_quickstart(run)  # noqa: E731
    else:
        published = CORPORA[_name(corpus, asked)]
        local = locate(run, published, asked.raw_dir) if asked.raw_dir else None
        fetch = lambda: download(run, published)  # noqa: E731
        form = form if form in ("tokenized", "segmented") else "raw"
    name = _name(corpus, asked)
    get(run, name, folder, local, fetch, limit=asked.limit, drop_empty=asked.drop_empty, form=form)


def _own(run: Run, asked: argparse.Namespace) -> Found:
    """Anyone's files as a corpus."""
    splits = {}
    for split, role in (("train", ""), ("valid", "valid-"), ("test", "test-")):
        sides = [getattr(asked, f"{role}{side}".replace("-", "_")) for side in ("src", "tgt")]
        if all(sides):
            labels = (f"--{role}src", f"--{role}tgt")
            splits[split] = [text_source(run, (Path(sides[0]), Path(sides[1])), labels)]
    return Found("own text", asked.licence, splits)


def _no_download() -> Found:
    raise PrepError("--src and --tgt are needed")
