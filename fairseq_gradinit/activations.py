"""Activations that fairseq's --activation-fn lacks: swish and PReLU, which Tessera et al. 2021
(arXiv 2102.01670) compare."""

from dataclasses import dataclass, field

from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from torch import nn

# No `from __future__ import annotations` here: fairseq reads the field types themselves.

OWN = "own"
FAIRSEQS = ("relu", "gelu")  # so that one flag goes over all four
ACTIVATIONS = {"swish": nn.SiLU, "prelu": nn.PReLU}
CHOICES = (OWN, *FAIRSEQS, *ACTIVATIONS)


@dataclass
class ActivationConfig(FairseqDataclass):
    """The flag of `replace_activations`."""

    ffn_activation: ChoiceEnum(CHOICES) = field(  # type: ignore[valid-type]
        default=OWN,
        metadata={
            "help": "in place of --activation-fn (own): relu, gelu, swish, or prelu with a learned "
            "slope per layer (from 0.25); the last two are decoded with this --user-dir"
        },
    )


def replace_activations(model: nn.Module, name: str) -> int:
    """Gives every module of `model` that has an `activation_fn` one of `ACTIVATIONS`, of its own.

    Returns:
        How many got one.
    """
    layers = [module for module in model.modules() if hasattr(module, "activation_fn")]
    for layer in layers:
        layer.activation_fn = ACTIVATIONS[name]()
    return len(layers)
