"""A run of a script is a row of stages; provenance.json says which are done and with what.

A stage is skipped when its parameters, the bytes of its inputs and the bytes of its outputs are
what provenance.json recorded. Outputs are written beside their final name and renamed when the
stage is complete, so a killed run leaves nothing half-written and continues where it was.
No times are recorded: the same inputs give the same provenance.json.
"""

import contextlib
import fcntl
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .errors import PrepError
from .texts import sha256_of

# What a piece of work reports: line counts, sources, notes.
Report = dict[str, Any]
SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Run:
    """What all stages of one command share."""

    out: Path
    languages: tuple[str, str]  # source, target
    workers: int = 1
    dry_run: bool = False
    command: str = ""

    def texts(self, folder: str, split: str) -> list[Path]:
        """The two files of a split in a folder of the output: source, target."""
        return [self.out / folder / f"{split}.{language}" for language in self.languages]

    def splits(self, folder: str) -> list[str]:
        """The splits present in a folder, train first (in a dry run: all)."""
        found = [s for s in SPLITS if all(p.is_file() for p in self.texts(folder, s))]
        return list(SPLITS) if self.dry_run and not found else found


def say(text: str) -> None:
    """One line of news for the person at the terminal."""
    print(text, file=sys.stderr, flush=True)


def load_provenance(out: Path) -> dict[str, Any]:
    """provenance.json of an output folder, or an empty record."""
    path = out / "provenance.json"
    if not path.exists():
        return {"stages": {}}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        record["stages"].items()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PrepError(f"{path}: not a provenance record ({error}); remove it") from error
    return record


def save_provenance(out: Path, record: dict[str, Any]) -> None:
    """Write provenance.json whole or not at all."""
    partial = out / "provenance.json.partial"
    text = json.dumps(record, indent=2, ensure_ascii=False, sort_keys=True)
    partial.write_text(text + "\n", encoding="utf-8")
    os.replace(partial, out / "provenance.json")


def tool_versions(*names: str) -> dict[str, str]:
    """Versions of installed distributions; those that are absent are left out."""
    found = {"python": "{}.{}".format(*sys.version_info[:2])}
    for name in names:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def stage(
    run: Run,
    name: str,
    inputs: Sequence[Path],
    params: dict[str, Any],
    outputs: Sequence[Path],
    work: Callable[[Callable[[Path], Path]], Report],
) -> None:
    """Do `work` unless provenance.json shows it done.

    `outputs` are files or folders below `run.out`; `work` receives a function that maps an
    output to the name to write to, and returns what provenance.json should keep.
    """
    if run.dry_run:
        wanted = ", ".join(str(path.relative_to(run.out)) for path in outputs)
        say(f"would {name}: {wanted}  {json.dumps(params, ensure_ascii=False)}")
        return
    params = json.loads(json.dumps(params))  # as it will be read back
    with _only_run_in(run.out):
        record = load_provenance(run.out)
        before = record["stages"].get(name)
        hashes: dict[str, str] = {}
        for path in inputs:
            label = _label(run, path)
            while label in hashes:  # two folders may hold files of one name
                label += "+"
            hashes[label] = sha256_of(path)
        reasons = _reasons_to_run(run, before, params, hashes)
        if before and not reasons:
            say(f"{name}: done before, skipped")
            return
        if before:
            say(f"{name}: again, since {'; '.join(reasons)}")
        places = {path.relative_to(run.out).parts[0] for path in outputs}
        say(f"{name}: writing {', '.join(sorted(places))}")
        report = _write(run, outputs, work)
        made = {_label(run, path): sha256_of(path) for path in _files(outputs)}
        if before:
            for old in set(before["outputs"]) - set(made):
                with contextlib.suppress(FileNotFoundError):
                    (run.out / old).unlink()
        record["command"] = run.command
        record["languages"] = {"source": run.languages[0], "target": run.languages[1]}
        record["stages"][name] = {
            "params": params,
            "inputs": hashes,
            "outputs": made,
            **report,
        }
        save_provenance(run.out, record)


def _write(run: Run, outputs: Sequence[Path], work: Callable[..., Report]) -> Report:
    """Run `work` on partial names; rename all on success, remove all on any failure."""
    partials = {path: path.with_name(path.name + ".partial") for path in outputs}
    try:
        for path, partial in partials.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove(partial)
        report = work(partials.__getitem__)
        for path, partial in partials.items():
            if partial.is_dir():
                _remove(path)
            os.replace(partial, path)
    except BaseException:
        for partial in partials.values():
            _remove(partial)
        _remove_empty_folders(run.out)
        raise
    return report


def _reasons_to_run(
    run: Run, before: dict[str, Any] | None, params: dict[str, Any], hashes: dict[str, str]
) -> list[str]:
    if not before:
        return []
    old = before["params"]
    reasons = [
        f"{key} was {json.dumps(old.get(key))} and is {json.dumps(params.get(key))}"
        for key in sorted({*old, *params})
        if old.get(key) != params.get(key)
    ]
    if before["inputs"] != hashes:
        changed = [
            k
            for k in sorted({*hashes, *before["inputs"]})
            if before["inputs"].get(k) != hashes.get(k)
        ]
        reasons.append(f"input {changed[0]} changed")
    for label, digest in before["outputs"].items():
        path = run.out / label
        if not path.is_file() or sha256_of(path) != digest:
            reasons.append(f"{label} is missing or was changed")
            break
    return reasons


@contextlib.contextmanager
def _only_run_in(out: Path) -> Iterator[None]:
    """Hold the output folder: two runs at once would write the same partial files."""
    out.mkdir(parents=True, exist_ok=True)
    handle = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise PrepError(f"--out {out}: another run is writing there; wait for it") from error
    finally:
        os.close(handle)


def _remove_empty_folders(out: Path) -> None:
    """A stage that failed leaves nothing behind, `out` itself included if nothing is in it."""
    folders = [path for path in out.rglob("*") if path.is_dir()]
    for folder in [*sorted(folders, reverse=True), out]:
        with contextlib.suppress(OSError):
            folder.rmdir()  # refused where it is not empty


def _files(paths: Sequence[Path]) -> list[Path]:
    return [
        file
        for path in paths
        for file in (sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path])
    ]


def _label(run: Run, path: Path) -> str:
    """Name of a file in provenance.json: relative to the output, else its own name."""
    try:
        return path.resolve().relative_to(run.out.resolve()).as_posix()
    except ValueError:
        return path.name


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
