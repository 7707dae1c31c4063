"""What fairseq's command line says of GradInit's flags."""

from __future__ import annotations

import functools
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any, NoReturn

from fairseq import options
from fairseq.dataclass.utils import gen_parser_from_dataclass

from .flags import FLAG_GROUPS, all_options

HELP = {"-h", "--help"}


def extend_parser() -> None:
    """Has fairseq's parser know GradInit's flags when it is asked for help, and say what to do
    where the task has none of them.

    fairseq prints its help before it has added any task's flags, so without this nobody would find
    them.
    """
    parse = options.parse_args_and_arch
    if not getattr(parse, "knows_gradinit", False):
        options.parse_args_and_arch = _extended(parse)


def _extended(parse: Callable[..., Any]) -> Callable[..., Any]:
    def parse_args_and_arch(
        parser: ArgumentParser, input_args: list[str] | None = None, **kwargs: Any
    ) -> Any:
        if HELP & set(sys.argv[1:] if input_args is None else input_args):
            for name, flags in FLAG_GROUPS.items():
                gen_parser_from_dataclass(parser.add_argument_group(name), flags())
        # What argparse calls with its complaint.
        parser.error = functools.partial(_complain, parser.error)  # type: ignore[method-assign]
        return parse(parser, input_args, **kwargs)

    parse_args_and_arch.knows_gradinit = True  # type: ignore[attr-defined]
    return parse_args_and_arch


def _complain(stock: Callable[[str], NoReturn], message: str) -> NoReturn:
    known = {"--" + one.name.replace("_", "-") for one in all_options()}
    unknown = [word.partition("=")[0] for word in message.split() if word.startswith("--gradinit")]
    if not message.startswith("unrecognized arguments") or not unknown:
        stock(message)
    if set(unknown) <= known:
        raise SystemExit(
            f"fairseq-train: error: {unknown[0]}: this --task knows nothing of GradInit; give "
            "--task translation_gradinit or language_modeling_gradinit, or mix "
            "fairseq_gradinit.tasks.GradInitMixin and GradInitFlags into your own"
        )
    stock(message)
