"""Taking single files out of archives that others made."""

import tarfile
from pathlib import Path
from typing import Dict, Sequence, Set

from .errors import PrepError
from .texts import one_line_errors


def unpack(archive: Path, members: Sequence[str], folder: Path) -> Dict[str, Path]:
    """Write the named members of a tar archive below `folder`; {member: path}.

    Nothing else is written. Every member is checked with tarfile's own `data_filter`, so one
    entry that would escape (absolute, "..", a link outwards, a device) refuses the archive.
    A member that is there already is kept: it was renamed only when complete.
    """
    if not hasattr(tarfile, "data_filter"):
        raise PrepError("this Python has no safe tar filter; use 3.8.17, 3.11.4, 3.12 or later")
    paths = {member: folder / member for member in members}
    wanted: Set[str] = {member for member, path in paths.items() if not path.is_file()}
    if not wanted:
        return paths
    partials = {member: paths[member].with_name(paths[member].name + ".partial") for member in wanted}
    try:
        missing = _copy_members(archive, partials, folder)
        if missing:
            raise PrepError(f"{archive}: has no {sorted(missing)[0]}; is it the right archive?")
        for member, partial in partials.items():
            partial.replace(paths[member])
    finally:
        for partial in partials.values():
            partial.unlink(missing_ok=True)
    return paths


def _copy_members(archive: Path, partials: Dict[str, Path], folder: Path) -> Set[str]:
    """One pass over the archive; returns the members that were not in it."""
    missing = set(partials)
    with one_line_errors(archive):
        try:
            with tarfile.open(archive, "r|*") as tar:  # a stream: never seeks, bounded memory
                for info in tar:
                    tarfile.data_filter(info, str(folder))
                    name = info.name[2:] if info.name.startswith("./") else info.name
                    content = tar.extractfile(info) if name in missing and info.isreg() else None
                    if content is None:
                        continue
                    partials[name].parent.mkdir(parents=True, exist_ok=True)
                    with open(partials[name], "wb") as stream:
                        for block in iter(lambda c=content: c.read(1 << 20), b""):
                            stream.write(block)
                    missing.discard(name)
        except tarfile.FilterError as error:
            raise PrepError(
                f"{archive}: unsafe entry ({error}); nothing was unpacked, get it elsewhere"
            ) from error
        except tarfile.ReadError as error:
            raise PrepError(
                f"{archive}: truncated or damaged ({error}); remove it and fetch it again"
            ) from error
    return missing
