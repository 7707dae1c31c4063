"""`fairseq-train --user-dir fairseq_gradinit --help` shows the --gradinit-* flags.

fairseq prints its help before it has added any task's flags, so without this nobody would
find them.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from fairseq import options
from fairseq.dataclass.utils import gen_parser_from_dataclass

from .activations import ActivationConfig
from .config import GradInitConfig
from .probes.config import ProbesConfig
from .sparse_config import SparseConfig

HELP = {"-h", "--help"}


def show_flags_in_help() -> None:
    """Has fairseq's parser know GradInit's flags when it is asked for help, and only then."""
    parse = options.parse_args_and_arch
    if not getattr(parse, "shows_gradinit", False):
        options.parse_args_and_arch = _with_flags(parse)


def _with_flags(parse: Callable[..., Any]) -> Callable[..., Any]:
    def parse_args_and_arch(
        parser: ArgumentParser, input_args: list[str] | None = None, **kwargs: Any
    ) -> Any:
        if HELP & set(sys.argv[1:] if input_args is None else input_args):
            group = parser.add_argument_group("GradInit")
            for flags in (GradInitConfig(), SparseConfig(), ActivationConfig(), ProbesConfig()):
                gen_parser_from_dataclass(group, flags)
        return parse(parser, input_args, **kwargs)

    parse_args_and_arch.shows_gradinit = True  # type: ignore[attr-defined]
    return parse_args_and_arch
