"""Optimizers as their papers print them: one parameter, numpy, loops, exact singular values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]


def spectral_norm(matrix: Array) -> float:
    return float(np.linalg.svd(matrix, compute_uv=False)[0])


class PowerIteration:
    """σ_max from below: ten iterations at the first call, one at each later from where it was."""

    def __init__(self, start: Array) -> None:
        self.vector = start
        self.iterations = 10

    def __call__(self, matrix: Array) -> float:
        sigma = 0.0
        for _ in range(self.iterations):
            left = matrix @ self.vector
            if not left.any():
                return 0.0
            right = matrix.T @ (left / np.linalg.norm(left))
            sigma = float(np.linalg.norm(right))
            self.vector = right / sigma
        self.iterations = 1
        return sigma


def _row_norm(rows: Array, i: int) -> float:
    return math.sqrt(float((rows[i] ** 2).sum()))


def modular(
    w: Array,
    gradients: Iterable[Array],
    kind: str,
    lr: float,
    target: float,
    beta1: float = 0.9,
    beta2: float | None = 0.99,
    weight_decay: float = 0.01,
    factor: float = 1.0,
    row_norm: float | None = 1.0,
    matrix_target: float = 1.0,
    norm_of: Callable[[Array], float] = spectral_norm,
) -> Array:
    """Large et al. 2024, §4 and the released loop; exact norms unless `norm_of` is another."""
    w = w.copy()
    m, v = np.zeros_like(w), np.zeros_like(w)
    radius = [_row_norm(w, i) if row_norm is None else row_norm for i in range(len(w))]
    for s, g in enumerate(gradients):
        m = m + (1 - beta1) ** (s / (s + 1)) * (g - m)
        u = m.copy()
        if beta2 is not None:
            v = v + (1 - beta2) ** (s / (s + 1)) * (g * g - v)
            u = np.array(
                [a / math.sqrt(b) if b > 0 else 0.0 for a, b in zip(m.ravel(), v.ravel())]
            ).reshape(w.shape)
        if kind in ("matrix", "tied"):
            wanted = target if kind == "matrix" else matrix_target
            sigma = norm_of(u)
            whole = (
                lr * wanted * factor * math.sqrt(w.shape[0] / w.shape[1]) / sigma if sigma else 0
            )
        if kind == "matrix":
            u = whole * u
        elif kind == "vector":
            rms = math.sqrt(float((u**2).mean()))
            u = lr * target * factor / rms * u if rms else u
        else:
            for i in range(len(w)):
                norm = _row_norm(u, i)
                scale = lr * target * radius[i] / norm if norm else 0.0
                u[i] *= min(scale, whole) if kind == "tied" else scale
        w = w - u
        if kind == "matrix":
            w = w - lr * weight_decay * target * w
        elif kind in ("embedding", "tied"):
            for i in range(len(w)):
                norm = _row_norm(w, i)
                w[i] *= radius[i] / norm if norm else 0.0
    return w


def adam_steps(
    gradients: Iterable[Array], betas: tuple[float, float], eps: float
) -> Iterable[Array]:
    """m̂/(√v̂ + ε) of Kingma & Ba 2015, Algorithm 1, for each gradient."""
    m = v = np.zeros(1)
    for t, g in enumerate(gradients, start=1):
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        yield m / (1 - betas[0] ** t) / (np.sqrt(v / (1 - betas[1] ** t)) + eps)


def adamw2(
    w: Array,
    gradients: Iterable[Array],
    lr: float,
    tau: float,
    weight_decay: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    norms_of: tuple[Callable[[Array], float], ...] = (spectral_norm, spectral_norm),
) -> Array:
    """AdamW with lr ≤ τ·σ_max(W)/σ_max(u) for a matrix."""
    for u in adam_steps(gradients, betas, eps):
        size = lr
        weight, change = (norm(x) if w.ndim == 2 else 0.0 for norm, x in zip(norms_of, (w, u)))
        if weight > 0 and change > 0:
            size = min(lr, tau * weight / change)
        w = w - size * weight_decay * w - size * u
    return w


def rotational(
    w: Array,
    gradients: Iterable[Array],
    lr: float,
    weight_decay: float,
    average: float = 0.9,
    center: bool = False,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> Array:
    """Kosson et al. 2024, Algorithm 1 on AdamW, row by row."""
    angle = math.sqrt(2 * lr * weight_decay * (1 - betas[0]) / (1 + betas[0]))
    w = w.copy()
    norms = [_row_norm(w, i) for i in range(len(w))]
    if center:
        for i, norm in enumerate(norms):
            w[i] -= w[i].mean()
            w[i] *= norm / _row_norm(w, i) if norm else 0.0
    squares = [0.0] * len(w)
    for t, u in enumerate(adam_steps(gradients, betas, eps), start=1):
        for i, norm in enumerate(norms):
            d = u[i] - u[i].mean() if center else u[i].copy()
            if not norm:
                w[i] -= lr * d
                continue
            d -= (d @ w[i]) / norm**2 * w[i]
            squares[i] = average * squares[i] + (1 - average) * float(d @ d)
            length = math.sqrt(squares[i] / (1 - average**t))
            if length:
                w[i] -= angle * norm / length * d
            w[i] *= norm / _row_norm(w, i)
    return w


def radam(
    w: Array,
    gradients: Iterable[Array],
    lr: float,
    weight_decay: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> Array:
    """Liu et al. 2020, Algorithm 2, with decoupled decay; ε as torch adds it."""
    m, v = np.zeros_like(w), np.zeros_like(w)
    limit = 2 / (1 - betas[1]) - 1
    for t, g in enumerate(gradients, start=1):
        w = w - lr * weight_decay * w
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        rho = limit - 2 * t * betas[1] ** t / (1 - betas[1] ** t)
        step = m / (1 - betas[0] ** t)
        if rho > 5:
            r = math.sqrt((rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho))
            step = r * step * math.sqrt(1 - betas[1] ** t) / (np.sqrt(v) + eps)
        w = w - lr * step
    return w


def muon(
    w: Array, gradients: Iterable[Array], lr: float, weight_decay: float, momentum: float = 0.95
) -> Array:
    """Muon with Nesterov momentum, exact orthogonalisation UVᵀ and `match_rms_adamw`."""
    average = np.zeros_like(w)
    for g in gradients:
        average = momentum * average + (1 - momentum) * g
        left, _, right = np.linalg.svd(momentum * average + (1 - momentum) * g, full_matrices=False)
        w = w - lr * weight_decay * w - lr * 0.2 * math.sqrt(max(w.shape)) * left @ right
    return w


def schedule_free_adamw(
    w: Array,
    gradients: Iterable[Array],
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> tuple[Array, Array]:
    """Defazio et al. 2024, Algorithm 1 at a constant lr; x and y after the last gradient."""
    x, z, v = w, w, np.zeros_like(w)
    y = w
    for t, g in enumerate(gradients, start=1):
        v = betas[1] * v + (1 - betas[1]) * g**2
        z = z - lr * g / (np.sqrt(v / (1 - betas[1] ** t)) + eps)
        x = (1 - 1 / t) * x + z / t
        y = (1 - betas[0]) * z + betas[0] * x
    return x, y
