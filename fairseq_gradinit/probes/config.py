"""The flags of the probes, mixed into a task's own configuration."""

from dataclasses import dataclass, field
from typing import Any

from fairseq.dataclass import FairseqDataclass

from ..gradinit import GradInitError
from ..layers import weight_matrices

# No `from __future__ import annotations` here: fairseq reads the field types themselves.


@dataclass
class ProbesConfig(FairseqDataclass):
    """Flags of `fairseq_gradinit.probes`; docs/probes.md defines what they log."""

    gradient_flow_interval: int = field(
        default=0,
        metadata={
            "help": "every N updates, and at the first, log effective gradient flow, each layer's "
            "gradient norm and update-to-weight ratio, attention entropy, token spread and the "
            "sharpness along the gradient, in SAVE_DIR/gradinit/probes.jsonl too; 0: never"
        },
    )
    sharpness_interval: int = field(
        default=0,
        metadata={
            "help": "every N updates, and at the first, log the top eigenvalue of the Hessian too, "
            "and with Adam that of the preconditioned one, each by up to 20 Hessian-vector "
            "products on one batch; 0: never"
        },
    )


def probes_wanted(flags: Any) -> bool:
    """Is anything to be probed?"""
    return bool(flags.gradient_flow_interval or flags.sharpness_interval)


def check_probes(flags: Any, run: Any, model: Any = None) -> None:
    """Refuses what cannot be probed.

    Args:
        flags: a task's configuration with `ProbesConfig` in it.
        run: the run's whole configuration.
        model: once it is there.

    Raises:
        GradInitError: one line that names the flag.
    """
    for name in ("gradient_flow_interval", "sharpness_interval"):
        found, flag = getattr(flags, name), "--" + name.replace("_", "-")
        if found < 0:
            raise GradInitError(f"{flag}: found {found}; give a number of updates, or 0 for never")
        if found == 0:
            continue
        spread = run.distributed_training
        if spread.ddp_backend == "fully_sharded":
            raise GradInitError(
                f"{flag}: --ddp-backend fully_sharded shards weights and gradients; use "
                "--ddp-backend legacy_ddp, or leave the flag out"
            )
        if run.common.tpu or run.common.model_parallel_size > 1 or spread.pipeline_model_parallel:
            raise GradInitError(
                f"{flag}: needs the whole model on one CPU or GPU; leave the flag out with --tpu, "
                "--model-parallel-size and --pipeline-model-parallel"
            )
        if model is not None and not weight_matrices(model):
            raise GradInitError(
                f"{flag}: {type(model).__name__} has no trainable weight matrix; leave the flag out"
            )
