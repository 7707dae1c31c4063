"""`--optimizer modular_adam` and `--optimizer modular_sgd`: one lr for every width and depth."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.optim import register_optimizer
from omegaconf import II
from torch import nn

from ..gradinit import GradInitError
from .modular_norm import Module
from .modular_step import ModularOptimizer
from .modular_tree import ACTIVATIONS, Outline, storage_factor, transformer
from .roles import Role, roles_of
from .wrapped import WrappedOptimizer, fraction, not_negative, pair, positive

logger = logging.getLogger(__name__)

# No `from __future__ import annotations` here: fairseq reads the field types themselves.


@dataclass
class ModularConfig(FairseqDataclass):
    """What both have in common."""

    weight_decay: float = field(
        default=0.01,
        metadata={
            "help": "decay of matrices, shared out as updates are: W is multiplied by "
            "1 - lr * weight_decay * target after each update; embeddings, gains and biases have "
            "none (paper: 0.01)"
        },
    )
    modular_blocks_mass: float = field(
        default=5.0,
        metadata={
            "help": "mass of each stack of layers, beside 1 for each embedding and 1 for the "
            "output: its share of the change of the network (paper: 5)"
        },
    )
    modular_units: ChoiceEnum(["published", "stock"]) = field(  # type: ignore[valid-type]
        default="published",
        metadata={
            "help": "published: fairseq's matrices are the published network's times what its "
            "forward pass has and fairseq's lacks (1/3 and 1/d in attention, 1/branches in "
            "residuals), and updates keep that proportion; stock: they are the matrices "
            "themselves, and the bound on the change of the network does not hold"
        },
    )
    modular_rows: ChoiceEnum(["published", "start"]) = field(  # type: ignore[valid-type]
        default="published",
        metadata={
            "help": "the norm that each embedding row is put back to after each update. "
            "published: effective RMS 1; start: the one it has at the first update, which keeps "
            "what --gradinit or an --init made of the embeddings"
        },
    )
    modular_published: bool = field(
        default=False,
        metadata={
            "help": "one power iteration at the first update too (ours: 10) and no guard where a "
            "matrix's gradient is zero (NaN): the released code to the digit"
        },
    )
    lr: Any = II("optimization.lr")


@dataclass
class ModularAdamConfig(ModularConfig):
    """The flags of modular_adam."""

    modular_betas: str = field(
        default="(0.9, 0.99)",
        metadata={"help": "of the moments; no bias correction, no epsilon (paper: 0.9, 0.99)"},
    )


@dataclass
class ModularSGDConfig(ModularConfig):
    """The flags of modular_sgd."""

    modular_momentum: float = field(
        default=0.9, metadata={"help": "of the average of gradients (paper: 0.9)"}
    )


class FairseqModular(WrappedOptimizer):
    """Builds the algebra from the roles of the parameters and shares --lr out by it."""

    by_matrix = True
    needs_roles = True
    _shown: ClassVar[Module | None] = None

    def betas(self) -> tuple[float, float | None]:
        """β₁ and β₂, or β₁ alone."""
        raise NotImplementedError

    def make(self, params: list[nn.Parameter]) -> torch.optim.Optimizer:
        cfg = self.cfg
        beta1, beta2 = self.betas()
        not_negative(cfg.weight_decay, "--weight-decay")
        positive(cfg.modular_blocks_mass, "--modular-blocks-mass")
        roles = roles_of(params, self.title)
        stacks = next((role.stacks for role in roles if role.stacks), ())
        tree = self._tree(stacks)
        if tree != FairseqModular._shown:  # GradInit's look-ahead builds one optimizer a walk
            FairseqModular._shown = tree
            logger.info(f"modular norm of the model:\n{tree}")
        targets = tree.targets()
        groups = [
            {"params": [p], **self._plan(p, role, targets, stacks)}
            for p, role in zip(params, roles, strict=True)
        ]
        return ModularOptimizer(
            groups, self.lr, beta1, beta2, cfg.weight_decay, published=cfg.modular_published
        )

    @property
    def optimizer_config(self) -> dict[str, Any]:
        beta1, beta2 = self.betas()
        return {**super().optimizer_config, "beta1": beta1, "beta2": beta2}

    def _tree(self, stacks: tuple[Outline, ...]) -> Module:
        if not stacks or stacks[-1].name != "decoder":
            raise GradInitError(
                f"--optimizer {self.title}: found no fairseq Transformer with a decoder; use it "
                "with --arch transformer or transformer_lm and those built on them"
            )
        unknown = [s.activation for s in stacks if s.activation not in ACTIVATIONS]
        if unknown:
            raise GradInitError(
                f"--activation-fn {unknown[0]}: --optimizer {self.title} knows no sensitivity of "
                f"it; use one of {', '.join(ACTIVATIONS)}"
            )
        return transformer(stacks, self.cfg.modular_blocks_mass)

    def _plan(
        self,
        p: nn.Parameter,
        role: Role,
        targets: Mapping[str, float],
        stacks: tuple[Outline, ...],
    ) -> dict[str, Any]:
        """A parameter's group for ModularOptimizer."""
        if not role.uses:
            raise GradInitError(
                f"--optimizer {self.title}: no norm is known for parameter {role.name} of shape "
                f"{tuple(p.shape)}; leave out the option that adds it, or use another optimizer"
            )
        kinds = {use.kind for use in role.uses}
        first = role.uses[0]
        if kinds <= {"bias", "norm"}:
            factor = self._factor(first.module, stacks) if "bias" in kinds else 1.0
            return {"kind": "vector", "target": targets[first.module], "factor": factor}
        if kinds == {"matrix"}:
            factor = self._factor(first.module, stacks)
            return {"kind": "matrix", "target": targets[first.module], "factor": factor}
        rows = [use for use in role.uses if use.kind == "embedding"]
        plan = {
            "kind": "embedding",
            # Shared between the sides: the smaller target keeps both.
            "target": min(targets[use.module] for use in rows),
            "row_norm": rows[0].row_norm if self.cfg.modular_rows == "published" else None,
        }
        if "matrix" not in kinds:
            return plan
        output = next(use for use in role.uses if use.kind == "matrix")
        return {**plan, "kind": "tied", "matrix_target": targets[output.module]}

    def _factor(self, atom: str, stacks: tuple[Outline, ...]) -> float:
        units = str(self.cfg.modular_units)
        return math.prod(storage_factor(outline, atom, units) for outline in stacks)


@register_optimizer("modular_adam", dataclass=ModularAdamConfig)
class ModularAdam(FairseqModular):
    """Adam's ratio of moments in the modular norm."""

    title = "modular_adam"

    def betas(self) -> tuple[float, float | None]:
        return pair(self.cfg.modular_betas, "--modular-betas")


@register_optimizer("modular_sgd", dataclass=ModularSGDConfig)
class ModularSGD(FairseqModular):
    """Momentum in the modular norm."""

    title = "modular_sgd"

    def betas(self) -> tuple[float, float | None]:
        return fraction(self.cfg.modular_momentum, "--modular-momentum"), None
