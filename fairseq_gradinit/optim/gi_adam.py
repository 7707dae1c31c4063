"""GI-Adam (Kalra & Barkeshli, NeurIPS 2024, arXiv 2406.09405): Adam with v₀ = g₀²."""

import logging
from dataclasses import dataclass, field
from typing import Any

from fairseq.dataclass import ChoiceEnum
from fairseq.optim import FairseqOptimizer, register_optimizer
from fairseq.optim.adam import FairseqAdam, FairseqAdamConfig

from ..first_update import AtFirstUpdate, wait_for_first_update
from ..gradinit import GradInitError
from .gi_adam_step import ZEROS, GIAdam, second_moments
from .wrapped import first_rate, not_negative, pair, positive

logger = logging.getLogger(__name__)

# No `from __future__ import annotations` here: fairseq reads the field types themselves.


@dataclass
class GIAdamConfig(FairseqAdamConfig):
    """fairseq's flags of adam, and where v₀ comes from."""

    gi_adam_batches: int = field(
        default=1,
        metadata={
            "help": "batches, each as large as an update's, whose mean gradient is g0; they are "
            "drawn apart from those of training"
        },
    )
    gi_adam_zeros: ChoiceEnum(ZEROS) = field(  # type: ignore[valid-type]
        default="published",
        metadata={
            "help": "entries with g0 = 0, as are embedding rows of words that are not in those "
            "batches. published: v0 = 0, so that they start as in Adam, at full learning rate; "
            "mean: v0 is the mean of g0^2 over the other entries of the same tensor (ours)"
        },
    )
    gi_adam_random: bool = field(
        default=False,
        metadata={
            "help": "the authors' ablation: v0 = r^2 with r of the norm of g0, in a random "
            "direction"
        },
    )


@register_optimizer("gi_adam", dataclass=GIAdamConfig)
class FairseqGIAdam(FairseqAdam):
    """`--optimizer gi_adam`: see `GIAdam`; g₀ is measured before the first update of a run whose
    optimizer has no state yet, so never after a resume."""

    def __init__(self, cfg: GIAdamConfig, params: Any) -> None:
        FairseqOptimizer.__init__(self, cfg)
        if cfg.fp16_adam_stats:
            raise SystemExit(
                "fairseq-train: error: --fp16-adam-stats: gi_adam keeps its moments in fp32; leave "
                "the flag out"
            )
        if cfg.gi_adam_batches < 1:
            raise SystemExit(
                f"fairseq-train: error: --gi-adam-batches: found {cfg.gi_adam_batches}; give 1 or "
                "more"
            )
        try:
            self._optimizer = GIAdam(params, **self.optimizer_config)
        except GradInitError as error:
            raise SystemExit(f"fairseq-train: error: {error}") from None
        wait_for_first_update(self, self)

    @property
    def optimizer_config(self) -> dict[str, Any]:
        """As FairseqAdam's, each value in its range. Raises: GradInitError."""
        cfg = self.cfg
        return {
            "lr": first_rate(cfg.lr),
            "betas": pair(cfg.adam_betas, "--adam-betas"),
            "eps": positive(cfg.adam_eps, "--adam-eps"),
            "weight_decay": not_negative(cfg.weight_decay, "--weight-decay"),
        }

    @property
    def pending(self) -> bool:
        """Has v₀ neither been measured nor come with a checkpoint?"""
        return not self._optimizer.state

    def prepare(self, at: AtFirstUpdate) -> None:
        """Sets v₀ from g₀, in the units of a training gradient, dropout as in training.

        Raises:
            GradInitError: too few batches, or a gradient that is not finite.
        """
        samples = at.supply.draw(self.cfg.gi_adam_batches, "--gi-adam-batches")
        _, gradient = at.loss.gradient(at.layout.weights(), samples, dropout=True)
        if not all(bool(g.isfinite().all()) for g in gradient):
            raise GradInitError(
                "--optimizer gi_adam: g0 is not finite; check the data and the initial weights"
            )
        moments = second_moments(
            gradient,
            zeros=str(self.cfg.gi_adam_zeros),
            random_seed=at.run.common.seed if self.cfg.gi_adam_random else None,
        )
        self._optimizer.start_from(at.layout.gather(moments))
        entries = sum(g.numel() for g in gradient)
        untouched = sum(int((g == 0).sum()) for g in gradient)
        logger.info(
            f"gi_adam: v0 from {self.cfg.gi_adam_batches} batch(es); g0 = 0 in "
            f"{untouched / entries:.1%} of {entries} entries ({self.cfg.gi_adam_zeros})"
        )

    def step(self, *args: Any, **kwargs: Any) -> None:
        """Raises: SystemExit: nobody has handed over a batch to measure g₀ on."""
        if self.pending:
            raise SystemExit(
                "fairseq-train: error: --optimizer gi_adam: this run's --task does not measure g0 "
                "before the first update; use --task translation or language_modeling_gradinit, or "
                "mix fairseq_gradinit.first_update.FirstUpdate into yours"
            )
        super().step(*args, **kwargs)
