"""docs/errors.md: each line is said somewhere in the code, and provoked by a test there is; the
numbers are those of results/."""

import ast
import functools
import re
from pathlib import Path

import pytest
from faults.page import between, of_results, read

ROOT = Path(__file__).parents[2]
ROWS = re.findall(
    r"^\| `(.+?)` \| .+ \| `(tests/[\w/]+\.py)::(\w+)` \|$",
    (ROOT / "docs" / "errors.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)


@functools.cache
def said() -> str:
    """The text of every string in the code, with `{name}` for what is put in; scripts whole."""
    parts = [ROOT / name for name in ("fairseq_gradinit", "recipes", "data_prep")]
    found = [file.read_text(encoding="utf-8") for part in parts for file in part.rglob("*.sh")]
    for file in (file for part in parts for file in part.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.append(
                    "".join(
                        str(part.value)
                        if isinstance(part, ast.Constant)
                        else "{" + ast.unparse(part.value) + "}"  # type: ignore[attr-defined]
                        for part in node.values
                    )
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def test_the_table_is_read():
    lines = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8").splitlines()
    assert len(ROWS) == sum(line.startswith("| `") for line in lines) > 20


@pytest.mark.parametrize("words, file, test", ROWS, ids=[row[0][:40] for row in ROWS])
def test_a_line_is_said_and_provoked(words, file, test):
    assert words in said()
    assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8")


def test_the_numbers_are_those_of_the_results():
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    for name, text in of_results(ROOT / "results").items():
        assert between(page, name) == text, "run python -m faults.page"


def test_nothing_was_lost_and_enough_was_tried():
    faults, fuzz = (read(ROOT / "results" / f"{name}.json") for name in ("faults", "fuzz"))
    assert faults["total"]["injected"] >= 500 and faults["total"]["lost"] == 0
    assert fuzz["total"]["inputs"] >= 100_000 and fuzz["total"]["crashes"] == 0
