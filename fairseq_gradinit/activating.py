"""The mixin that gives a model another activation when it is built, to train or to decode."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from torch import nn

from .activations import ACTIVATIONS, FAIRSEQS, OWN, replace_activations
from .gradinit import GradInitError
from .one_line import one_line_errors

STAND_IN = "relu"  # what the layers are built with, since fairseq knows no other


class ActivatingHook:
    """Mixed into a fairseq task, before it in the bases; idle without --ffn-activation.

    The model's configuration says the activation in place of --activation-fn, so that a
    checkpoint is decoded with the right one, and refused by stock fairseq.
    """

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> nn.Module:
        """As the task's own, with the activation that is asked for. Raises: SystemExit."""
        asked = str(self._flags.ffn_activation)  # type: ignore[attr-defined]
        name = asked if asked != OWN else getattr(cfg, "activation_fn", OWN)
        if asked in FAIRSEQS:
            cfg.activation_fn = asked
        if name not in ACTIVATIONS:
            return super().build_model(cfg, from_checkpoint)  # type: ignore[misc]
        with one_line_errors():
            if not isinstance(cfg, Namespace) or not hasattr(cfg, "activation_fn"):
                raise GradInitError(
                    f"--ffn-activation {name}: needs an --arch of fairseq's transformer family "
                    "for translation; leave the flag out"
                )
        cfg.activation_fn = STAND_IN
        try:
            model = super().build_model(cfg, from_checkpoint)  # type: ignore[misc]
        finally:
            cfg.activation_fn = name
        replace_activations(model, name)
        return model
