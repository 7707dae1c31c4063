"""What a hand, another program or a broken disk makes of a file that was right."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

# What is written where something else stood.
WORDS = [
    *(b"null", b"NaN", b"Infinity", b"-1", b"1e400", b"9" * 400, b"1e30", b"0", b"true", b'""'),
    *(b"[]", b"{}", b"[" * 3000, b'{"a":' * 3000, b"\xff\xfe", b"\x00", b"\xef\xbb\xbf", b"\r\n"),
    *("\u2028\u0085\u200b".encode(), b"../../precious", b"/etc/passwd", b'"name": "a",'),
]


@st.composite
def mutated(draw: st.DrawFn, whole: bytes) -> bytes:
    """`whole` after one to four changes."""
    content = whole
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        to = min(len(content), at + draw(st.sampled_from((0, 1, 1, 4, 30, 10_000))))
        kind = draw(st.sampled_from(("word", "bytes", "flip", "cut", "twice", "token")))
        if kind == "word":
            content = content[:at] + draw(st.sampled_from(WORDS)) + content[to:]
        elif kind == "bytes":
            content = content[:at] + draw(st.binary(max_size=8)) + content[to:]
        elif kind == "flip" and at < len(content):
            flipped = content[at] ^ (1 << draw(st.integers(0, 7)))
            content = content[:at] + bytes([flipped]) + content[at + 1 :]
        elif kind == "cut":
            content = content[:at] + content[to:]
        elif kind == "twice":
            content = content[:to] + content[at:to] + content[to:]
        elif kind == "token":  # a whole value of the JSON
            start = content.find(b": ", at)
            if start >= 0:
                ends = [content.find(mark, start) for mark in (b",", b"\n")]
                end = min((end for end in ends if end >= 0), default=len(content))
                value = draw(st.sampled_from(WORDS))
                content = content[: start + 2] + value + content[end:]
    return content


# Values that are JSON, so that more than the parser is tried.
VALUES: list[Any] = [
    *(None, True, 0, -1, 1, 2**63, 10**400, 1e-320, 0.5, 1e6, 1e30, 1e308, "", "a", "../a", "/etc"),
    *("a\u2028b", "\ud800", "1", [], {}, [[]], {"a": {}}, [0.5], ["a"], [0.5] * 1000),
]


@st.composite
def misshapen(draw: st.DrawFn, whole: Any) -> bytes:
    """The JSON of `whole` after one to three of its parts were changed, dropped or doubled."""
    root = [copy.deepcopy(whole)]
    for _ in range(draw(st.integers(1, 3))):
        holder: Any = root
        keys: list[Any] = [0]
        while keys:
            key = draw(st.sampled_from(keys))
            inner = holder[key]
            deeper = isinstance(inner, (dict, list)) and len(inner) > 0
            if not deeper or draw(st.integers(0, 3)) == 0:
                break
            holder, keys = inner, list(inner) if isinstance(inner, dict) else range(len(inner))
        kind = draw(st.sampled_from(("value", "value", "value", "drop", "double")))
        if kind == "value" or holder is root:
            value = draw(st.sampled_from(VALUES) | st.floats(allow_nan=False) | st.text(max_size=5))
            holder[key] = copy.deepcopy(value)
        elif kind == "drop":
            del holder[key]
        elif isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        else:
            holder[f"{key}{draw(st.sampled_from(('', ' ', '/..', chr(0x85))))}"] = holder[key]
    return as_text(root[0])


def as_text(value: object) -> bytes:
    """JSON as this project writes it."""
    return (json.dumps(value, indent=1) + "\n").encode()


def spoilt(whole: Any) -> st.SearchStrategy[bytes]:
    """The JSON of `whole` with other bytes, or with other values."""
    return mutated(as_text(whole)) | misshapen(whole)
