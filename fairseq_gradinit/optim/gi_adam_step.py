"""The step of GI-Adam in plain torch, and its v₀.

u_t = η·m̂_t/(√v̂_t + ε) with m₀ = 0, v₀ = g₀² and Adam's own bias corrections
m̂_t = m_t/(1 − β₁^t), v̂_t = v_t/(1 − β₂^t) (Kalra & Barkeshli 2024). With a constant gradient the
step is η·√(1 − β₂^t): a warmup of about 1/(1 − β₂) updates that no schedule has to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

ZEROS = ("published", "mean")


class GIAdam(torch.optim.Optimizer):
    """Adam with a given v₀ and decoupled weight decay; state and step in fp32, or in fp64 where the
    parameter is.

    A step before `start_from` takes the gradient of that step for g₀, as look-aheads do that have
    no batch apart.

    Args:
        params: parameters or groups of them.
        lr, betas, eps, weight_decay: of Adam; ε is added outside the root, after correction.
        fused: one kernel for all of a group; by default where all of it is fp32 on a GPU.
    """

    # For fairseq: 16-bit parameters are stepped through fp32, and the update is pointwise.
    supports_memory_efficient_fp16 = True
    supports_flat_params = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        fused: bool | None = None,
    ) -> None:
        self._fused = fused
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults)

    def start_from(self, moments: Sequence[Tensor]) -> None:
        """Sets t = 0, m₀ = 0 and v₀ = `moments`, one tensor per parameter in their order."""
        parameters = [p for group in self.param_groups for p in group["params"]]
        for p, moment in zip(parameters, moments, strict=True):
            self.state[p] = {
                "step": torch.zeros((), dtype=torch.float32),
                "exp_avg": torch.zeros_like(p, dtype=_precision(p)),
                "exp_avg_sq": moment.detach().to(p.device, _precision(p), copy=True),
            }

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update; a parameter without a gradient stays. Raises: RuntimeError: a sparse one."""
        if not self.state:
            parameters = [p for group in self.param_groups for p in group["params"]]
            self.start_from([_square(p) for p in parameters])
        for group in self.param_groups:
            self._step([p for p in group["params"] if p.grad is not None], group)

    def _step(self, stepped: list[nn.Parameter], group: dict[str, Any]) -> None:
        if any(p.grad is not None and p.grad.is_sparse for p in stepped):
            raise RuntimeError("GIAdam takes no sparse gradients; build the embedding without")
        weights = [p.to(_precision(p)) for p in stepped]  # the parameter itself but for 16 bits
        fused = all(w is p and p.is_cuda for w, p in zip(weights, stepped))
        if self._fused is not None:
            fused = self._fused
        for p in stepped:
            for name, value in self.state[p].items():
                # A checkpoint comes back on the CPU; only the fused kernel wants the count with it.
                device = p.device if fused or name != "step" else torch.device("cpu")
                dtype = torch.float32 if name == "step" else _precision(p)
                self.state[p][name] = value.to(device, dtype)
        states = [self.state[p] for p in stepped]
        adamw(
            weights,
            [p.grad.to(_precision(p)) for p in stepped if p.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=fused or None,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )
        for p, weight in zip(stepped, weights):
            if weight is not p:
                p.copy_(weight)


def second_moments(
    gradient: Sequence[Tensor], zeros: str = "published", random_seed: int | None = None
) -> list[Tensor]:
    """v₀ of each parameter from g₀.

    Args:
        gradient: g₀, one tensor per parameter.
        zeros: `published`: v₀ = 0 where g₀ = 0; `mean`: there the mean of g₀² over the tensor's
            other entries (0 if there are none).
        random_seed: with one, g₀ is first replaced by a random vector of the same norm over all
            parameters together.
    """
    if random_seed is not None:
        generator = torch.Generator().manual_seed(random_seed)
        noise = [torch.randn(g.shape, generator=generator).to(g) for g in gradient]
        scale = _norm(gradient) / _norm(noise)
        gradient = [scale * n for n in noise]
    squares = [g.to(_precision(g)).square() for g in gradient]
    if zeros == "mean":
        for square, g in zip(squares, gradient):
            others = int((g != 0).sum())
            if others:
                square[g == 0] = square.sum() / others
    return squares


def _norm(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack([t.to(_precision(t)).norm() for t in tensors]).norm()


def _square(p: nn.Parameter) -> Tensor:
    dtype = _precision(p)
    return torch.zeros_like(p, dtype=dtype) if p.grad is None else p.grad.to(dtype).square()


def _precision(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)
