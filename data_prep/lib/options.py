"""The options of the scripts, read and checked before anything is done."""

import argparse
import filecmp
import importlib.util
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .corpora import CORPORA
from .packed import PrepError, kind_of

ROLES = ("src", "tgt", "valid-src", "valid-tgt", "test-src", "test-tgt")
PACKAGES = (
    *("fairseq", "lxml", "numpy", "pooch", "rich", "sacremoses", "sentencepiece"),
    *("subword_nmt", "tqdm"),
)
QUICKSTART, OWN, IWSLT = "quickstart", "own", "iwslt14"
STAGES = ("get", "text", "learn", "segment", "binarise", "card")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise PrepError(f"{message}; see --help")


def _number(kind: Callable[[str], Any], good: Callable[[Any], bool], what: str) -> Any:
    def read(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not good(value):
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
        return value

    return read


_count = _number(int, lambda n: n >= 0, "a whole number of 0 or more")
# fairseq-preprocess starts as many processes as it is told to, however few lines there are.
_workers = _number(int, lambda n: 1 <= n <= 1024, "a whole number of 1 to 1024")
_subwords = _number(int, lambda n: 1 <= n <= 10**6, "a whole number of 1 to 1,000,000")
_ratio = _number(float, lambda x: x == 0 or 1 <= x < 1e9, "a length ratio of 1 or more (0: any)")
_coverage = _number(float, lambda x: 0.9 <= x <= 1, "a share of characters, 0.9 to 1")


def _path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("an empty name; give a path")
    return Path(text)


def _language(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z]{2,3}([_-][A-Za-z0-9]+)*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a language code such as de or pt_BR")
    return text


class _Subwords(argparse.Action):
    """--sentencepiece N or --bpe N: the last one counts; `asked` keeps all."""

    def __call__(self, parser: Any, namespace: Any, value: Any, option: str | None = None) -> None:
        kind = (option or "").lstrip("-")
        namespace.kind, namespace.size = kind, value
        namespace.asked = [*getattr(namespace, "asked", []), kind]


def parser(corpus: str, about: str = "") -> argparse.ArgumentParser:
    """The options of the script of a corpus."""
    form = argparse.RawDescriptionHelpFormatter
    parser = _Parser(
        prog=f"data_prep/{corpus}", description=about, formatter_class=form, allow_abbrev=False
    )
    add = parser.add_argument
    add("--out", type=_path, metavar="DIR", help="where the result goes")
    if corpus == OWN:
        for role in ROLES:
            add(f"--{role}", type=_path, metavar="FILE", help=_role_help(role))
        add("--licence", default="not stated (own text)", help="kept in provenance.json")
    else:
        raw_dir = os.environ.get("GRADINIT_RAW_DIR") or None
        what = "local files, no download (default: $GRADINIT_RAW_DIR)"
        add("--raw-dir", type=_path, metavar="DIR", default=raw_dir, help=what)
    add("--source-lang", type=_language, metavar="CODE", help="such as de")
    add("--target-lang", type=_language, metavar="CODE", help="such as en")
    if corpus in (OWN, IWSLT):
        plain = ("archive", "text") if corpus == IWSLT else ("raw",)
        what = "what the text is; tokens and BPE are undone for raw/"
        add(
            "--from",
            dest="form",
            choices=(*plain, "tokenized", "segmented"),
            default=None,
            help=what,
        )
    add("--limit", type=_count, default=0, metavar="N", help="first N pairs of each split")
    cores = len(os.sched_getaffinity(0))
    add("--workers", type=_workers, default=cores, metavar="N", help="processes (all cores)")
    add("--dry-run", action="store_true", help="say what would be done")
    add("--until", choices=STAGES, default="card", help="stop after this stage")

    size = dict(action=_Subwords, type=_subwords, metavar="N")
    add("--sentencepiece", **size, help="subwords: joint sentencepiece of N pieces")
    add("--bpe", **size, help="or Moses tokens and N joint merges")
    add("--bpe-codes", type=_path, metavar="FILE", help="these merges; none are learned")
    add(
        "--coverage",
        type=_coverage,
        default=1.0,
        metavar="SHARE",
        help="of the characters that get a piece (zh, ja: 0.9995)",
    )
    add("--joined-dictionary", action="store_true", default=False, help="one for both languages")
    add(
        "--separate-dictionaries",
        dest="joined_dictionary",
        action="store_false",
        help="one for each language",
    )
    add("--dict", type=_path, metavar="DIR", help="use dict.<language>.txt of DIR")

    add("--lowercase", action="store_true", help="lower-case everything")
    add("--drop-empty", action="store_true", help="drop pairs of train with an empty side")
    add("--most", type=_count, default=0, metavar="N", help="longest side of train, in words")
    add("--ratio", type=_ratio, default=0.0, metavar="R", help="largest length ratio of train")
    add("--most-pieces", type=_count, default=0, metavar="N", help="as --most, in subwords")
    add("--piece-ratio", type=_ratio, default=0.0, metavar="R", help="as --ratio, in subwords")
    add("--tokens", action="store_true", help="Moses tokens with --sentencepiece, too")
    add("--normalise", action="store_true", help="Moses: punctuation, non-printing characters")
    add("--aggressive", action="store_true", help="Moses: split hyphens (-a)")
    add(
        "--apostrophes",
        choices=("never", "tokens", "always"),
        default="never",
        help="’ becomes ' in test: never, where there are tokens, always",
    )
    add("--hold-out", nargs="+", choices=("valid", "test"), default=[], help="out of train")
    add("--every", type=_count, default=0, metavar="N", help="held out (0: about 1,000 pairs)")
    return parser


def _role_help(role: str) -> str:
    split, _, side = role.rpartition("-")
    what = f"{split or 'train'}ing text" if not split else f"{split} text; held out if not given"
    return f"{'source' if side == 'src' else 'target'} side of the {what}"


def read(corpus: str, form: Sequence[str], given: Sequence[str], about: str) -> argparse.Namespace:
    """The options of a form, and over them those that a user gave, checked.

    Raises:
        PrepError: the first that is wrong; nothing was done yet.
    """
    options = parser(corpus, about)
    namespace = options.parse_args(form)
    namespace.asked = []
    options.parse_args(given, namespace)
    if len(set(namespace.asked)) > 1:
        raise PrepError("--sentencepiece and --bpe were both given; give one")
    if not namespace.out:
        raise PrepError("--out DIR is missing: where should the result go?")
    for side in ("source", "target"):
        if not getattr(namespace, f"{side}_lang"):
            raise PrepError(f"--{side}-lang is missing: a language code, such as de")
    if namespace.source_lang == namespace.target_lang:
        raise PrepError(f"--source-lang, --target-lang: both {namespace.source_lang}; name two")
    if namespace.bpe_codes and namespace.kind != "bpe":
        raise PrepError("--bpe-codes goes with --bpe, not with --sentencepiece")
    if namespace.coverage < 1 and namespace.kind != "sentencepiece":
        raise PrepError("--coverage goes with --sentencepiece, not with --bpe")
    missing = [name for name in PACKAGES if not importlib.util.find_spec(name)]
    if missing:
        raise PrepError(
            f"Python module {missing[0]} is missing; run make install, "
            "pip install 'fairseq_gradinit[recipes]', or give PYTHON=/path/to/python"
        )
    if corpus == OWN:
        _check_own(namespace)
    elif namespace.raw_dir and not namespace.raw_dir.is_dir():
        raise PrepError(f"--raw-dir {namespace.raw_dir}: no such folder")
    _check_files(namespace)
    return namespace


def _check_own(namespace: argparse.Namespace) -> None:
    given = {role: getattr(namespace, role.replace("-", "_")) for role in ROLES}
    if not (given["src"] and given["tgt"]):
        raise PrepError("--src FILE and --tgt FILE are both needed")
    for split in ("valid", "test"):
        if bool(given[f"{split}-src"]) != bool(given[f"{split}-tgt"]):
            raise PrepError(f"--{split}-src and --{split}-tgt go together: give both or neither")
    for path in given.values():
        if path:
            kind_of(path)
    sources = {role: path for role, path in given.items() if path and role.endswith("src")}
    targets = {role: path for role, path in given.items() if path and role.endswith("tgt")}
    for role, path in sources.items():
        for other, target in targets.items():
            same = path.samefile(target)
            pair = other.replace("tgt", "src") == role
            if same or (pair and filecmp.cmp(path, target, shallow=False)):
                what = "the same file" if same else "the same text"
                raise PrepError(f"--{role} {path} and --{other} {target} are {what}; give two")


def _check_files(namespace: argparse.Namespace) -> None:
    if namespace.bpe_codes:
        from .subwords import load_bpe

        kind_of(namespace.bpe_codes)
        load_bpe(namespace.bpe_codes)
    if namespace.dict:
        paths = [
            namespace.dict / f"dict.{language}.txt"
            for language in (namespace.source_lang, namespace.target_lang)
        ]
        for path in paths:
            kind_of(path)
        if namespace.joined_dictionary and paths[0].read_bytes() != paths[1].read_bytes():
            raise PrepError(f"--dict {namespace.dict}: two different files, but one is asked for")


def corpora() -> list[str]:
    """What a script may prepare."""
    return [QUICKSTART, OWN, *CORPORA]
