"""LibreOffice's help in two languages -> aligned sentences, in splits that share none.

The pages have the same names in every language and their paragraphs the same ids, so that no
aligner is needed; many paragraphs stand on several pages.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

from lxml import html

Pair = tuple[str, str]
Pages = dict[str, dict[str, str]]  # page -> id of a paragraph -> its text

SHORTEST, LONGEST, RATIO = 4, 40, 2.0  # words of a sentence; longer side / shorter side
HELD_OUT = 1_000  # sentences, in each of valid and test, about
TOO_NEAR = 0.5  # share of the word pairs of two sentences that both have

_PARAGRAPH = re.compile(r"(?:par|hd)_id\w+")
_OF_AN_OTHER_SYSTEM = {"MAC", "UNIX", "WIN"}  # spans of which a browser shows one
_CODE = re.compile("(?:smath|bas)?code")  # classes of paragraphs
# A stop, an optional quote or bracket, then a capital, a digit or an opening quote.
_SENTENCE_END = re.compile(r'(?<=[.!?])(["»“”)]?)\s+(?=["„“»(]?[A-ZÄÖÜ0-9])')


def read_pages(files: Iterable[tuple[str, bytes]]) -> Pages:
    """The help pages among the files of a package, by their name below their language."""
    found = {}
    for name, content in files:
        below = re.search(r"/help/[^/]+/(text/.+)", name)
        if below and content:
            found[below[1]] = paragraphs(content)
    return found


def paragraphs(page: bytes) -> dict[str, str]:
    """The paragraphs and headings of a help page by their id; code is left out."""
    found = {}
    for element in html.document_fromstring(page, parser=html.HTMLParser(encoding="utf-8")).iter():
        name = element.get("id", "") if isinstance(element.tag, str) else ""
        if _PARAGRAPH.fullmatch(name) and not _CODE.match(element.get("class", "")):
            found[name] = " ".join("".join(_shown(element)).split())
    return found


def _shown(element: html.HtmlElement) -> Iterator[str]:
    """The text of an element, with the words for one system where they differ by system."""
    yield element.text or ""
    for child in element:
        if isinstance(child.tag, str) and child.get("class") not in _OF_AN_OTHER_SYSTEM:
            yield " " if child.tag == "br" else ""
            yield from _shown(child)
        yield child.tail or ""


def sentences(left: str, right: str) -> Iterator[Pair]:
    """The sentence pairs of a paragraph, or the paragraph where its sides have unequally many."""
    sides = [_SENTENCE_END.sub("\\1\n", side).split("\n") for side in (left, right)]
    yield from zip(*sides) if len(sides[0]) == len(sides[1]) else [(left, right)]


def pairs_by_page(source: Pages, target: Pages) -> dict[str, list[Pair]]:
    """The sentence pairs of each page that are prose of a fit length, each pair once."""
    seen: set[Pair] = set()
    found: dict[str, list[Pair]] = {}
    for page in sorted(source.keys() & target.keys()):
        found[page] = []
        for name, text in source[page].items():
            for pair in sentences(text, target[page].get(name, "")):
                if pair not in seen and _is_prose(pair):
                    seen.add(pair)
                    found[page].append(pair)
    return found


def _is_prose(pair: Pair) -> bool:
    short, long = sorted(len(side.split()) for side in pair)
    return pair[0] != pair[1] and short >= SHORTEST and long <= min(LONGEST, RATIO * short)


def split(pages: dict[str, list[Pair]]) -> tuple[dict[str, list[Pair]], int]:
    """Whole pages into train, valid and test by the hash of their names.

    What resembles a sentence of valid or test on either side is taken out of the splits before
    it: out of train for both, out of valid for test. Returns the splits and how many were so
    taken out.
    """
    ranked = sorted(pages, key=lambda page: hashlib.sha256(page.encode("utf-8")).digest())
    size = min(HELD_OUT, sum(map(len, pages.values())) // 10)
    parts: dict[str, list[Pair]] = {"test": [], "valid": [], "train": []}
    for page in ranked:
        name = next(split for split, part in parts.items() if split == "train" or len(part) < size)
        parts[name] += pages[page]
    removed = 0
    held_out: list[Pair] = []
    for name in ("test", "valid", "train"):
        near = [resembling(pair[side] for pair in held_out) for side in (0, 1)]
        kept = [p for p in parts[name] if not (near[0](p[0]) or near[1](p[1]))]
        removed += len(parts[name]) - len(kept)
        parts[name] = kept
        held_out += kept
    return {name: parts[name] for name in ("train", "valid", "test")}, removed


def resembling(known: Iterable[str]) -> Callable[[str], bool]:
    """Whether a sentence is nearly one of `known`: the same words in nearly the same order.

    Compared are the pairs of neighbouring words, in lower case, every number alike: at least
    TOO_NEAR of those that either sentence has are in both (Jaccard).
    """
    sets = [_word_pairs(sentence) for sentence in known]
    having = defaultdict(set)
    for number, found in enumerate(sets):
        for pair in found:
            having[pair].add(number)

    def nearly(sentence: str) -> bool:
        mine = _word_pairs(sentence)
        shared = Counter(number for pair in mine for number in having.get(pair, ()))
        return any(
            common >= TOO_NEAR * (len(mine) + len(sets[number]) - common)
            for number, common in shared.items()
        )

    return nearly


def _word_pairs(sentence: str) -> set[tuple[str, str]]:
    words = ["", *re.findall(r"\w+", re.sub(r"\d+", "0", sentence.casefold())), ""]
    return set(pairwise(words))
