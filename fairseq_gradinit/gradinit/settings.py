"""What GradInit is asked to do: one immutable record, with the defaults of each preset."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from .errors import GradInitError

ALGORITHMS = ("adam", "sgd")
CONSTRAINTS = ("exact", "finite-difference")

# Zhu et al. 2021, arXiv 2102.08098, and its released Transformer script:
# 780 iterations, scale lr 2.5e-3, γ = 1000 at η = 1e-3 (c = η·γ = 1 nat),
# scales ≥ 0.01, LayerNorm scales ≤ 100.
PAPER: dict[str, Any] = {
    "lookahead": 1,
    "margin": 1.0,
    "branch_scale": 1.0,
    "encoder_scale": 1.0,
    "iters": 780,
    "lr": 2.5e-3,
    "log_space": False,
    "predicted_drop": 1.0,
    "max_change": math.inf,
    "min_embedding_scale": 0.0,
}
# Ours: the loss after K real optimizer steps at twice the learning rate, from residual branches
# turned down, near there; no norm constraint.
MULTISTEP: dict[str, Any] = {
    "lookahead": 10,
    "margin": 2.0,
    "branch_scale": 0.03,
    "encoder_scale": 0.3,
    "iters": 40,
    "lr": 0.1,
    "log_space": True,
    "predicted_drop": None,
    "max_change": 1.2,
    "min_embedding_scale": 1.0,
}
PRESETS = {"multistep": MULTISTEP, "paper": PAPER}


@dataclass(frozen=True)
class Settings:
    """The settings of one search for scales. Build it with `Settings.of`.

    Attributes:
        preset: `paper` (one prescribed step, halves S and S̃ of a batch, gradient-norm
            constraint) or `multistep` (K steps of the run's own optimizer, fresh batches).
        algorithm: the training optimizer's family; decides the norm of the constraint
            (`adam`: ‖·‖₁, `sgd`: ‖·‖₂) and the paper's step (sign(g) or g).
        eta: η, the learning rate of the step(s) looked ahead.
        lookahead: K, optimizer steps before the loss that is differentiated.
        margin: m; the steps of the look-ahead are taken at m·η. K steps do not show what hundreds
            at η will do; what goes well at more than η leaves room for it.
        branch_scale: where the scale of each residual branch's last matrix starts.
        encoder_scale: where the scales of the encoder's other matrices start (its embedding
            apart); all others start at 1.
        iters: T, the most iterations; with 0 the model stays as it is.
        lr: learning rate of Adam on the scales (on log α where `log_space`).
        betas: β₁, β₂ of Adam on the scales.
        log_space: learn log α instead of α.
        gamma: γ, the bound on the gradient norm; None: from `predicted_drop`.
        predicted_drop: c in nats/token, the first-order predicted drop of the loss in the
            first step, η‖g‖₁ for Adam; γ follows from it. None and no gamma: no constraint.
        constraint: how ∂‖g‖/∂α is had: `exact` (double backward) or `finite-difference`.
        max_change: r; each scale stays within [start / r, start · r], in models of more than 30
            residual branches (six layers a side) within r^(30 / branches). A walk of K steps is
            blind to what comes later: given room it turns the encoder off, which a loss that
            falls by learning word frequencies does not need yet.
        min_embedding_scale: bound of the scales of embeddings, which every walk would turn down,
            noise that they are to word frequencies. Smaller ones make each step of η the larger:
            a vector common to all tokens then outgrows what tells them apart.
        min_scale, max_scale, max_layernorm_scale: bounds of α; biases may go to 0 in
            linear space.
        weight_decay: of the paper's step; the run's own optimizer brings its own.
        normalize_gradient: paper's SGD step along g/‖g‖₂ instead of g.
        clip_norm: gradient clipping of the training run, applied in the look-ahead; 0: none.
        early_stop: stop once scales and objective have settled.
        rehearsal: updates rehearsed with the scales in force, to predict whether training goes
            well; 0: none.
        rehearsal_orders: how often, each time on other batches; all must go well.
        seed: of everything drawn at random.
    """

    preset: str
    lookahead: int
    margin: float
    branch_scale: float
    encoder_scale: float
    iters: int
    lr: float
    log_space: bool
    predicted_drop: float | None
    max_change: float
    min_embedding_scale: float
    algorithm: str = "adam"
    eta: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.98)
    gamma: float | None = None
    constraint: str = "exact"
    min_scale: float = 0.01
    max_scale: float = math.inf
    max_layernorm_scale: float = 100.0
    weight_decay: float = 0.0
    normalize_gradient: bool = False
    clip_norm: float = 0.0
    early_stop: bool = True
    rehearsal: int = 60
    rehearsal_orders: int = 3
    seed: int = 1

    @classmethod
    def of(cls, preset: str = "multistep", **given: Any) -> Settings:
        """The preset with what is `given`; None means the preset's.

        Raises:
            GradInitError: a value out of its range, named with its remedy.
        """
        _check(preset in PRESETS, "preset", preset, f"one of {', '.join(PRESETS)}")
        chosen = {name: value for name, value in given.items() if value is not None}
        settings = cls(**{"preset": preset, **PRESETS[preset], **chosen})
        settings._validate()
        return settings

    @property
    def norm_bound(self) -> float | None:
        """γ in force, or None where nothing is constrained.

        The first-order predicted drop of the loss is η‖g‖₁ for the sign step, η‖g‖₂ for the
        normalised and η‖g‖₂² for the plain gradient step; γ is the norm at which it is c.
        """
        if self.gamma is not None or self.predicted_drop is None:
            return self.gamma
        drop = self.predicted_drop / self.eta
        plain_sgd = self.algorithm == "sgd" and not self.normalize_gradient
        return math.sqrt(drop) if plain_sgd else drop

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; infinity becomes null."""
        items = asdict(self).items()
        return {name: None if value == math.inf else value for name, value in items}

    def _validate(self) -> None:
        positive = "eta", "lr", "gamma", "predicted_drop", "min_scale", "max_layernorm_scale"
        for name in (*positive, "margin", "max_scale", "max_change"):
            value = getattr(self, name)
            _check(value is None or value > 0, name, value, "a number above 0")
        for name in ("eta", "lr", "margin"):
            _check(math.isfinite(getattr(self, name)), name, getattr(self, name), "a finite number")
        for name in ("weight_decay", "clip_norm"):
            _check(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        for name in ("iters", "rehearsal"):
            _check(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        for name in ("lookahead", "rehearsal_orders"):
            _check(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        _check(
            self.preset != "paper" or self.lookahead == 1,
            "lookahead",
            self.lookahead,
            "1 with the preset paper, or --gradinit-preset multistep",
        )
        _check(self.algorithm in ALGORITHMS, "algorithm", self.algorithm, "one of adam, sgd")
        _check(
            self.constraint in CONSTRAINTS,
            "constraint",
            self.constraint,
            f"one of {', '.join(CONSTRAINTS)}",
        )
        _check(
            len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas),
            "betas",
            self.betas,
            "two numbers in [0, 1), as (0.9, 0.98)",
        )
        _check(
            self.min_scale <= 1 <= min(self.max_scale, self.max_layernorm_scale),
            "min_scale",
            f"{self.min_scale} with upper bounds {self.max_scale}, {self.max_layernorm_scale}",
            "bounds with 1, where scales start, between them",
        )
        for name in ("branch_scale", "encoder_scale"):
            _check(
                self.min_scale <= getattr(self, name) <= self.max_scale,
                name,
                getattr(self, name),
                f"a number between {self.min_scale} and {self.max_scale}, the bounds of the scales",
            )
        _check(
            0 <= self.min_embedding_scale <= 1,
            "min_embedding_scale",
            self.min_embedding_scale,
            "a number from 0 to 1, where the scale of an embedding starts",
        )
        _check(self.max_change >= 1, "max_change", self.max_change, "1 or more")


def _check(fine: bool, name: str, found: Any, wanted: str) -> None:
    if not fine:
        flag = "--gradinit-" + name.replace("_", "-")
        raise GradInitError(f"{flag}: found {found}; give {wanted}")
