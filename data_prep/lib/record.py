"""provenance.json: what was made of what, read back only as that."""

from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from fairseq_gradinit.files import read_json, shown, write_json

from .packed import PrepError

NAME = "provenance.json"


class Source(msgspec.Struct, omit_defaults=True):
    """A file or an archive that text was taken from."""

    file: str
    sha256: str
    url: str = ""
    version: str = ""


class Stage(msgspec.Struct, omit_defaults=True):
    """A stage that is done."""

    params: dict[str, Any]
    inputs: dict[str, str]  # the part a file played -> sha256
    outputs: dict[str, str]  # name below OUT -> sha256
    # Outputs of before, until those of now have their names; several where that was cut short.
    replaced: dict[str, list[str]] = {}
    corpus: str = ""
    licence: str = ""
    lines: dict[str, dict[str, int]] = {}  # split -> what was counted
    sources: list[Source] = []
    notes: list[str] = []
    counts: dict[str, int] = {}

    def known(self) -> dict[str, list[str]]:
        """The files that this stage wrote, now or before, and what it wrote there."""
        names = sorted(self.replaced.keys() | self.outputs.keys())
        now = {name: [digest] for name, digest in self.outputs.items()}
        return {name: sorted({*self.replaced.get(name, []), *now.get(name, [])}) for name in names}


class Provenance(msgspec.Struct):
    """The record of an output folder; a file of this name without `stages` is someone else's."""

    stages: dict[str, Stage]
    command: str = ""
    languages: dict[str, str] = {}

    def known(self) -> dict[str, set[str]]:
        """Each name below OUT that a run wrote -> the hashes of what it wrote there."""
        found: dict[str, set[str]] = {}
        for stage in self.stages.values():
            for name, digests in stage.known().items():
                found.setdefault(name, set()).update(digests)
        return found


def read(out: Path) -> Provenance:
    """The record of an output folder, an empty one where there is none.

    Raises:
        FileError: it is not one.
        PrepError: it lists files outside the folder.
    """
    path = out / NAME
    if not path.exists():
        return Provenance(stages={})
    provenance = read_json(
        path, Provenance, "give another --out, or remove it and what lies beside it"
    )
    for name in provenance.known():
        parts = PurePosixPath(name)
        if parts.is_absolute() or ".." in parts.parts or name in ("", "."):
            raise PrepError(f"{path}: lists {shown(name)}, which is not in {out}; remove {NAME}")
    return provenance


def write(out: Path, provenance: Provenance) -> None:
    """Write the record whole or not at all. Raises: FileError."""
    ordered = msgspec.to_builtins(provenance, order="sorted")
    write_json(out / NAME, ordered, sealed=True)
