"""Taking single files out of archives that others made."""

import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path

from .errors import PrepError
from .texts import one_line_errors, open_bytes

BLOCK = 1 << 20


def unpack(archive: Path, members: Sequence[str], folder: Path) -> None:
    """Write the named members of a tar archive below `folder`, at their own paths.

    Nothing else is written. Every member is checked with tarfile's own `data_filter`, so one
    entry that would escape (absolute, "..", a link outwards, a device) refuses the archive.
    A member that is there already is kept: it was renamed only when complete.
    """
    if not hasattr(tarfile, "data_filter"):
        raise PrepError("this Python has no safe tar filter; use 3.8.17, 3.11.4, 3.12 or later")
    partials = {
        member: folder / (member + ".partial")
        for member in members
        if not (folder / member).is_file()
    }
    if not partials:
        return
    try:
        missing = _copy_members(archive, partials, folder)
        if missing:
            raise PrepError(f"{archive}: has no {sorted(missing)[0]}; is it the right archive?")
        for member, partial in partials.items():
            partial.replace(folder / member)
    finally:
        for partial in partials.values():
            partial.unlink(missing_ok=True)


def _copy_members(archive: Path, partials: dict[str, Path], folder: Path) -> set[str]:
    """One pass over the archive; returns the members that were not in it."""
    missing = set(partials)
    # A stream through our own gzip: bounded memory, and unlike tarfile's it tells a truncated
    # file from a finished one.
    with one_line_errors(archive), open_bytes(archive) as packed:
        try:
            with tarfile.open(fileobj=packed, mode="r|") as tar:
                for info in tar:
                    tarfile.data_filter(info, str(folder))
                    name = info.name[2:] if info.name.startswith("./") else info.name
                    content = tar.extractfile(info) if name in missing and info.isreg() else None
                    if content is None:
                        continue
                    partials[name].parent.mkdir(parents=True, exist_ok=True)
                    with open(partials[name], "wb") as stream:
                        shutil.copyfileobj(content, stream, BLOCK)
                    missing.discard(name)
            while packed.read(BLOCK):  # to the checksum at the end
                pass
        except tarfile.FilterError as error:
            raise PrepError(
                f"{archive}: unsafe entry ({error}); nothing was unpacked, get it elsewhere"
            ) from error
        except tarfile.ReadError as error:
            raise PrepError(
                f"{archive}: truncated or damaged ({error}); remove it and fetch it again"
            ) from error
    return missing
