"""docs/errors.md: each line is said somewhere in the package, and provoked by a test there is."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = re.findall(
    r"^\| `(.+?)` \| .+ \| `(tests/[\w/]+\.py)::(\w+)` \|$",
    (ROOT / "docs" / "errors.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)


def said() -> str:
    """The text of every string in the package, with `{name}` for what is put in."""
    found = []
    for file in (ROOT / "fairseq_gradinit").rglob("*.py"):
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
