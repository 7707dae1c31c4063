"""One stage of a script: `python -m data_prep.lib STAGE OPTION...` (the scripts call it `prep`)."""

import argparse
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

from .errors import PrepError


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise PrepError(message)


def _count(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = -1
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")
    return value


def _positive(text: str) -> int:
    value = _count(text)
    if not value:
        raise argparse.ArgumentTypeError("0 is too small; give 1 or more")
    return value


def _ratio(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if value != 0 and not 1 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a length ratio of 1 or more (0: any)")
    return value


def _language(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z]{2,3}([_-][A-Za-z0-9]+)*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a language code such as de or pt_BR")
    return text


def _parser() -> argparse.ArgumentParser:
    shared = _Parser(add_help=False)
    shared.add_argument("--out", type=Path, required=True)
    shared.add_argument("--languages", nargs=2, type=_language, required=True)
    shared.add_argument("--workers", type=_positive, default=1)
    shared.add_argument("--dry-run", action="store_true")

    parser = _Parser(prog="prep", description=__doc__)
    stages = parser.add_subparsers(dest="stage", required=True, parser_class=_Parser)

    get = stages.add_parser("get", parents=[shared])
    get.add_argument("corpus")
    for split in ("train", "valid", "test"):  # corpus "own": source and target file
        get.add_argument(f"--{split}", nargs=2, type=Path, metavar=("SOURCE", "TARGET"))
    get.add_argument("--licence", default="not stated (own text)")
    get.add_argument("--to", default="raw")
    get.add_argument("--raw-dir", type=Path)
    get.add_argument("--limit", type=_count, default=0)
    get.add_argument("--drop-empty", action="store_true")

    text = stages.add_parser("text", parents=[shared])
    text.add_argument("--from", dest="folder", default="work/source")
    text.add_argument("--form", choices=("raw", "tokenized", "segmented"), default="raw")
    for flag in ("no-tokens", "normalise", "aggressive", "lowercase", "apostrophes"):
        text.add_argument(f"--{flag}", action="store_true")
    text.add_argument("--most", type=_count, default=0)
    text.add_argument("--ratio", type=_ratio, default=0.0)
    text.add_argument("--hold-out", nargs="+", choices=("valid", "test"), default=[])
    text.add_argument("--every", type=_count, default=0)

    learn = stages.add_parser("learn", parents=[shared])
    segment = stages.add_parser("segment", parents=[shared])
    for stage in (learn, segment):
        stage.add_argument("kind", choices=("sentencepiece", "bpe"))
        stage.add_argument("--from", dest="folder", default="raw")
    learn.add_argument("--size", type=_positive, default=None)
    learn.add_argument("--bpe-codes", type=Path)
    segment.add_argument("--most", type=_count, default=0)
    segment.add_argument("--ratio", type=_ratio, default=0.0)

    binarise = stages.add_parser("binarise", parents=[shared])
    binarise.add_argument("--joined-dictionary", action="store_true")
    binarise.add_argument("--dict", type=Path)

    stages.add_parser("card", parents=[shared])
    return parser


def _run(arguments: list[str]) -> None:
    args = _parser().parse_args(arguments)
    from .stages import Run

    if args.languages[0] == args.languages[1]:
        raise PrepError(f"source and target language are both {args.languages[0]}; name two")
    run = Run(
        out=args.out,
        languages=tuple(args.languages),
        workers=args.workers,
        dry_run=args.dry_run,
        command=os.environ.get("PREP_COMMAND", ""),
    )
    # Imported late: a stage should not wait for, or need, the libraries of the others.
    if args.stage == "get":
        _get(run, args)
    elif args.stage == "text":
        from .prepare import Recipe, prepare

        recipe = Recipe(
            form=args.form,
            tokens=not args.no_tokens,
            normalise=args.normalise,
            aggressive=args.aggressive,
            lowercase=args.lowercase,
            apostrophes=args.apostrophes,
            most=args.most,
            ratio=args.ratio,
        )
        prepare(run, args.folder, recipe, args.every, args.hold_out)
    elif args.stage == "learn":
        from .subwords import learn

        learn(run, args.folder, args.kind, args.size, args.bpe_codes)
    elif args.stage == "segment":
        from .subwords import segment

        segment(run, args.folder, args.kind, args.most, args.ratio)
    elif args.stage == "binarise":
        from .binarise import binarise

        binarise(run, args.joined_dictionary, args.dict)
    else:
        from .card import card

        card(run)


def _get(run: Any, args: argparse.Namespace) -> None:
    from .corpora import CORPORA
    from .get import get_corpus, get_own
    from .quickstart import get_quickstart

    if args.corpus == "quickstart":
        get_quickstart(run, args.raw_dir, args.to, args.limit)
    elif args.corpus == "own":
        given = {"train": args.train, "valid": args.valid, "test": args.test}
        files = {split: (pair[0], pair[1]) for split, pair in given.items() if pair}
        get_own(run, files, args.licence, args.to, args.limit, args.drop_empty)
    else:
        corpus = CORPORA[args.corpus]
        get_corpus(run, corpus, args.raw_dir, args.to, args.limit, args.drop_empty)


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None) -> int:
    """Run one stage; what a user can mend ends in one line and exit code 1."""
    from .texts import disk_full

    signal.signal(signal.SIGTERM, _interrupt)  # so that partial files are removed
    try:
        _run(sys.argv[1:] if arguments is None else arguments)
    except PrepError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        print(
            f"error: Python module {error.name} is missing; "
            "pip install 'fairseq_gradinit[recipes]'",
            file=sys.stderr,
        )
        return 1
    except OSError as error:
        line = disk_full(error) or f"{error.filename or 'files'}: {error.strerror}; check --out"
        print(f"error: {line}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command continues", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
