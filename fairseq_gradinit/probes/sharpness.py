"""Sharpness: curvature of the loss along a direction, and the top eigenvalue of its Hessian.

Preconditioned as in Kalra & Barkeshli 2024 (arXiv 2406.09405) and Cohen et al. 2022 (arXiv
2207.14484): the eigenvalues of P⁻¹H, P being what Adam divides its step by.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

Vector = list[Tensor]  # one tensor for each parameter
Operator = Callable[[Vector], Vector]


class Hessian:
    """v ↦ H·v of the loss at the parameters' present values, by double backward.

    The graph of the gradient is kept, so that each product is one backward pass.

    Args:
        loss_fn: gives the scalar loss; deterministic (no dropout).
        parameters: of H's rows and columns; one that the loss does not use has zeros there.
    """

    def __init__(self, loss_fn: Callable[[], Tensor], parameters: Sequence[Tensor]) -> None:
        self.parameters = list(parameters)
        # Fused attention has no second derivative, on the CPU either.
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            loss = loss_fn()
            found = torch.autograd.grad(loss, self.parameters, create_graph=True, allow_unused=True)
        self.gradient = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found)]

    def __call__(self, vector: Vector) -> Vector:
        """H·v."""
        slope = _dot(self.gradient, vector)
        if slope.grad_fn is None:  # the loss uses none of them
            return [torch.zeros_like(p) for p in self.parameters]
        found = torch.autograd.grad(slope, self.parameters, retain_graph=True, allow_unused=True)
        return [torch.zeros_like(p) if h is None else h for p, h in zip(self.parameters, found)]


def sharpness_along(hessian: Operator, direction: Vector) -> float:
    """dᵀHd / dᵀd, the loss's curvature along `direction`; one product. NaN where d is 0."""
    square = _dot(direction, direction)
    return float(_dot(direction, hessian(direction)) / square)


def top_eigenvalue(
    operator: Operator,
    start: Vector,
    iterations: int = 20,
    tolerance: float = 1e-2,
) -> float:
    """The largest (most positive) eigenvalue of a symmetric operator, by Lanczos.

    Three vectors at a time, without reorthogonalisation: that repeats eigenvalues found before
    but does not move the top one. Stops when an iteration changes it by less than `tolerance` of
    it, or after `iterations` products; what it gives is a lower bound that rises with each.

    Args:
        operator: v ↦ A·v with A symmetric.
        start: where the Krylov space starts; not 0, and not orthogonal to the eigenvector.
    """
    vector = _scaled(start, 1 / math.sqrt(float(_dot(start, start))))
    previous, beta = [torch.zeros_like(v) for v in vector], 0.0
    diagonal: list[float] = []
    off_diagonal: list[float] = []
    top = -math.inf
    for _ in range(iterations):
        image = operator(vector)
        alpha = float(_dot(image, vector))
        diagonal.append(alpha)
        last, top = top, _top_of_tridiagonal(diagonal, off_diagonal)
        if not math.isfinite(top) or abs(top - last) <= tolerance * abs(top):
            break
        image = [a - alpha * v - beta * p for a, v, p in zip(image, vector, previous)]
        beta = math.sqrt(float(_dot(image, image)))
        if beta <= 1e-7 * max(map(abs, diagonal)):  # the Krylov space is exhausted
            break
        off_diagonal.append(beta)
        previous, vector = vector, _scaled(image, 1 / beta)
    return top


def adam_preconditioner(
    second_moment: Tensor, step: int, betas: tuple[float, float], epsilon: float
) -> Tensor:
    """P_t = (√(v/(1 − β₂^(t+1))) + ε)·(1 − β₁^(t+1)), what Adam divides momentum times lr by.

    Args:
        second_moment: v as it stands before the step, any shape.
        step: t, the steps taken before; 0 at the first.
        betas: β₁, β₂.
        epsilon: ε, outside the root and after the correction, as in `torch.optim.Adam`.
    """
    beta1, beta2 = betas
    corrected = (second_moment / (1 - beta2 ** (step + 1))).sqrt()
    return (corrected + epsilon) * (1 - beta1 ** (step + 1))


def preconditioned(operator: Operator, preconditioner: Sequence[Tensor]) -> Operator:
    """P^(-½)·A·P^(-½), which has the eigenvalues of P⁻¹A and is symmetric. P is a diagonal."""
    roots = [p.rsqrt() for p in preconditioner]

    def apply(vector: Vector) -> Vector:
        image = operator([r * v for r, v in zip(roots, vector)])
        return [r * a for r, a in zip(roots, image)]

    return apply


def random_start(parameters: Sequence[Tensor], seed: int) -> Vector:
    """Normal noise of the parameters' shapes; leaves torch's random state as it is."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(p.shape, generator=generator).to(p.device, p.dtype) for p in parameters]


def _dot(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    return torch.stack([(x * y).sum() for x, y in zip(a, b)]).sum()


def _scaled(vector: Vector, factor: float) -> Vector:
    return [factor * v for v in vector]


def _top_of_tridiagonal(diagonal: list[float], off_diagonal: list[float]) -> float:
    if not all(map(math.isfinite, diagonal)):
        return math.nan
    matrix = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    if off_diagonal:
        beside = torch.tensor(off_diagonal, dtype=torch.float64)
        matrix += torch.diag(beside, 1) + torch.diag(beside, -1)
    return float(torch.linalg.eigvalsh(matrix)[-1])
