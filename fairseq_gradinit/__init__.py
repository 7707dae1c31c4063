"""GradInit for fairseq: `fairseq-train DATA --user-dir fairseq_gradinit --gradinit …`.

Importing this package registers the tasks; `fairseq_gradinit.gradinit` is the algorithm in
plain torch.
"""

import argparse

import torch

from . import tasks  # noqa: F401

# torch ≥ 2.6 loads checkpoints with weights_only=True; fairseq's hold an argparse.Namespace,
# which carries nothing that runs.
if hasattr(torch.serialization, "add_safe_globals"):
    torch.serialization.add_safe_globals([argparse.Namespace])
