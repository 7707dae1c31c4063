"""The --init flags, mixed into a task's own configuration."""

from dataclasses import dataclass, field

from fairseq.dataclass import ChoiceEnum, FairseqDataclass

from .deepnorm import PAPER, TORCHSCALE

# No `from __future__ import annotations` here: fairseq reads the field types themselves.

DEFAULT = "default"
NAMES = (
    DEFAULT,
    "xavier",
    "admin",
    "admin_closed",
    "tfixup",
    "deepnorm",
    "rezero",
    "small",
    "peri_ln",
    "sigma_reparam",
)


@dataclass
class InitConfig(FairseqDataclass):
    """What the model starts from, and how its residual branches are added."""

    init: ChoiceEnum(NAMES) = field(  # type: ignore[valid-type]
        default=DEFAULT,
        metadata={
            "help": "initialisation and residual branches. default: fairseq's; xavier: Xavier for "
            "fc1 and fc2 too; admin: residual weights from one training batch (Liu et al. 2020), "
            "admin_closed: from the depth alone; tfixup: no LayerNorm (Huang et al. 2020); "
            "deepnorm (Wang et al. 2022); rezero (Bachlechner et al. 2020); small: SmallInit, for "
            "Pre-LN (Nguyen & Salazar 2019); peri_ln: LayerNorm on both sides of a branch (Kim et "
            "al. 2025); sigma_reparam: matrices by spectral norm (Zhai et al. 2023)"
        },
    )
    init_deepnorm_beta: ChoiceEnum((PAPER, TORCHSCALE)) = field(  # type: ignore[valid-type]
        default=PAPER,
        metadata={
            "help": "deepnorm's gain of the encoder's branches: 0.87 (paper) or 1.15 (torchscale) "
            "times (N^4 M)^(-1/16)"
        },
    )
