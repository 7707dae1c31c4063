"""Who may import whom in recipes/engine, read from the sources."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ENGINE = Path(__file__).parents[2] / "recipes" / "engine"
MAY = {
    "cells": {"cells"},
    "steps": {"steps", "cells"},
    "showing": {"showing", "cells"},
    "running": {"running", "steps", "cells"},
    "": {"", "running", "steps", "showing", "cells"},
}


def imports_of(file: Path) -> list[str]:
    """Full names of the modules that a file imports."""
    package = ["recipes", "engine", *file.relative_to(ENGINE).parent.parts]
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found += [f"{base}.{alias.name}" for alias in node.names]
    return found


@pytest.mark.parametrize("folder", MAY)
def test_arrows_run_down(folder):
    for file in (ENGINE / folder).glob("*.py"):
        for name in imports_of(file):
            parts = name.split(".")
            if parts[:2] == ["recipes", "engine"]:
                room = parts[2] if parts[2] in MAY else ""
                assert room in MAY[folder], f"{file.name} imports {name}"
            if parts[0] in ("fairseq_gradinit", "data_prep"):
                # checks names the package's folder, as the --user-dir to give.
                assert parts[1:2] == ["files"] or (file.name, name) == (
                    "checks.py",
                    "fairseq_gradinit",
                ), f"{file.name} imports {name}"


def test_only_cells_know_the_names_of_a_cells_files():
    for file in ENGINE.rglob("*.py"):
        if file.parent.name != "cells":
            for name in ("score.json", "cell.json", "trained.json", "hypotheses.txt"):
                assert f'"{name}"' not in file.read_text(), f"{file.name}: {name}"
