"""Taking single files out of archives that others made."""

import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path

from .packed import PrepError, opened

BLOCK = 1 << 20


def unpack(archive: Path, members: Sequence[str], folder: Path) -> None:
    """Write the named members of a tar archive below `folder`, at their own paths.

    Nothing else is written. Every member is checked with tarfile's own `data_filter`, so one
    entry that would escape (absolute, "..", a link outwards, a device) refuses the archive.

    Raises:
        PrepError: unsafe, damaged, expanding without end, or without one of the members; nothing
            is left in `folder` then.
    """
    paths = {member: folder / member for member in members}
    try:
        missing = _copy_members(archive, paths, folder)
        if missing:
            raise PrepError(f"{archive}: has no {sorted(missing)[0]}; is it the right archive?")
    except BaseException:
        for path in paths.values():
            path.unlink(missing_ok=True)
        raise


def _copy_members(archive: Path, paths: dict[str, Path], folder: Path) -> set[str]:
    """One pass over the archive; returns the members that were not in it."""
    missing = set(paths)
    # A stream through our own reader: bounded, and unlike tarfile's it tells a truncated file
    # from a finished one.
    with opened(archive) as packed:
        try:
            with tarfile.open(fileobj=packed, mode="r|") as tar:  # type: ignore[call-overload]
                for info in tar:
                    tarfile.data_filter(info, str(folder))
                    name = info.name.removeprefix("./")
                    content = tar.extractfile(info) if name in missing and info.isreg() else None
                    if content is None:
                        continue
                    paths[name].parent.mkdir(parents=True, exist_ok=True)
                    with open(paths[name], "wb") as stream:
                        shutil.copyfileobj(content, stream, BLOCK)
                    missing.discard(name)
            while packed.read(BLOCK):  # to the checksum at the end
                pass
        except tarfile.FilterError as error:
            raise PrepError(
                f"{archive}: unsafe entry ({error}); nothing was unpacked, get it elsewhere"
            ) from error
        except tarfile.TarError as error:
            raise PrepError(
                f"{archive}: truncated or damaged ({error}); remove it and fetch it again"
            ) from error
    return missing
