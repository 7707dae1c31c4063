"""What fairseq gains when it loads this package as its --user-dir."""

import argparse
from types import SimpleNamespace

import numpy
import torch

from . import lr_scheduler, optim, tasks  # noqa: F401
from .launching import launch_without_gpus
from .parser import extend_parser

extend_parser()
launch_without_gpus()

# torch ≥ 2.6 loads checkpoints with weights_only=True; fairseq's hold an argparse.Namespace,
# which carries nothing that runs.
torch.serialization.add_safe_globals([argparse.Namespace])

# numpy ≥ 2.3 has lost it; fairseq counts with it under --sample-break-mode eos.
if not hasattr(numpy, "compat"):
    setattr(numpy, "compat", SimpleNamespace(long=int))  # noqa: B010
