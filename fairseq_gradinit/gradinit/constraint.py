"""The constraint's side of both algorithms: ∂‖g‖_p/∂α."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .blocks import Blocks
from .gradient import Gradient, LossFn, gradient_of, norm_derivative, norm_of
from .products import derivative_by_scale
from .settings import Settings


def norm_by_scale(
    loss_fn: LossFn,
    blocks: Blocks,
    batch: Any,
    gradient: Gradient,
    scales: Tensor,
    settings: Settings,
) -> Tensor:
    """∂‖∇L(batch; α∘θ⁰)‖_p/∂α [blocks], as `settings.constraint` has it; the caller then writes θ
    afresh.

    Args:
        gradient: of the batch at θ; on its graph, or exact takes one more pass.
        scales: α, in force, [blocks].
    """
    shared = getattr(batch, "others", None) is not None  # their part of the graph is not here
    if settings.constraint != "exact" or shared:
        return blocks.dot(norm_derivative(loss_fn, blocks, batch, gradient, settings))
    if not any(g is not None and g.requires_grad for g in gradient):
        _, gradient = gradient_of(loss_fn, blocks, batch, create_graph=True)
    norm = norm_of(gradient, settings.norm_order)
    return derivative_by_scale(norm, blocks.parameters, blocks.theta0, scales)
