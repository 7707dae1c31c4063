"""Effective gradient flow (Tessera et al. 2021, arXiv 2102.01670) and what goes beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class GradientFlow:
    """How much gradient arrives, over L layers that weigh alike whatever their size.

    With g_l the gradient of layer l and m_l its 0/1 mask (ones where nothing is masked):

    Attributes:
        egf_1, egf_2: EGF_p = (1/L)·Σ_l ‖g_l ⊙ m_l‖_p, the default reading of the definition.
        egf_1_per_active, egf_2_per_active: the same with each norm divided by the layer's number
            of active weights, another reading of "normalised by the active weights".
        egf_2_power_mean: the mean over layers of (mean over active weights of |g|²)^½, a third
            reading; for p = 1 it is `egf_1_per_active`.
        norms: ‖g_l ⊙ m_l‖₂ of each layer.
    """

    egf_1: float
    egf_2: float
    egf_1_per_active: float
    egf_2_per_active: float
    egf_2_power_mean: float
    norms: list[float]


@torch.no_grad()
def gradient_flow(
    gradients: Sequence[Tensor | None],
    masks: Sequence[Tensor | None] | None = None,
    factor: float | Tensor = 1.0,
) -> GradientFlow:
    """Effective gradient flow of the layers' gradients.

    Args:
        gradients: g_l of each layer, any shape and dtype; None for one that got no gradient,
            which counts as zero.
        masks: m_l of each layer, of its shape; None for one without a mask. By default none.
        factor: what every gradient is still to be multiplied by.

    Raises:
        ValueError: there is no layer, or a mask has no active weight.
    """
    if not gradients:
        raise ValueError("no layer has a gradient to measure")
    masks = [None] * len(gradients) if masks is None else masks
    active = _active(gradients, masks)
    masked = [g if m is None or g is None else g * m for g, m in zip(gradients, masks)]
    norms = {p: (p_norms(masked, p) * float(factor)).double() for p in (1, 2)}
    return GradientFlow(
        egf_1=float(norms[1].mean()),
        egf_2=float(norms[2].mean()),
        egf_1_per_active=float((norms[1] / active).mean()),
        egf_2_per_active=float((norms[2] / active).mean()),
        egf_2_power_mean=float((norms[2] / active.sqrt()).mean()),
        norms=norms[2].tolist(),
    )


@torch.no_grad()
def p_norms(tensors: Sequence[Tensor | None], p: int) -> Tensor:
    """‖·‖_p of each tensor, accumulated in 64 bit on the CPU. [tensors], on the CPU.

    None is zero.
    """
    norms = torch.zeros(len(tensors), dtype=torch.float64)
    groups: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for index, tensor in enumerate(tensors):
        if tensor is not None and tensor.numel() > 0:
            groups.setdefault((tensor.device, tensor.dtype), []).append(index)
    for (device, dtype), indices in groups.items():
        # torch's 32-bit sum on the CPU is off by 0.7 % at ten million numbers; a GPU's is a tree.
        least = torch.float64 if device.type == "cpu" else torch.float32
        wide = torch.promote_types(dtype, least)
        group = [tensor for tensor in (tensors[i] for i in indices) if tensor is not None]
        found = torch._foreach_norm(group, p, dtype=wide)
        norms[indices] = torch.stack(list(found)).double().cpu()
    return norms


@torch.no_grad()
def update_ratios(before: Sequence[Tensor], after: Sequence[Tensor]) -> list[float]:
    """‖θ' − θ‖₂ / ‖θ‖₂ of each tensor; NaN or infinite where ‖θ‖ is 0."""
    changes = torch._foreach_sub(list(after), list(before))
    return (p_norms(changes, 2) / p_norms(before, 2)).tolist()


def _active(gradients: Sequence[Tensor | None], masks: Sequence[Tensor | None]) -> Tensor:
    """Active weights of each layer; 1 for one without gradient, whose norm is 0 anyway."""
    counts = torch.tensor([1 if g is None else g.numel() for g in gradients], dtype=torch.float64)
    masked = [index for index, mask in enumerate(masks) if mask is not None]
    if masked:
        found = torch.stack([mask.sum() for mask in masks if mask is not None])
        counts[masked] = found.double().cpu()
    if bool((counts == 0).any()):
        raise ValueError("a layer's mask has no active weight")
    return counts
