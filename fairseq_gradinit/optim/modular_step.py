"""The update rule of the modular norm, in plain torch.

Large et al. 2024 (arXiv 2405.14813), §4, and the released training loop (jxbz/modula c0dad80,
paper/main.py): moments, then every weight's update scaled to its own norm, then decay.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from .spectral import published_sigma, sigma_kept, start_vector

KINDS = ("matrix", "embedding", "tied", "vector")


class ModularOptimizer(torch.optim.Optimizer):
    """Momentum or Adam's ratio of moments, normalised in the modular norm.

    Update s = 0, 1, …: m += (1−β₁)^(s/(s+1))·(g − m), v likewise of g² with β₂; u = m/√v, or m if
    there is no β₂, with no ε and no bias correction; what is not finite becomes 0. Then, with
    t = lr·target and f = factor, u is scaled by kind:

    - matrix [out, in]: σ_max(u) = t·f·√(out/in); afterwards W ← (1 − lr·weight_decay·target)·W
    - embedding [rows, d]: each row to L2 norm t·row_norm; afterwards each row back to row_norm
    - tied [rows, d], a matrix and an embedding at once: each row by the smaller of the matrix's
      scaling (t = lr·matrix_target) and its own as an embedding; afterwards as an embedding. Ours
    - vector: RMS norm to t·f; no decay. Ours

    Rows and whole tensors that are zero stay zero, in updates and in weights.

    Args:
        params: groups with `kind` (one of KINDS), `target` > 0 and, as needed, `factor`
            (1), `row_norm` (1; None: each row's norm at the first update), `matrix_target`.
        lr: the step in the modular norm; 0.5 in the paper.
        beta1, beta2: 0.9, 0.99 in the paper; beta2 None for momentum alone.
        weight_decay: 0.01 in the paper.
        published: one power iteration at the first update too, u not normalised, no guard against
            a zero matrix (NaN), as released.
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        lr: float = 0.5,
        beta1: float = 0.9,
        beta2: float | None = 0.99,
        weight_decay: float = 0.01,
        published: bool = False,
    ) -> None:
        defaults = {
            **{"lr": lr, "beta1": beta1, "beta2": beta2, "weight_decay": weight_decay},
            **{"published": published, "kind": "matrix", "target": 1.0, "matrix_target": 1.0},
            **{"factor": 1.0, "row_norm": 1.0},
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._update(p, group)
        return loss

    def _update(self, p: Tensor, group: dict[str, Any]) -> None:
        state = self.state[p]
        if not state:
            self._start(p, group, state)
        update = _base_update(p.grad, state, group)  # type: ignore[arg-type]
        normalise(update, state, group)
        state["step"] += 1
        p.sub_(update)
        if group["kind"] == "matrix":
            p.mul_(1 - group["lr"] * group["weight_decay"] * group["target"])
        elif group["kind"] in ("embedding", "tied"):
            rows = p.norm(dim=1, keepdim=True)
            p.mul_(torch.where(rows > 0, state.get("row_norm", group["row_norm"]) / rows, 0.0))

    def _start(self, p: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        state["step"] = 0
        state["exp_avg"] = torch.zeros_like(p)
        if group["beta2"] is not None:
            state["exp_avg_sq"] = torch.zeros_like(p)
        if group["kind"] in ("matrix", "tied"):
            state["vector"] = start_vector(p)
        if group["row_norm"] is None:
            state["row_norm"] = p.norm(dim=1, keepdim=True)


def _base_update(grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
    power = state["step"] / (state["step"] + 1)
    average = state["exp_avg"]
    average.lerp_(grad, (1 - group["beta1"]) ** power)
    if group["beta2"] is None:
        return average.clone()
    square = state["exp_avg_sq"]
    square.lerp_(grad * grad, (1 - group["beta2"]) ** power)
    return (average / square.sqrt()).nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)


def normalise(update: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    """Scales `update` in place to what its group's kind and target and lr ask for."""
    _NORMALISE[group["kind"]](update, state, group)


def _matrix_scale(
    update: Tensor, state: dict[str, Any], group: dict[str, Any], target: float
) -> Tensor:
    """What brings the update of a matrix to its target: a scalar tensor, 0 for a zero update."""
    size = group["lr"] * target * group["factor"] * math.sqrt(update.shape[0] / update.shape[1])
    if group["published"]:
        return size / published_sigma(update, state["vector"])
    sigma = sigma_kept(update, state, "vector")
    return torch.where(sigma > 0, size / sigma, 0.0)


def _row_scale(update: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
    """[rows, 1], 0 for a zero row."""
    norms = update.norm(dim=1, keepdim=True)
    size = group["lr"] * group["target"] * state.get("row_norm", group["row_norm"])
    return torch.where(norms > 0, size / norms, 0.0)


def _matrix(update: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    update.mul_(_matrix_scale(update, state, group, group["target"]))


def _embedding(update: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    update.mul_(_row_scale(update, state, group))


def _tied(update: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    # No row is scaled by more than the matrix's scaling, so σ_max keeps its bound too.
    whole = _matrix_scale(update, state, group, group["matrix_target"])
    update.mul_(torch.minimum(_row_scale(update, state, group), whole))


def _vector(update: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    rms = update.square().mean().sqrt()
    size = group["lr"] * group["target"] * group["factor"]
    update.mul_(torch.where(rms > 0, size / rms, 0.0))


_NORMALISE = {"matrix": _matrix, "embedding": _embedding, "tied": _tied, "vector": _vector}
