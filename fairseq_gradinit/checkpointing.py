"""Activation checkpointing, which `backward()` knows and `autograd.grad` does not."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def without_checkpointing(model: nn.Module) -> Iterator[None]:
    """Within, modules under --checkpoint-activations or --offload-activations keep their
    activations, so that a gradient can be had without writing into `.grad`. The numbers are the
    same; the passes within take the memory that checkpointing saves."""
    wrapped = [
        (module, module.forward)
        for module in model.modules()
        if hasattr(module, "precheckpoint_forward")  # fairseq's checkpoint_wrapper
    ]
    try:
        for module, _ in wrapped:
            module.forward = module.precheckpoint_forward  # type: ignore[assignment]
        yield
    finally:
        for module, forward in wrapped:
            module.forward = forward
