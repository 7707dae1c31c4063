"""A grid: axes, the flags all cells share, and the cells that follow from them."""

from __future__ import annotations

import itertools
import re
import shlex
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .errors import GridError, nearest
from .files import read_json, write_json

# Axes that are not simply `--NAME VALUE` of fairseq-train.
AXIS_FLAGS = {
    "warmup": ["--warmup-updates"],
    "depth": ["--encoder-layers", "--decoder-layers"],
}
BETAS = ("beta1", "beta2")
COUNTS = {"depth": 1, "warmup": 0, "seed": 0}  # axes of whole numbers, and the least of each
KNOWN_AXES = ("lr", *BETAS, "momentum", "init", "warmup", "seed", "depth")


@dataclass(frozen=True)
class Grid:
    """What is run; two grids are the same when all of this is the same.

    Attributes:
        data: folder with data-bin/ and raw/, as data_prep leaves it.
        axes: axis name → its values, as text, in the order given.
        inits: name of an `init` value → the fairseq-train flags it stands for.
        flags: fairseq-train flags of every cell.
        generate_flags: fairseq-generate flags (beam, post-processing).
        average: number of last checkpoints averaged before decoding; 0 decodes one checkpoint.
        checkpoint: which one that is, `last` or `best` (by valid loss).
        subset: the split that is decoded and scored.
        reference: text of that split, a line a sentence, as sacreBLEU wants it (untokenized).
        tokenized: also score tokenized BLEU, lower-cased, as IWSLT papers report it.
    """

    data: str
    axes: dict[str, list[str]]
    inits: dict[str, list[str]] = field(default_factory=dict)
    flags: list[str] = field(default_factory=list)
    generate_flags: list[str] = field(default_factory=list)
    average: int = 0
    checkpoint: str = "last"
    subset: str = "test"
    reference: str = ""
    tokenized: bool = False

    @property
    def data_bin(self) -> Path:
        return Path(self.data) / "data-bin"

    @property
    def source(self) -> str:
        return self._language("--source-lang", "-s")

    @property
    def target(self) -> str:
        return self._language("--target-lang", "-t")

    def _language(self, *names: str) -> str:
        for name in names:
            if name in self.flags[:-1]:
                return self.flags[self.flags.index(name) + 1]
        raise GridError(f"{names[0]} is missing; add it after -- among the fairseq-train flags")

    @property
    def reference_path(self) -> Path:
        if self.reference:
            return Path(self.reference)
        return Path(self.data) / "raw" / f"{self.subset}.{self.target}"


@dataclass(frozen=True)
class Point:
    """One cell of the grid: its folder name and its value on every axis."""

    name: str
    values: dict[str, str]


def points(grid: Grid) -> list[Point]:
    """All cells, in grid order; GridError when an axis is empty or two cells coincide."""
    check_axes(grid)
    found: dict[str, Point] = {}
    for combination in itertools.product(*grid.axes.values()):
        values = dict(zip(grid.axes, combination))
        name = "__".join(f"{axis}-{_plain(value)}" for axis, value in values.items())
        if name in found:
            raise GridError(
                f"--axis: {found[name].values} and {values} would share the folder {name}; "
                "give one of the values another spelling"
            )
        found[name] = Point(name, values)
    return list(found.values())


def _plain(value: str) -> str:
    """The value as part of a folder name: what fairseq or a shell would trip over becomes _."""
    return re.sub(r"[^A-Za-z0-9.+-]+", "_", value)


def check_axes(grid: Grid) -> None:
    """Raise GridError for an empty axis, a value given twice, or an axis that is also a flag."""
    if not grid.axes:
        raise GridError("no axis given; add for example --axis lr=5e-4,1e-3")
    for axis, values in grid.axes.items():
        if not values or not all(values):
            raise GridError(f"--axis {axis}: an empty value; write --axis {axis}=V1,V2")
        seen: dict[Any, str] = {}
        for value in values:
            key = _number(value)
            if key in seen:
                raise GridError(f"--axis {axis}: {seen[key]} and {value} are the same value twice")
            seen[key] = value
            if axis in COUNTS and not (value.isdecimal() and int(value) >= COUNTS[axis]):
                wanted = f"a whole number from {COUNTS[axis]} on"
                raise GridError(f"--axis {axis}: found {value}; give {wanted}")
        for flag in axis_flags(axis):
            if flag in grid.flags:
                raise GridError(f"{flag} is fixed after -- and is also the axis {axis}; drop one")
    for name in grid.axes.get("init", []):
        if name not in grid.inits:
            raise GridError(
                f"--axis init={name}: no such --init{nearest(name, grid.inits)}; "
                f'define it: --init {name}="FLAGS" (empty FLAGS are allowed)'
            )


def axis_flags(axis: str) -> list[str]:
    """The fairseq-train flags an axis sets by itself (betas and init are built elsewhere)."""
    if axis == "init" or axis in BETAS:
        return []
    return AXIS_FLAGS.get(axis, [f"--{axis.replace('_', '-')}"])


def _number(value: str) -> Any:
    try:
        return float(value)
    except ValueError:
        return value


def train_flags(grid: Grid, values: dict[str, str]) -> list[str]:
    """The fairseq-train flags of the cell at `values`, without data and folders."""
    flags = list(grid.flags)
    if "init" in values:
        flags += grid.inits[values["init"]]
    betas = _betas(grid.flags)
    for axis, value in values.items():
        if axis in BETAS:
            betas[BETAS.index(axis)] = value
        for flag in axis_flags(axis):
            flags += [flag, value]
    if any(axis in BETAS for axis in values):
        # The flag that comes last wins in argparse.
        flags += ["--adam-betas", f"({betas[0]}, {betas[1]})"]
    return flags


def _betas(flags: list[str]) -> list[str]:
    """β₁ and β₂ of the fixed flags; fairseq's own defaults when there are none."""
    if "--adam-betas" not in flags[:-1]:
        return ["0.9", "0.999"]
    text = flags[flags.index("--adam-betas") + 1]
    betas = re.findall(r"[0-9.eE+-]+", text)
    if len(betas) != 2:
        raise GridError(f"--adam-betas: found {text!r}; write it as '(0.9, 0.98)'")
    return betas


def claim(grid: Grid, folder: Path) -> None:
    """Make `folder` this grid's, or check that it is; GridError when it is another grid's.

    New values on an axis are welcome: the cells that exist stay, the new ones are run.
    """
    file = folder / "grid.json"
    if file.exists():
        _check_same(read_json(file), asdict(grid), folder)
    elif folder.exists() and any(folder.iterdir()) and not (folder / "grid.lock").exists():
        raise GridError(f"--out {folder}: not empty and not a grid; give a new folder")
    try:
        (folder / "cells").mkdir(parents=True, exist_ok=True)
        write_json(file, asdict(grid))
    except OSError as error:
        raise GridError(f"--out {folder}: cannot write ({error.strerror})") from error


def _check_same(old: dict[str, Any], new: dict[str, Any], folder: Path) -> None:
    remedy = "give another --out or delete the folder"
    for key in new:
        if key == "axes" or old.get(key) == new[key]:
            continue
        # An init that only the new grid has comes with its new cells.
        known = old.get(key) or {}
        if key == "inits" and all(new[key].get(name) == known[name] for name in known):
            continue
        raise GridError(
            f"--out {folder}: made by another grid ({key} was {_show(old.get(key))}, "
            f"now {_show(new[key])}); {remedy}"
        )
    for axis in sorted(set(old["axes"]) | set(new["axes"])):
        before, now = old["axes"].get(axis, []), new["axes"].get(axis, [])
        if not before or not set(before) <= set(now):
            raise GridError(
                f"--out {folder}: made by another grid (axis {axis} was {','.join(before)}, "
                f"now {','.join(now)}); {remedy}"
            )


def _show(value: Any) -> str:
    text = shlex.join(value) if isinstance(value, list) else str(value)
    return text if len(text) < 200 else text[:200] + "…"


def load(folder: Path) -> Grid:
    """The grid that `folder` holds; GridError when it holds none."""
    file = folder / "grid.json"
    if not file.exists():
        raise GridError(f"{folder}: no grid here (grid.json is missing); run the grid first")
    try:
        return Grid(**read_json(file))
    except TypeError as error:
        raise GridError(f"{file}: not a grid of this version ({error})") from error
