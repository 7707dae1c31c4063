"""A run of a script is a row of stages; provenance.json says which are done and with what.

A stage is skipped when its parameters, the bytes of its inputs and the bytes of its outputs are
what provenance.json recorded. Outputs are written into a folder of their own and moved
to their names when the stage is complete, so a killed run leaves nothing half-written and
continues where it was. No times are recorded: the same inputs give the same provenance.json.

Nothing is replaced or removed but files whose bytes are those that provenance.json recorded.
"""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairseq_gradinit.files import inside, locked, remove_left, versions

from . import record
from .packed import PrepError, sha256_of
from .publish import digest_of, publish, remove_old, say, scratch_in
from .record import Stage

# What a piece of work reports: fields of record.Stage.
Report = dict[str, Any]
# Where work may write: the name of an output below OUT -> the path to write it to.
Place = Callable[[str], Path]

SPLITS = ("train", "valid", "test")
PATIENCE = 3.0  # seconds for the workers of a killed run to end and release the lock


@dataclass(frozen=True)
class Run:
    """What all stages of one command share."""

    out: Path
    languages: tuple[str, str]  # source, target
    splits: tuple[str, ...] = SPLITS
    workers: int = 1
    dry_run: bool = False
    command: str = ""

    def names(self, folder: str, splits: Sequence[str] = ()) -> list[str]:
        """The text files of splits (all by default) in a folder of OUT: source, target, ..."""
        wanted = splits or self.splits
        return [f"{folder}/{split}.{lang}" for split in wanted for lang in self.languages]

    def texts(self, folder: str, split: str) -> list[Path]:
        """The two files of a split in a folder of OUT: source, target."""
        return [self.out / name for name in self.names(folder, [split])]

    def inputs(self, *names: str) -> dict[str, Path]:
        """Files below OUT as inputs of a stage."""
        return {name: self.out / name for name in names}


def tool_versions(*names: str) -> dict[str, str]:
    """Versions of Python and of installed packages; those that are absent are left out."""
    return {"python": "{}.{}".format(*sys.version_info[:2]), **versions(*names)}


@contextlib.contextmanager
def made_folder(path: Path) -> Iterator[None]:
    """A folder that is there; what had to be made of it is removed at the end if still empty."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            for folder in missing:
                folder.rmdir()


@contextlib.contextmanager
def only_run_in(run: Run, outputs: Sequence[str]) -> Iterator[None]:
    """Hold OUT for one run, and make sure that nothing of another's lies where it will write.

    Raises:
        PrepError: another run holds it, or a file that no run here wrote is in the way.
        FileError: provenance.json is not one, or the file system has no locks.
    """
    with made_folder(run.out), locked(run.out, PATIENCE) as lock:
        if lock is None:
            raise PrepError(f"--out {run.out}: another run is writing there; wait for it")
        remove_left(run.out / record.NAME)
        known = record.read(run.out).known()
        for name in outputs:
            path = inside(run.out, name)  # no folder of OUT leads out of it
            # A file where a folder has to be is found now, and not when there is text to write.
            above = [run.out / part for part in list(Path(name).parents)[:-1]]
            blocking = [folder for folder in above if not folder.is_dir()]
            if name not in known or path.is_dir():
                blocking.append(path)
            for found in blocking:
                if os.path.lexists(found):
                    raise PrepError(
                        f"{found}: is in the way and was not written by this program "
                        "(provenance.json does not list it); give another --out or move it away"
                    )
        yield


def stage(
    run: Run,
    name: str,
    inputs: Mapping[str, Path],
    params: Mapping[str, Any],
    outputs: Sequence[str],
    work: Callable[[Place], Report],
) -> None:
    """Do `work` unless provenance.json shows it done; the caller holds `only_run_in`.

    Args:
        inputs: the files that the work reads, by the part they play.
        params: what else its result depends on; JSON.
        outputs: names of files or folders below OUT; of folders, only the files in them count.
        work: writes each output where `Place` says; returns what provenance.json should keep.
    """
    params = {"languages": run.languages, **params}
    if run.dry_run:
        say(f"would {name}: {', '.join(outputs)}  {json.dumps(params, ensure_ascii=False)}")
        return
    params = dict(json.loads(json.dumps(params)))  # as it will be read back
    provenance = record.read(run.out)
    before = provenance.stages.get(name)
    hashes = {label: sha256_of(path) for label, path in inputs.items()}
    if before:
        reasons = list(_reasons_to_run(run, before, params, hashes, outputs))
        if not reasons:
            say(f"{name}: done before, skipped")
            return
        say(f"{name}: again, since {'; '.join(reasons)}")
    say(f"{name}: writing {', '.join(sorted({output.split('/')[0] for output in outputs}))}")
    with scratch_in(run.out) as scratch:

        def place(output: str) -> Path:
            (scratch / output).parent.mkdir(parents=True, exist_ok=True)
            return scratch / output

        report = work(place)
        hashes |= report.pop("inputs", {})
        made = {
            path.relative_to(scratch).as_posix(): sha256_of(path)
            for output in outputs
            for path in _files(scratch / output)
        }
        old = before.known() if before else {}
        # Recorded before anything is moved: after a kill in between, both the files of before and
        # those of now are known as written here.
        done = Stage(params, hashes, made, replaced=old, **report)
        provenance.command = run.command
        provenance.languages = dict(zip(("source", "target"), run.languages))
        provenance.stages[name] = done
        known = provenance.known()
        record.write(run.out, provenance)
        for label, digest in made.items():
            publish(run.out, label, scratch / label, {digest, *known[label]})
    remove_old(run.out, provenance, old.keys() - made.keys())
    done.replaced = {}
    record.write(run.out, provenance)


def drop_stages(run: Run, wanted: Sequence[str]) -> None:
    """Forget stages of an earlier form of this corpus, and remove the files they wrote."""
    provenance = record.read(run.out)
    for name in provenance.stages.keys() - set(wanted):
        say(f"{name}: is no longer a stage; what it wrote is removed")
        gone = provenance.stages[name]
        provenance.stages[name] = Stage(gone.params, {}, {}, replaced=gone.known())
        remove_old(run.out, provenance, gone.known().keys())
        del provenance.stages[name]
        record.write(run.out, provenance)


def _reasons_to_run(
    run: Run,
    before: Stage,
    params: Mapping[str, Any],
    hashes: Mapping[str, str],
    outputs: Sequence[str],
) -> Iterator[str]:
    for key in sorted({*before.params, *params}):
        old, new = before.params.get(key), params.get(key)
        if old != new:
            yield f"{key} was {json.dumps(old)} and is {json.dumps(new)}"
    for label in sorted(hashes.keys() | before.inputs.keys()):
        if label not in hashes:
            if not label.startswith("work/"):  # a download may be removed once it is used
                yield f"{label} is no longer an input"
        elif before.inputs.get(label) != hashes[label]:
            yield f"{label} changed" if label in before.inputs else f"{label} is a new input"
    covered = {label for label in before.outputs for o in outputs if _is_in(label, o)}
    missing = [o for o in outputs if not any(_is_in(label, o) for label in before.outputs)]
    for label in [*sorted(before.outputs.keys() - covered), *missing]:
        yield f"the outputs are others ({label})"
        return
    for label, digest in before.outputs.items():
        if digest_of(run.out / label) != digest:
            yield f"{label} is missing or was changed"
            return


def _is_in(label: str, output: str) -> bool:
    return label == output or label.startswith(output + "/")


def _files(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
