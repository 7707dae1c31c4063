"""Borrowing a model that somebody else is about to train."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

HALF = (torch.float16, torch.bfloat16)


@contextlib.contextmanager
def borrowed(model: nn.Module) -> Iterator[None]:
    """The model in fp32 and eval mode within; all but the parameters' values as before after.

    Kept: every module's train/eval mode, dtypes (Parameter identity included) and the random
    states of Python, numpy and torch. A 16-bit model ends rounded to its own dtype.
    """
    modes = [(module, module.training) for module in model.modules()]
    halves = [t for t in (*model.parameters(), *model.buffers()) if t.dtype in HALF]
    dtypes = [t.dtype for t in halves]
    python, numpy = random.getstate(), np.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    try:
        with torch.random.fork_rng(devices=devices):
            for tensor in halves:
                tensor.data = tensor.data.float()
            model.eval()
            yield
    finally:
        for tensor, dtype in zip(halves, dtypes):
            tensor.data = tensor.data.to(dtype)
        for module, mode in modes:
            module.training = mode
        random.setstate(python)
        np.random.set_state(numpy)
