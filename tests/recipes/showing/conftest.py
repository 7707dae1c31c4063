"""Grids with made-up results, made once: reading them changes nothing."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from support.made_grid import make

from fairseq_gradinit.files import write_json
from recipes.engine.showing.report import report
from recipes.engine.showing.results import Results, read


@pytest.fixture(scope="session")
def two_axes_folder(tmp_path_factory) -> Path:
    """2 lr × 2 β₂ × {none, gradinit} × 2 seeds: none trains at lr 1e-3 only.

    Its corpus has a name that tries to be HTML.
    """
    folder = tmp_path_factory.mktemp("two")
    axes = {"lr": ["1e-3", "2e-3"], "beta2": ["0.9", "0.98"], "init": ["none", "gradinit"]}
    make(folder, {**axes, "seed": ["1", "2"]})
    write_json(folder / "data" / "card.json", {"corpus": "Dogs <b>& cats</b>", "version": "1.0"})
    return folder / "grid"


@pytest.fixture(scope="session")
def two_axes(two_axes_folder) -> Results:
    return read(two_axes_folder)


@pytest.fixture(scope="session")
def written(two_axes_folder, tmp_path_factory) -> tuple[Path, str]:
    """The report of `two_axes`: its folder, and what was printed."""
    target = tmp_path_factory.mktemp("report")
    console = Console(file=io.StringIO(), width=100)
    assert report(two_axes_folder, target, console) == 0
    return target, console.file.getvalue()


@pytest.fixture(scope="session")
def inits_folder(tmp_path_factory) -> Path:
    """Three inits and nothing else, as the quickstart's grid."""
    folder = tmp_path_factory.mktemp("inits")
    make(folder, {"init": ["gradinit", "none", "warmup"]})
    return folder / "grid"
