"""Whether a model still has its initial weights."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

from torch import nn


class FreshModel:
    """A model just built, and whether weights have been loaded into it since.

    Only this tells apart all ways to resume: epoch and update counts are 1 and 0 too after
    --reset-optimizer and --finetune-from-model.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        loads: list[bool] = []
        # A plain closure, removed before training: an EMA deep-copies the model.
        self._handle = model._register_load_state_dict_pre_hook(lambda *_: loads.append(True))
        self._loads = loads

    def release(self) -> bool:
        """Takes the watch off the model; true if its weights are still the initial ones."""
        self._handle.remove()
        return not self._loads


@contextlib.contextmanager
def weights_loaded() -> Iterator[list[nn.Module]]:
    """The modules that weights are loaded into within."""
    found: list[nn.Module] = []
    stock = nn.Module.load_state_dict

    @functools.wraps(stock)
    def load_state_dict(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        found.append(self)
        return stock(self, *args, **kwargs)

    nn.Module.load_state_dict = load_state_dict  # type: ignore[method-assign]
    try:
        yield found
    finally:
        nn.Module.load_state_dict = stock  # type: ignore[method-assign]
