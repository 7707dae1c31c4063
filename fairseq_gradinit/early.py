"""What fairseq trips over, with a trace, before it builds a task that could say something."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .gradinit import GradInitError

LARGEST_SEED = 2**32 - 1  # numpy takes no larger one


def check_early(run: Any) -> None:
    """The seed and the save dir of a training with --gradinit. Raises: GradInitError."""
    if not getattr(run.task, "gradinit", False):
        return
    seed, save_dir = run.common.seed, run.checkpoint.save_dir
    if not 0 <= seed <= LARGEST_SEED:
        raise GradInitError(f"--seed: found {seed}; give a whole number from 0 to {LARGEST_SEED}")
    if not save_dir:
        raise GradInitError("--save-dir: found nothing; give a folder")
    try:
        Path(save_dir).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GradInitError(
            f"--save-dir {save_dir}: cannot be a folder ({error.strerror}); give another"
        ) from error
