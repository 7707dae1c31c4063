"""A grid: axes, the flags all cells share, and the flags of each cell that follow from them."""

from __future__ import annotations

import itertools
import math
import re
import shlex
from pathlib import Path
from typing import Any

import msgspec

from fairseq_gradinit.files import read_json, write_json

from . import flags as line
from .errors import GridError, nearest

# Axes that are not simply `--NAME VALUE` of fairseq-train.
AXIS_FLAGS = {
    "warmup": ["--warmup-updates"],
    "depth": ["--encoder-layers", "--decoder-layers"],
}
BETAS = ("beta1", "beta2")
COUNTS = {"depth": 1, "warmup": 0, "seed": 0}  # axes of whole numbers, and the least of each
LARGEST = 2**32 - 1  # numpy takes no larger seed
FRACTIONS = (*BETAS, "momentum")
KNOWN_AXES = ("lr", *FRACTIONS, "init", "warmup", "seed", "depth")
OURS = ("--save-dir", "--log-format")  # of every cell; a value given for them would be lost
LANGUAGES = ("--source-lang", "--target-lang")
LONGEST_NAME = 200  # bytes of a cell's folder; file systems take 255, submitit adds to it
OURS_OF_GENERATE = ("--path", "--gen-subset", "--results-path", "--quiet")


class Grid(msgspec.Struct, frozen=True, kw_only=True):
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
        only: parts of the product of the axes, each the values of some of them; a cell is of the
            grid where it lies in one. [] is the whole product.
    """

    data: str
    axes: dict[str, list[str]]
    inits: dict[str, list[str]] = {}
    flags: list[str] = []
    generate_flags: list[str] = []
    average: int = 0
    checkpoint: str = "last"
    subset: str = "test"
    reference: str = ""
    tokenized: bool = False
    only: list[dict[str, list[str]]] = []

    @property
    def data_bin(self) -> Path:
        return Path(self.data) / "data-bin"

    @property
    def source(self) -> str:
        return self._language("--source-lang")

    @property
    def target(self) -> str:
        return self._language("--target-lang")

    def _language(self, name: str) -> str:
        found = line.value(self.flags, name)
        if not found:
            raise GridError(f"{name} is missing; add it after -- among the fairseq-train flags")
        return found

    @property
    def reference_path(self) -> Path:
        if self.reference:
            return Path(self.reference)
        return Path(self.data) / "raw" / f"{self.subset}.{self.target}"


def combinations(grid: Grid) -> dict[str, dict[str, str]]:
    """Every cell's name and its value on each axis, in grid order.

    Raises:
        GridError: an axis is bad (see `check_axes`), or two cells would share a folder.
    """
    check_axes(grid)
    found: dict[str, dict[str, str]] = {}
    for combination in itertools.product(*grid.axes.values()):
        values = dict(zip(grid.axes, combination))
        if grid.only and not any(_lies_in(values, part) for part in grid.only):
            continue
        name = "__".join(f"{axis}-{_plain(value)}" for axis, value in values.items())
        if name in found:
            raise GridError(
                f"--axis: {found[name]} and {values} would share the folder {name}; "
                "give one of the values another spelling"
            )
        if len(name) > LONGEST_NAME:
            raise GridError(
                f"--axis: {_show(name)} would be the name of a folder and has {len(name)} "
                f"characters; give shorter values, together at most {LONGEST_NAME}"
            )
        found[name] = values
    return found


def _lies_in(values: dict[str, str], part: dict[str, list[str]]) -> bool:
    return all(values[axis] in wanted for axis, wanted in part.items())


def _plain(value: str) -> str:
    """The value as part of a folder name: what fairseq or a shell would trip over becomes _."""
    return re.sub(r"[^A-Za-z0-9.+-]+", "_", value)


def check_axes(grid: Grid) -> None:
    """Raise GridError for a bad value, one given twice, or an axis that is also a flag."""
    if not grid.axes:
        raise GridError("no axis given; add for example --axis lr=5e-4,1e-3")
    for name in grid.axes.get("init", []):
        if name not in grid.inits:
            raise GridError(
                f"--axis init={name}: no such --init{nearest(name, grid.inits)}; "
                f'define it: --init {name}="FLAGS" (empty FLAGS are allowed)'
            )
    for axis, values in grid.axes.items():
        if not values or not all(values):
            raise GridError(f"--axis {axis}: an empty value; write --axis {axis}=V1,V2")
        seen: dict[Any, str] = {}
        for value in values:
            key = _number(value)
            if key in seen:
                raise GridError(f"--axis {axis}: {seen[key]} and {value} are the same value twice")
            seen[key] = value
            wanted = _wanted(axis, value)
            if wanted:
                raise GridError(f"--axis {axis}: found {_show(value)}; give {wanted}")
    for part in grid.only:
        if not part:
            raise GridError("--only: empty, which would be all cells; name a part or leave it out")
        for axis, chosen in part.items():
            missing = [value for value in chosen if value not in grid.axes.get(axis, [])]
            if missing:
                raise GridError(
                    f"--only {axis}={missing[0]}: not among the values of --axis {axis}"
                )
    _check_flags(grid)


def _check_flags(grid: Grid) -> None:
    used = {name: grid.inits[name] for name in grid.axes.get("init", [])}
    places = {"after --": grid.flags, **{f"in --init {name}": f for name, f in used.items()}}
    for place, flags in places.items():
        for axis in grid.axes:
            for flag in axis_flags(axis):
                if line.given(flags, flag):
                    raise GridError(f"{flag} is fixed {place} and also the axis {axis}; drop one")
        for flag in OURS:
            if line.given(flags, flag):
                raise GridError(f"{flag} {place}: the engine gives its own; drop it")
        _betas(flags)
    for axis in grid.axes:
        if set(axis_flags(axis)) & set(OURS):
            raise GridError(f"--axis {axis}: the engine gives its own; drop it")
        if axis.replace("_", "-") == "adam-betas":
            raise GridError(f"--axis {axis}: its values hold commas; use the axes beta1 and beta2")
    for flag in OURS_OF_GENERATE:
        if line.given(grid.generate_flags, flag):
            raise GridError(f"--generate-flags {flag}: the engine gives its own; drop it")
    for flag in LANGUAGES:
        found, trained = line.value(grid.generate_flags, flag), line.value(grid.flags, flag)
        if found != trained and found is not None and trained is not None:
            raise GridError(
                f"--generate-flags {flag} {found}: the models are trained with {trained}; drop it"
            )


def _wanted(axis: str, value: str) -> str:
    """What an axis takes, where `value` is something else; "" where it is good."""
    if axis in COUNTS:
        count = int(value.lstrip("0")[:11] or 0) if re.fullmatch("[0-9]+", value) else -1
        if count < COUNTS[axis]:
            return f"a whole number from {COUNTS[axis]} on"
        if count > LARGEST:
            return f"at most {LARGEST}"
    # fairseq evaluates what it is given, and Python's source has ASCII digits only.
    number = _number(value) if value.isascii() else value
    if axis == "lr" and not (isinstance(number, float) and 0 < number < math.inf):
        return "a number above 0"
    if axis in FRACTIONS and not (isinstance(number, float) and 0 <= number < 1):
        return "a number from 0 to below 1"
    return ""


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
    flags = [*grid.flags, *grid.inits.get(values.get("init", ""), [])]
    betas = _betas(flags)
    for axis, value in values.items():
        if axis in BETAS:
            betas[BETAS.index(axis)] = value
        for flag in axis_flags(axis):
            flags += [flag, value]
    if any(axis in BETAS for axis in values):
        # The flag that comes last wins in argparse.
        flags += ["--adam-betas", f"({betas[0]}, {betas[1]})"]
    return flags


def seed_of(grid: Grid, values: dict[str, str]) -> str:
    """The seed of a cell: its axis, or --seed, or fairseq's default 1."""
    return line.value(train_flags(grid, values), "--seed") or "1"


def _betas(flags: list[str]) -> list[str]:
    """β₁ and β₂ of the flags; fairseq's own defaults when there are none."""
    text = line.value(flags, "--adam-betas")
    if text is None:
        return ["0.9", "0.999"]
    betas = re.findall(r"[0-9.eE+-]+", text)
    if len(betas) != 2 or any(_wanted("beta1", beta) for beta in betas):
        raise GridError(f"--adam-betas: found {text!r}; write it as '(0.9, 0.98)'")
    return betas


def lock_file(folder: Path) -> Path:
    return folder / "grid.lock"


def corpus_file(folder: Path) -> Path:
    return folder / "corpus.json"


def check_folder(folder: Path) -> None:
    """Raise GridError where `folder` holds something else than a grid."""
    known = (folder / "grid.json", lock_file(folder))
    try:
        other = folder.exists() and any(folder.iterdir()) and not any(f.exists() for f in known)
    except OSError as error:
        raise GridError(f"--out {folder}: cannot be read ({error.strerror})") from error
    if other:
        raise GridError(f"--out {folder}: not empty and not a grid; give a new folder")


def claim(grid: Grid, folder: Path) -> None:
    """Make `folder` this grid's, or check that it is; GridError when it is another grid's."""
    write_json(folder / "grid.json", joined(grid, folder), sealed=True)


def joined(grid: Grid, folder: Path) -> Grid:
    """The grid that `folder` will hold: its own with what `grid` adds. Writes nothing.

    New values on an axis and other parts of it are welcome: the cells that exist stay, the new ones
    are run.

    Raises:
        GridError: it is another grid's, or nobody knows whose its cells are.
    """
    check_folder(folder)
    if (folder / "grid.json").exists():
        old = load(folder)
        _check_same(msgspec.to_builtins(old), msgspec.to_builtins(grid), folder)
        parts = [*old.only, *(part for part in grid.only if part not in old.only)]
        return msgspec.structs.replace(grid, only=parts if old.only and grid.only else [])
    if next((folder / "cells").glob("*"), None) is not None:
        raise GridError(
            f"--out {folder}: grid.json is missing, so that nobody knows with which flags its "
            "cells were made; bring it back, or give another --out"
        )
    return grid


def _check_same(old: dict[str, Any], new: dict[str, Any], folder: Path) -> None:
    remedy = "give another --out or delete the folder"
    for key in new:
        if key in ("axes", "only") or old[key] == new[key]:
            continue
        # An init that only the new grid has comes with its new cells.
        if key == "inits" and all(new[key].get(name) == old[key][name] for name in old[key]):
            continue
        raise GridError(
            f"--out {folder}: made by another grid ({key} was {_show(old[key])}, "
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
    """The grid that `folder` holds; GridError or FileError when it holds none."""
    file = folder / "grid.json"
    if not file.exists():
        raise GridError(f"{folder}: no grid here (grid.json is missing); run the grid first")
    return read_json(file, Grid, "give the folder of a grid, or another --out")
