"""σ_max of a matrix by power iteration from a vector that is kept between updates."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

FIRST_ITERATIONS = 10  # one is up to 5 times too small on Adam's first step
LATER_ITERATIONS = 1


def start_vector(matrix: Tensor) -> Tensor:
    """A random [columns] vector, the same for all matrices of that width on every process; takes no
    number from the run's own random stream."""
    generator = torch.Generator().manual_seed(0)
    vector = torch.randn(matrix.shape[1], generator=generator, dtype=torch.float64)
    return vector.to(matrix)


def sigma_max(matrix: Tensor, vector: Tensor, iterations: int = LATER_ITERATIONS) -> Tensor:
    """An estimate of σ_max(matrix) from below, as a scalar tensor.

    Args:
        matrix: [rows, columns].
        vector: [columns], any but zero; becomes the unit vector along MᵀM·vector, so that the
            next call goes on from it. Left as it is where M·vector = 0; the estimate is then
            ‖M‖_F, which is 0 for a zero matrix and on the safe side for any other.
        iterations: ≥ 1.
    """
    estimate = matrix.new_zeros(())
    for _ in range(iterations):
        left = torch.mv(matrix, vector)
        norm = left.norm()
        right = torch.mv(matrix.t(), left / norm)
        # No branch on a tensor's value: that would wait for the device.
        found = right.norm()
        vector.copy_(torch.where(found > 0, right / found, vector))
        estimate = torch.where(found > 0, found, matrix.norm())
    return estimate


def sigma_kept(matrix: Tensor, state: dict[str, Any], name: str) -> Tensor:
    """σ_max(matrix) from the vector state[name], by ten iterations for the first matrix that is not
    zero and one for each later. A branch whose gradient is zero at first, as LayerDrop leaves it,
    starts as late as it moves.
    """
    begun = f"{name}_begun"
    if state.get(begun):
        return sigma_max(matrix, state[name], LATER_ITERATIONS)
    state[begun] = bool(matrix.any())  # waits for the device, but once
    return sigma_max(matrix, state[name], FIRST_ITERATIONS)


def published_sigma(matrix: Tensor, vector: Tensor) -> Tensor:
    """One power iteration as released with Large et al. 2024: no guard, NaN for a zero matrix."""
    left = torch.mv(matrix, vector)
    left /= left.norm()
    torch.mv(matrix.t(), left, out=vector)
    return vector.norm()
