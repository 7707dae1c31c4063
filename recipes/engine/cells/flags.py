"""A list of fairseq flags, read as fairseq's parser reads it: it takes no abbreviations."""

from __future__ import annotations

import re
from collections.abc import Sequence

# Two spellings of one flag.
ALIASES = [
    ("--source-lang", "-s"),
    ("--target-lang", "-t"),
    ("--arch", "-a"),
    ("--batch-size", "--max-sentences"),
    ("--post-process", "--remove-bpe"),
]
NEGATIVE = re.compile(r"-\d+$|-\d*\.\d+$")  # argparse's own rule for a value that begins with -


def value(flags: Sequence[str], name: str) -> str | None:
    """The value of `name`: the last of `--name VALUE`, `--name=VALUE`, `-nVALUE`; aliases count.

    None where the flag is not given, "" where it is given without a value.
    """
    found = None
    for at, word in enumerate(flags):
        if word == "--":
            break
        for spelling in spellings(name):
            if word == spelling:
                following = flags[at + 1] if at + 1 < len(flags) else "-"
                found = "" if is_flag(following) else following
            elif word.startswith(f"{spelling}="):
                found = word[len(spelling) + 1 :]
            elif len(spelling) == 2 and word.startswith(spelling):
                found = word[2:]
    return found


def given(flags: Sequence[str], name: str) -> bool:
    """Whether `name` is among the flags, in any spelling."""
    return value(flags, name) is not None


def spellings(name: str) -> Sequence[str]:
    return next((alias for alias in ALIASES if name in alias), (name,))


def is_flag(word: str) -> bool:
    return word.startswith("-") and not NEGATIVE.match(word) and " " not in word
