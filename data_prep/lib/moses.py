"""Moses tokens through sacremoses: normalise, tokenize, lower-case, and back."""

import re
import unicodedata
from collections.abc import Callable

Lines = Callable[[list[str]], list[str]]


def lowercase(text: str) -> str:
    """Lower-case as Moses' lowercase.perl: Perl's lc knows no final sigma, Python's lower does."""
    return text.replace("Σ", "σ").lower()


def printable(text: str) -> str:
    """remove-non-printing-char.perl: every control or format character becomes a space.

    (sacremoses would remove them and so join words.)
    """
    if text.isprintable():
        return text
    return "".join(" " if unicodedata.category(char)[0] == "C" else char for char in text)


def tokenizer(language: str, normalise: bool = False, aggressive: bool = False) -> Lines:
    """tokenizer.perl [-a], after normalize-punctuation and remove-non-printing-char if asked."""
    from sacremoses import MosesPunctNormalizer, MosesTokenizer  # takes half a second

    tokens = MosesTokenizer(lang=language)
    tidy = MosesPunctNormalizer(lang=language)

    def tokenize(lines: list[str]) -> list[str]:
        if normalise:
            lines = [printable(tidy.normalize(line)) for line in lines]
        return [
            tokens.tokenize(line, aggressive_dash_splits=aggressive, return_str=True)
            for line in lines
        ]

    return tokenize


def detokenizer(language: str) -> Lines:
    """The text before tokenizer.perl, as near as can be told; escapes and @-@ are undone."""
    from sacremoses import MosesDetokenizer

    text = MosesDetokenizer(lang=language)

    def detokenize(lines: list[str]) -> list[str]:
        return [text.detokenize(line.split(" "), return_str=True) for line in lines]

    return detokenize


def undo_bpe(line: str) -> str:
    """Tokens of a line that was segmented with subword-nmt."""
    return re.sub(r"@@( |$)", "", line)
