"""Grids with made-up results, made once: reading them changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from support.made_grid import make

from recipes.engine.cells.grid import Grid
from recipes.engine.showing.results import cells_of, over_seeds


@dataclass(frozen=True)
class Results:
    """A grid's folder with what `results` reads from it."""

    grid: Grid
    folder: Path
    cells: pd.DataFrame
    groups: pd.DataFrame


@pytest.fixture(scope="session")
def two_axes(tmp_path_factory) -> Results:
    """2 lr × 2 β₂ × {none, gradinit} × 2 seeds: none trains at lr 1e-3 only."""
    axes = {"lr": ["1e-3", "2e-3"], "beta2": ["0.9", "0.98"], "init": ["none", "gradinit"]}
    return _results(tmp_path_factory.mktemp("two"), {**axes, "seed": ["1", "2"]})


@pytest.fixture(scope="session")
def one_axis(tmp_path_factory) -> Results:
    """Three inits and nothing else, as the quickstart's grid."""
    return _results(tmp_path_factory.mktemp("one"), {"init": ["gradinit", "none", "warmup"]})


def _results(folder: Path, axes: dict[str, list[str]]) -> Results:
    grid = make(folder, axes)
    cells = cells_of(grid, folder / "grid")
    return Results(grid, folder / "grid", cells, over_seeds(grid, cells))
