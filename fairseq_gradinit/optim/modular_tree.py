"""fairseq's Transformers as modules of the modular norm.

The tree is that of the network published with the norm (Large et al. 2024, Appendix; GPT), whose
attention multiplies q, k and v by 1/3, whose activation is √2·relu, and whose residual connections
are (1 − w)·x + w·f(x) with w = 1/branches of the stack. fairseq's forward pass has none of these;
`storage_factor` says how the same network is written in fairseq's weights.

What is ours: an encoder and a decoder. The decoder's embedding and the whole encoder are a tuple
before the decoder's layers, to which its self-attention and cross-attention are alike: q, k, v
share 1/3 each. The decoder's sensitivity to the pair is 1 as its sensitivity to x alone is, because
the encoder's output enters only through cross-attention, one branch in three. LayerNorm counts as
sensitivity 1, as in the paper, and is left out of the tree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .modular_norm import Atom, Bond, Module, Tuple, residual, stack

# fairseq's activations that have a published sensitivity, 1/√2: the published network multiplies
# them by √2.
ACTIVATIONS = ("relu", "gelu", "gelu_accurate", "gelu_fast")


@dataclass(frozen=True)
class Outline:
    """What the tree needs to know of one stack of layers.

    name: "encoder" or "decoder". cross: its layers attend to an encoder too. positions: learned
    ones. head_dim: of its attention. pre_ln: --*-normalize-before. activation: of fc1.
    """

    name: str
    layers: int
    cross: bool
    positions: bool
    head_dim: int
    pre_ln: bool
    activation: str

    @property
    def branches(self) -> int:
        """Residual branches in the stack, n."""
        return self.layers * (3 if self.cross else 2)


def transformer(stacks: tuple[Outline, ...], blocks_mass: float = 5.0) -> Module:
    """An encoder–decoder (encoder first), or a language model if there is one stack.

    Masses are 1 for each side's embedding, `blocks_mass` for each stack of layers and 1 for the
    output: 1 : 5 : 1 in the paper's GPT. Atoms are named after fairseq's modules.
    """
    *encoders, decoder = stacks
    entry = _embedding(decoder)
    for encoder in encoders:
        entry = Tuple((entry, _layers(encoder).weighing(blocks_mass) @ _embedding(encoder)))
    blocks = _layers(decoder).weighing(blocks_mass)
    return Atom("decoder.output_projection") @ blocks @ entry


def storage_factor(outline: Outline, atom: str, units: str = "published") -> float:
    """stored weight = factor × the published network's weight.

    fc1: √2, its activation's (exact for relu). q, k: a logit is q·k/(9·d_head) there and
    q·k/√d_head in fairseq, so each has d_head^(−1/4)/3; v: 1/3. out_proj, fc2 of branch b of n,
    w = 1/n: w/(1 − w) in Post-LN, whose LayerNorm removes the scale of (1 − w)·x + w·f at once;
    w/(1 − w)^(b+1) in Pre-LN, where the stream keeps it to the last LayerNorm. All others: 1.

    Args:
        atom: name of a matrix; 1 if it is not in a layer of `outline`.
        units: "stock" for 1 in attention and residuals too.
    """
    if not atom.startswith(f"{outline.name}.layers."):
        return 1.0
    layer, *_, matrix = atom.split(".")[2:]
    if matrix == "fc1":
        return math.sqrt(2)
    if units == "stock":
        return 1.0
    if matrix in ("q_proj", "k_proj"):
        return outline.head_dim**-0.25 / 3
    if matrix == "v_proj":
        return 1 / 3
    weight = 1 / outline.branches
    per_layer = outline.branches // outline.layers
    place = 0 if "self_attn" in atom else per_layer - 1 if matrix == "fc2" else 1
    branch = int(layer) * per_layer + place
    return weight / (1 - weight) ** (branch + 1 if outline.pre_ln else 1)


def _embedding(outline: Outline) -> Module:
    tokens = Atom(f"{outline.name}.embed_tokens")
    if not outline.positions:
        return tokens
    # fairseq adds the two (the paper: half of each), so each may move by half of the sum's target.
    positions = Atom(f"{outline.name}.embed_positions")
    return (Bond() @ Tuple((tokens, positions))).weighing(1.0)


def _layers(outline: Outline) -> Module:
    weight = 1 / outline.branches
    branches: list[Module] = []
    for layer in range(outline.layers):
        name = f"{outline.name}.layers.{layer}"
        branches.append(_attention(f"{name}.self_attn"))
        if outline.cross:
            branches.append(_attention(f"{name}.encoder_attn"))
        branches.append(Atom(f"{name}.fc2") @ Atom(f"{name}.fc1"))
    return stack([residual(branch, weight) for branch in branches])


def _attention(name: str) -> Module:
    qkv = Tuple(tuple(Atom(f"{name}.{which}_proj") for which in "qkv"))
    return Atom(f"{name}.out_proj") @ Bond(1 / 3) @ qkv
