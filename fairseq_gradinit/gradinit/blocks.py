"""The scaled parameter blocks: θ_m = α_m·θ_m⁰, one scalar per parameter tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .encoders import encoders
from .errors import GradInitError

EMBEDDING, LAYER_NORM, BIAS, WEIGHT = "embedding", "layer_norm", "bias", "weight"
BRANCH_OUTPUT = "branch_output"
# The last projection of an attention or feed-forward branch, as fairseq, torch and Hugging Face
# name it: what it gives is added to the residual stream.
BRANCH_OUTPUTS = frozenset(
    {"out_proj", "fc2", "linear2", "o_proj", "down_proj", "c_proj", "o", "wo"}
)
NORMS = ("LayerNorm", "RMSNorm")  # how the classes of norms without `normalized_shape` end


@dataclass(frozen=True)
class Block:
    """One parameter tensor. Tied tensors are one block; `aliases` are its other names.

    kind: `embedding`, `layer_norm`, `bias`, `branch_output` (the matrix whose product is added
    to the residual stream, told by its module's name) or `weight` (any other).
    in_encoder: it belongs to the encoder of an encoder–decoder, see `encoders`.
    """

    name: str
    aliases: tuple[str, ...]
    kind: str
    shape: tuple[int, ...]
    in_encoder: bool = False


class Blocks:
    """Every trainable parameter of `model` with its initial value θ⁰.

    The only code that writes parameters. An all-zero tensor is a block whose scale never
    moves, since ∂L/∂α = ⟨∂L/∂θ, 0⟩ = 0 exactly; it still takes the look-ahead steps.

    Raises:
        GradInitError: there is no trainable floating-point parameter.
    """

    def __init__(self, model: nn.Module) -> None:
        self.blocks, self.parameters = _collect(model)
        if not self.parameters:
            raise GradInitError(
                f"{type(model).__name__} has no trainable floating-point parameter; there is "
                "nothing that GradInit could scale"
            )
        self.theta0 = [parameter.detach().clone() for parameter in self.parameters]

    def __len__(self) -> int:
        return len(self.blocks)

    @property
    def has_branches(self) -> bool:
        """Residual branches known by name, and LayerNorms for their growth to divide tokens by: a
        Transformer. The `fc2` of a convolutional model without LayerNorm is no such branch."""
        return {BRANCH_OUTPUT, LAYER_NORM} <= {block.kind for block in self.blocks}

    @torch.no_grad()
    def write(self, scales: Tensor) -> None:
        """θ ← α∘θ⁰ from scratch, so nothing drifts. scales: [blocks], on the CPU."""
        for parameter, initial, scale in zip(self.parameters, self.theta0, scales.tolist()):
            torch.mul(initial, scale, out=parameter.detach())

    @torch.no_grad()
    def shift(self, direction: Sequence[Tensor | None], epsilon: float) -> None:
        """θ ← θ + ε·v."""
        for parameter, v in zip(self.parameters, direction):
            if v is not None:
                parameter.detach().add_(v, alpha=epsilon)

    def shadows(self) -> list[nn.Parameter]:
        """Parameters over the same storage, for an optimizer to step with its own `.grad`."""
        return [_shadow(parameter) for parameter in self.parameters]

    @torch.no_grad()
    def dot(self, gradient: Sequence[Tensor | None]) -> Tensor:
        """⟨g_m, θ_m⁰⟩ for every block m: the chain rule ∂L/∂α_m of θ = α∘θ⁰. [blocks]"""
        zero = self.theta0[0].new_zeros(())
        return torch.stack(
            [
                zero if g is None else torch.dot(g.flatten(), initial.flatten()).to(zero)
                for g, initial in zip(gradient, self.theta0)
            ]
        )

    def norms(self) -> list[float]:
        """‖θ_m‖₂ of every block as it stands now."""
        return torch.stack([p.detach().float().norm() for p in self.parameters]).tolist()


def _collect(model: nn.Module) -> tuple[list[Block], list[nn.Parameter]]:
    names: dict[nn.Parameter, list[str]] = {}
    kinds: dict[nn.Parameter, str] = {}
    for prefix, module in model.named_modules():
        for local, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and parameter.is_floating_point():
                names.setdefault(parameter, []).append(f"{prefix}.{local}" if prefix else local)
                # An output projection tied to an embedding is the embedding.
                kinds.setdefault(parameter, _kind(prefix, module, local, parameter))
    inside = tuple(f"{name}." for name in encoders(model))
    blocks = [
        Block(
            name,
            tuple(aliases),
            kinds[parameter],
            tuple(parameter.shape),
            name.startswith(inside),
        )
        for parameter, (name, *aliases) in names.items()
    ]
    return blocks, list(names)


def _kind(prefix: str, module: nn.Module, local: str, parameter: nn.Parameter) -> str:
    if parameter.dim() <= 1 and (local.startswith("bias") or local.endswith("_bias")):
        return BIAS
    # LayerNorm, its fused kin and RMSNorm; Hugging Face's own have no shape to tell them by.
    if hasattr(module, "normalized_shape") or type(module).__name__.endswith(NORMS):
        return LAYER_NORM
    if isinstance(module, nn.Embedding):
        return EMBEDDING
    if parameter.dim() == 2 and prefix.rpartition(".")[2] in BRANCH_OUTPUTS:
        return BRANCH_OUTPUT
    return WEIGHT


def _shadow(parameter: nn.Parameter) -> nn.Parameter:
    shadow = nn.Parameter(parameter.detach())
    shadow.__dict__.update(parameter.__dict__)  # e.g. the `param_group` of composite optimizers
    return shadow
