"""What fairseq gains when it loads this package as its --user-dir."""

import argparse

import torch

from . import lr_scheduler, optim, tasks  # noqa: F401
from .flags import show_flags_in_help
from .launching import launch_without_gpus

show_flags_in_help()
launch_without_gpus()

# torch ≥ 2.6 loads checkpoints with weights_only=True; fairseq's hold an argparse.Namespace,
# which carries nothing that runs.
torch.serialization.add_safe_globals([argparse.Namespace])
