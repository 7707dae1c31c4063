"""Each setting once: its default, the paper's value, what it may be, its unit, help and source.

Flags, `--help`, validation, the record and README's table are made from these fields.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from .errors import GradInitError
from .ranges import Choice, Pair, Range

LARGEST_SCALE = 1e6  # a greater one leaves nothing of a model
PRESETS = ("multistep", "paper")
SCRIPT = "released Transformer script of Zhu et al. 2021"
POSITIVE, RATE = Range(0, above=True), Range(0, above=True, finite=True)


def setting(
    default: Any,
    help: str,
    may_be: Range | Choice | Pair | None = None,
    unit: str = "",
    source: str = "",
    **paper: Any,
) -> Any:
    """A field with all that is known of it; `paper=…` where the preset `paper` differs."""
    facts = {"help": help, "may_be": may_be, "unit": unit, "source": source, **paper}
    return field(default=default, metadata=facts)


@dataclass(frozen=True)
class Settings:
    """The settings of one search for scales. Build it with `Settings.of`.

    `gamma` None means: from `predicted_drop`; both None: no bound on the gradient norm.
    """

    preset: str = setting(
        "multistep",
        "objective and defaults; multistep: the loss after K steps of the run's own optimizer; "
        "paper: Zhu et al. 2021, Algorithm 1, one step under a bound on the gradient norm",
        Choice(PRESETS),
        paper="paper",
    )
    start: str = setting(
        "measured",
        "where the scales start; measured: branches turned down to `branch_scale`, and what feeds "
        "them as far as an update of the run's optimizer, measured on the model, asks for; fixed: "
        "`branch_scale` and `encoder_scale`; none: 1",
        Choice(("measured", "fixed", "none")),
        paper="none",
    )
    drift: float = setting(
        0.4,
        "measured: how far one update may move the common output of the branches of a stack, all "
        "together, as a part of the residual stream",
        RATE,
        "× the stream",
    )
    lookahead: int = setting(
        10,
        "K, optimizer steps before the loss that is differentiated",
        Range(1, 1000),
        "steps",
        paper=1,
    )
    lookahead_lr: float = setting(
        2.0,
        "m; the look-ahead's steps are taken at m times the learning rate: K steps do not show "
        "what hundreds at it will do",
        RATE,
        "× η",
        paper=1.0,
    )
    iters: int = setting(
        0,
        "T, iterations of learning after the start",
        Range(0),
        "iterations",
        SCRIPT,
        paper=780,
    )
    branch_scale: float = setting(
        0.03,
        "measured and fixed: where the scale of each residual branch's last matrix (out_proj, fc2) "
        "starts",
    )
    encoder_scale: float = setting(
        0.3,
        "fixed: where the scales of the encoder's other matrices start, embeddings apart; all "
        "others start at 1",
    )
    max_change: float = setting(
        1.2,
        "r: each scale stays within a factor r of where it starts, r^(30/n) with n > 30 residual "
        "branches; with more, a search that is blind to what comes later turns the encoder off",
        Range(1),
        "factor",
        paper=math.inf,
    )
    lr: float = setting(
        0.1,
        "learning rate of Adam on the scales (paper), on their logarithms (multistep)",
        RATE,
        "",
        SCRIPT,
        paper=2.5e-3,
    )
    betas: tuple[float, float] = setting(
        (0.9, 0.98), "betas of Adam on the scales", Pair(), "", SCRIPT
    )
    log_space: bool = setting(True, "learn log α instead of α", paper=False)
    eta: float = setting(1e-3, "η, the learning rate to start well at", RATE)
    algorithm: str = setting(
        "adam",
        "adam: sign step and 1-norm, sgd: gradient step and 2-norm",
        Choice(("adam", "sgd")),
        source="Algorithm 1",
    )
    normalize_gradient: bool = setting(
        False, "paper with sgd: step along g/|g| instead of g", source="CIFAR scripts of the paper"
    )
    gamma: float | None = setting(
        None,
        "bound on the gradient norm, above which a step lowers the norm instead; not given: from "
        "`predicted_drop`",
        POSITIVE,
    )
    predicted_drop: float | None = setting(
        None,
        "c, the first-order predicted drop of the loss in the first step, which sets the bound, "
        "`gamma` = c/η for adam; not given: the norm is lowered where the look-ahead climbs",
        POSITIVE,
        "nats/token",
        f"{SCRIPT}: γ = 1000 at η = 1e-3",
        paper=1.0,
    )
    constraint: str = setting(
        "exact",
        "derivative of the gradient norm by double backward (exact) or by a central difference "
        "(finite-difference, works with fused kernels)",
        Choice(("exact", "finite-difference")),
    )
    min_scale: float = setting(
        0.01, "least scale; biases may go to 0 with paper", POSITIVE, "", SCRIPT
    )
    min_embedding_scale: float = setting(
        1.0,
        "least scale of an embedding, which every look-ahead would turn down; smaller ones make "
        "each step of η the larger",
        Range(0, 1),
        paper=0.0,
    )
    max_scale: float = setting(math.inf, "greatest scale", POSITIVE)
    max_layernorm_scale: float = setting(
        100.0, "greatest scale of a LayerNorm weight", POSITIVE, "", SCRIPT
    )
    weight_decay: float = setting(0.0, "weight decay of the paper's step", Range(0))
    clip_norm: float = setting(
        0.0, "gradient clipping in the look-ahead and the trial; 0: none", Range(0)
    )
    trial: int = setting(
        40,
        "updates tried, and undone, to say whether training goes well at this learning rate and up "
        "to which it would, by factors of 2; 0: none",
        Range(0, 10_000),
        "updates",
    )
    seed: int = setting(1, "seed of everything drawn at random")

    @classmethod
    def of(cls, preset: str | None = None, **given: Any) -> Settings:
        """The preset with what is `given`; None means the preset's, and the default preset.

        Raises:
            GradInitError: a value out of its range, named with its remedy.
        """
        preset = cls.preset if preset is None else preset
        _check(preset in PRESETS, "preset", preset, Choice(PRESETS))
        chosen = {name: value for name, value in given.items() if value is not None}
        settings = cls(**{**defaults(preset), **chosen, "preset": preset})
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

    @property
    def norm_order(self) -> int:
        """p of the constraint's ‖g‖_p: the dual of the first step's geometry."""
        return 1 if self.algorithm == "adam" else 2

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; infinity becomes null."""
        items = asdict(self).items()
        return {name: None if value == math.inf else value for name, value in items}

    def _validate(self) -> None:
        for one in fields(self):
            value, may_be = getattr(self, one.name), one.metadata["may_be"]
            _check(value is None or may_be is None or value in may_be, one.name, value, may_be)
        _check(
            self.preset != "paper" or self.lookahead == 1,
            "lookahead",
            self.lookahead,
            "1 with the preset paper, or `preset` multistep",
        )
        _check(
            self.min_scale <= 1 <= min(self.max_scale, self.max_layernorm_scale),
            "min_scale",
            f"{self.min_scale} with upper bounds {self.max_scale}, {self.max_layernorm_scale}",
            "bounds with 1, where scales start, between them",
        )
        used = {"measured": ("branch_scale",), "fixed": ("branch_scale", "encoder_scale")}
        for name in used.get(self.start, ()):
            value, most = getattr(self, name), min(self.max_scale, LARGEST_SCALE)
            _check(
                self.min_scale <= value <= most,
                name,
                value,
                f"a number between {self.min_scale:g} and {most:g}, the bounds of the scales",
            )


def defaults(preset: str) -> dict[str, Any]:
    """The value of every setting in a preset."""
    return {
        one.name: one.metadata.get("paper", one.default) if preset == "paper" else one.default
        for one in fields(Settings)
    }


def _check(fine: bool, name: str, found: Any, wanted: object) -> None:
    if not fine:
        raise GradInitError(f"`{name}`: found {found}; give {wanted}")
