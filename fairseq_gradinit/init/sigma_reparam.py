"""σReparam (Zhai et al. 2023, arXiv 2303.06296, §3): each matrix is W·γ/σ(W), γ trained."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils.parametrize import register_parametrization

from .residual import all_layers, attentions

# What torch calls the parts of a parametrized weight.
ORIGINAL, PART = "parametrizations.weight.original", "parametrizations.weight.0"


class SpectralScale(nn.Module):
    """W → W·γ/σ(W), σ(W) = uᵀWv the largest singular value, differentiated with u, v held.

    In train mode each use takes one step of power iteration; from the exact u and v of the start
    this follows W as it moves. γ, u and v are in the checkpoint.

    Args:
        rows, columns: W's shape.
    """

    u: Tensor
    v: Tensor

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))
        self.register_buffer("u", torch.full((rows,), rows**-0.5))
        self.register_buffer("v", torch.full((columns,), columns**-0.5))

    def forward(self, weight: Tensor) -> Tensor:
        """weight: [rows, columns], any floating-point type; σ is computed in fp32."""
        whole = weight if weight.dtype == torch.float64 else weight.float()
        if self.training:
            with torch.no_grad():
                v = normalize(whole.t() @ self.u.to(whole), dim=0)
                self.v.copy_(v)
                self.u.copy_(normalize(whole @ v, dim=0))
        # Copies, because the next use overwrites the buffers that backward still needs.
        u, v = self.u.clone().to(whole), self.v.clone().to(whole)
        return (whole * (self.gain / (u @ (whole @ v)))).to(weight)


def restructure(model: nn.Module) -> None:
    """Parametrizes q, k, v, out_proj, fc1 and fc2 of every layer.

    Embeddings and the output projection, which they are often tied to, stay as they are.

    Raises:
        GradInitError: the model has no Transformer layers.
    """
    for linear in _linears(model):
        register_parametrization(linear, "weight", SpectralScale(*linear.weight.shape))


@torch.no_grad()
def initialise(model: nn.Module) -> None:
    """u, v and σ from a singular value decomposition, and γ = σ, so that the model starts as the
    plain one, as the authors' code does (the paper's text starts at γ = 1).

    Raises:
        GradInitError: the model has no Transformer layers.
    """
    for linear in _linears(model):
        parts: Any = linear.parametrizations
        scale = parts.weight[0]
        u, sigma, v = torch.linalg.svd(parts.weight.original, full_matrices=False)
        scale.u.copy_(u[:, 0])
        scale.v.copy_(v[0])
        scale.gain.copy_(sigma[:1])


def fold(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with plain weights W·γ/(uᵀWv), exactly those used in eval mode."""
    folded = {k: v for k, v in state.items() if ".parametrizations." not in k}
    for key, original in state.items():
        module, is_original, _ = key.partition(ORIGINAL)
        if is_original:
            gain, u, v = (state[f"{module}{PART}.{name}"].float() for name in ("gain", "u", "v"))
            whole = original.float()
            folded[f"{module}weight"] = (whole * (gain / (u @ (whole @ v)))).to(original)
    return folded


def _linears(model: nn.Module) -> list[Any]:
    found: list[Any] = []
    for layer in all_layers(model):
        for attention in attentions(layer):
            found += [attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj]
        found += [layer.fc1, layer.fc2]
    return found
