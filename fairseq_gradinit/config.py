"""Every --gradinit-* flag: help, unit, default and source."""

import math
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any, Dict, Optional

from fairseq.dataclass import ChoiceEnum, FairseqDataclass

from .gradinit.settings import ALGORITHMS, CONSTRAINTS, PRESETS, Settings

PREFIX = "gradinit_"

# No `from __future__ import annotations` here: fairseq reads the field types themselves.


def _flag(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass
class GradInitConfig(FairseqDataclass):
    """The flags of GradInit, mixed into a task's own configuration.

    None stands for the preset's value (`gradinit.settings.PRESETS`) or for what the run
    itself uses.
    """

    gradinit: bool = _flag(
        False,
        "learn one scale per parameter tensor before the first update of a fresh model, so that "
        "Post-LN Transformers train without learning-rate warmup (GradInit)",
    )
    gradinit_preset: ChoiceEnum(tuple(PRESETS)) = _flag(  # type: ignore[valid-type]
        "multistep",
        "objective and defaults. multistep: the loss after --gradinit-lookahead steps of the run's "
        "own optimizer; paper: Zhu et al. 2021, Algorithm 1, one step under a bound on the "
        "gradient norm",
    )
    gradinit_lookahead: Optional[int] = _flag(
        None,
        "K, optimizer steps before the loss that is differentiated (default: 10; paper: 1)",
    )
    gradinit_margin: Optional[float] = _flag(
        None,
        "m; the look-ahead's steps are taken at m times the learning rate (default: 2; paper: 1)",
    )
    gradinit_iters: Optional[int] = _flag(
        None,
        "T, the most iterations; 0 leaves the model as it is (default: 40; paper: 780)",
    )
    gradinit_branch_scale: Optional[float] = _flag(
        None,
        "where the scale of each residual branch's last matrix (out_proj, fc2) starts (default: "
        "0.03; paper: 1)",
    )
    gradinit_encoder_scale: Optional[float] = _flag(
        None,
        "where the scales of the encoder's other matrices start, embeddings apart; all others "
        "start at 1 (default: 0.3; paper: 1)",
    )
    gradinit_lr: Optional[float] = _flag(
        None,
        "learning rate of Adam on the scales; on their logarithms with multistep "
        "(default: 0.1; paper: 2.5e-3)",
    )
    gradinit_betas: str = _flag(
        "(0.9, 0.98)", "betas of Adam on the scales (default: as the paper's script)"
    )
    gradinit_eta: Optional[float] = _flag(
        None, "the learning rate to start well at (default: the run's --lr)"
    )
    gradinit_algorithm: ChoiceEnum(("auto", *ALGORITHMS)) = _flag(  # type: ignore[valid-type]
        "auto",
        "adam: sign step and 1-norm, sgd: gradient step and 2-norm (auto: from --optimizer)",
    )
    gradinit_normalize_gradient: bool = _flag(
        False, "paper with sgd: step along g/|g| instead of g, as its CIFAR scripts"
    )
    gradinit_gamma: Optional[float] = _flag(
        None,
        "bound on the gradient norm; above it a step lowers the norm instead "
        "(default: from --gradinit-predicted-drop)",
    )
    gradinit_predicted_drop: Optional[float] = _flag(
        None,
        "c in nats/token, the first-order predicted drop of the loss in the first step, which "
        "sets the bound: gamma = c/eta for adam (default: none, the norm is lowered where the walk "
        "climbs; paper: 1, which is its gamma 1000 at eta 1e-3)",
    )
    gradinit_constraint: ChoiceEnum(CONSTRAINTS) = _flag(  # type: ignore[valid-type]
        "exact",
        "derivative of the gradient norm by double backward (exact) or by a central difference "
        "(finite-difference, works with fused kernels)",
    )
    gradinit_min_scale: float = _flag(0.01, "least scale; biases may go to 0 with paper")
    gradinit_min_embedding_scale: Optional[float] = _flag(
        None, "least scale of an embedding (default: 1; paper: that of --gradinit-min-scale)"
    )
    gradinit_max_scale: float = _flag(math.inf, "greatest scale")
    gradinit_max_layernorm_scale: float = _flag(100.0, "greatest scale of a LayerNorm weight")
    gradinit_max_change: Optional[float] = _flag(
        None,
        "r: each scale stays within a factor r of where it starts, r^(30/n) with n > 30 residual "
        "branches (default: 1.2; paper: no bound)",
    )
    gradinit_max_tokens: Optional[int] = _flag(
        None, "most tokens in a batch of GradInit (default: the run's --max-tokens)"
    )
    gradinit_no_early_stop: bool = _flag(
        False, "run all iterations even when scales and objective have settled"
    )
    gradinit_rehearsal: int = _flag(
        60,
        "updates rehearsed, and undone, to predict whether training goes well at this learning "
        "rate, and at which lower one if not; 0: none",
    )
    gradinit_rehearsal_orders: int = _flag(
        3, "how often it is rehearsed, each time on other batches; all must go well"
    )
    gradinit_scales: Optional[str] = _flag(
        None,
        "apply the scales of this scales.json, learned before on a model of the same shape, "
        "and learn nothing",
    )


def given_settings(flags: GradInitConfig) -> Dict[str, Any]:
    """The flags that are settings of the algorithm, by the settings' names; None where unset."""
    named = {f.name: getattr(flags, PREFIX + f.name, None) for f in fields(Settings)}
    # A choice arrives as an Enum of fairseq's, which JSON does not know.
    return {name: str(v) if isinstance(v, Enum) else v for name, v in named.items()}
