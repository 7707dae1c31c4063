"""`--optimizer schedule_free`: averaging instead of a schedule, with the right weights everywhere.

Defazio et al., "The Road Less Scheduled", NeurIPS 2024 (arXiv 2405.15682), by the package
schedulefree. It keeps two sets of weights: gradients are taken at y, and x, the average, is what to
validate, save and use. Here a model holds x at all times but while a gradient is computed
(`gradient_point`, which the task opens around its training step), so that nothing can validate or
save y.
"""

import contextlib
import importlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.optim import register_optimizer
from omegaconf import II
from torch import nn

from ..gradinit import GradInitError
from .wrapped import WrappedOptimizer, not_negative, pair, positive

# No `from __future__ import annotations` here: fairseq reads the field types themselves.

FORMS = {"radam": "RAdamScheduleFree", "adamw": "AdamWScheduleFree"}


@dataclass
class ScheduleFreeConfig(FairseqDataclass):
    """The flags of schedule_free."""

    schedule_free_form: ChoiceEnum(list(FORMS)) = field(  # type: ignore[valid-type]
        default="radam",
        metadata={
            "help": "the step that is averaged. radam: needs no warmup, makes no step before "
            "update 5 or so; adamw: AdamW's. Use with --lr-scheduler fixed"
        },
    )
    adam_betas: str = field(
        default="(0.9, 0.999)",
        metadata={"help": "betas; the first, above 0, is the share of x in y"},
    )
    adam_eps: float = field(default=1e-8, metadata={"help": "epsilon"})
    weight_decay: float = field(default=0.0, metadata={"help": "weight decay, taken at y"})
    lr: Any = II("optimization.lr")


@register_optimizer("schedule_free", dataclass=ScheduleFreeConfig)
class FairseqScheduleFree(WrappedOptimizer):
    """An optimizer of schedulefree whose weights are x whenever fairseq can see them."""

    title = "schedule_free"

    def make(self, params: list[nn.Parameter]) -> torch.optim.Optimizer:
        try:
            package = importlib.import_module("schedulefree")
        except ImportError:
            raise GradInitError(
                "--optimizer schedule_free: the package schedulefree is missing; "
                "pip install 'schedulefree>=1.4'"
            ) from None
        config = self.optimizer_config
        not_negative(config["weight_decay"], "--weight-decay")
        positive(config["eps"], "--adam-eps")
        if config["betas"][0] == 0:
            raise GradInitError(
                f"--adam-betas: found {self.cfg.adam_betas}; the first is the share of the average "
                "in the weights that are trained, give one above 0"
            )
        optimizer = getattr(package, FORMS[str(self.cfg.schedule_free_form)])(params, **config)
        # At y to begin with, where x = y = z: for who steps the torch optimizer by itself, as
        # GradInit's look-ahead does.
        optimizer.train()
        self._gradient_at_y = False
        return optimizer

    @property
    def optimizer_config(self) -> dict[str, Any]:
        betas = pair(self.cfg.adam_betas, "--adam-betas")
        return {**super().optimizer_config, "betas": betas, "eps": self.cfg.adam_eps}

    def step(self, closure: Any = None, scale: float = 1.0, groups: Any = None) -> None:
        """One update, after which the parameters are x. Raises: SystemExit."""
        begun = any("z" in state for state in self.optimizer.state.values())
        if begun and not self._gradient_at_y:  # at first y is x
            raise SystemExit(
                "fairseq-train: error: --optimizer schedule_free: this --task does not switch "
                "between the weights that are trained and those that are used; train with --task "
                "translation or language_modeling_gradinit and this package as --user-dir"
            )
        self._gradient_at_y = False
        self.optimizer.train()
        super().step(closure, scale, groups)
        self.optimizer.eval()

    def at_gradient_point(self, inside: bool) -> None:
        """Makes the parameters y (inside) or x."""
        self._gradient_at_y = True
        if inside:
            self.optimizer.train()
        else:
            self.optimizer.eval()


@contextlib.contextmanager
def gradient_point(optimizer: Any) -> Iterator[None]:
    """While open, the model's weights are y, where schedule-free takes its gradients.

    Args:
        optimizer: what fairseq hands to a task's train_step; any but schedule_free is left alone.
    """
    own = getattr(optimizer, "fp32_optimizer", optimizer)
    if not isinstance(own, FairseqScheduleFree):
        yield
        return
    own.at_gradient_point(True)
    _show_to_model(optimizer)
    try:
        yield
    finally:
        own.at_gradient_point(False)
        _show_to_model(optimizer)


def _show_to_model(optimizer: Any) -> None:
    """The 16-bit model gets what its fp32 masters are now."""
    if hasattr(optimizer, "_sync_fp32_params_to_fp16"):
        optimizer._sync_fp32_params_to_fp16()
