"""One run in a save dir at a time: two would write over each other's records and checkpoints."""

from __future__ import annotations

import contextlib
import logging
import weakref
from pathlib import Path

from .files import NO_LOCKS, FileError, locked
from .gradinit import GradInitError

logger = logging.getLogger(__name__)

_held: dict[Path, contextlib.ExitStack] = {}


def claim(save_dir: Path, owner: object) -> None:
    """Holds SAVE_DIR/gradinit/.lock until `owner` is gone or the process ends, however it ends.

    A process that claims a save dir twice has it. Where the file system has no locks, that is said
    and nothing is held: a training is worth more than the check.

    Raises:
        GradInitError: another run has it.
    """
    folder = (save_dir / "gradinit").resolve()
    if folder in _held:
        return
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            mine = stack.enter_context(locked(folder / ".lock"))
        except OSError as error:
            raise GradInitError(
                f"--save-dir: {folder}: cannot be written ({error.strerror}); give a writable "
                "folder with room in it"
            ) from error
        except FileError as error:
            cause = error.__cause__
            if not (isinstance(cause, OSError) and cause.errno in NO_LOCKS):
                raise GradInitError(f"--save-dir: {error}") from error
            logger.warning(f"GradInit: {error}; going on: start no second run in it")
            return
        if mine is None:
            raise GradInitError(
                f"--save-dir {save_dir}: another run is training there; wait for it or stop it, or "
                "give another --save-dir"
            )
        _held[folder] = stack.pop_all()
    weakref.finalize(owner, _release, folder)


def _release(folder: Path) -> None:
    if (stack := _held.pop(folder, None)) is not None:
        stack.close()
