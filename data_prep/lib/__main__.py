"""One stage of a script: `python -m data_prep.lib STAGE OPTION...` (the scripts call it `prep`)."""

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import Any, List, Optional

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


def _parser() -> argparse.ArgumentParser:
    shared = _Parser(add_help=False)
    shared.add_argument("--out", type=Path, required=True)
    shared.add_argument("--languages", nargs=2, required=True, metavar=("SOURCE", "TARGET"))
    shared.add_argument("--workers", type=_positive, default=1)
    shared.add_argument("--dry-run", action="store_true")

    parser = _Parser(prog="prep", description=__doc__)
    stages = parser.add_subparsers(dest="stage", required=True, parser_class=_Parser)

    get = stages.add_parser("get", parents=[shared])
    get.add_argument("corpus")
    get.add_argument("--to", default="raw")
    get.add_argument("--raw-dir", type=Path)
    get.add_argument("--limit", type=_count, default=0)
    get.add_argument("--drop-empty", action="store_true")

    learn = stages.add_parser("learn", parents=[shared])
    segment = stages.add_parser("segment", parents=[shared])
    for stage in (learn, segment):
        stage.add_argument("kind", choices=("sentencepiece", "bpe"))
        stage.add_argument("--from", dest="folder", default="raw")
    learn.add_argument("--size", type=_positive, default=None)
    learn.add_argument("--bpe-codes", type=Path)
    segment.add_argument("--most", type=_count, default=0)
    segment.add_argument("--ratio", type=float, default=0.0)

    binarise = stages.add_parser("binarise", parents=[shared])
    binarise.add_argument("--joined-dictionary", action="store_true")
    binarise.add_argument("--dict", type=Path)

    stages.add_parser("card", parents=[shared])
    return parser


def _run(arguments: List[str]) -> None:
    args = _parser().parse_args(arguments)
    from .stages import Run

    run = Run(
        out=args.out,
        languages=tuple(args.languages),
        workers=args.workers,
        dry_run=args.dry_run,
        command=os.environ.get("PREP_COMMAND", ""),
    )
    # Imported late: a stage should not wait for, or need, the libraries of the others.
    if args.stage == "get":
        from .corpora import CORPORA
        from .get import get_corpus

        from .quickstart import get_quickstart

        if args.corpus == "quickstart":
            get_quickstart(run, args.raw_dir, args.to, args.limit)
            return
        corpus = CORPORA[args.corpus]
        get_corpus(run, corpus, args.raw_dir, args.to, args.limit, args.drop_empty)
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


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def main(arguments: Optional[List[str]] = None) -> int:
    """Run one stage; what a user can mend ends in one line and exit code 1."""
    from .texts import disk_full

    signal.signal(signal.SIGTERM, _interrupt)  # so that partial files are removed
    try:
        _run(sys.argv[1:] if arguments is None else arguments)
    except PrepError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        print(f"error: Python module {error.name} is missing; "
              "pip install 'fairseq_gradinit[recipes]'", file=sys.stderr)
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
