"""GradInit by the book: slow, functional, differentiated by autograd through θ = α∘θ⁰.

Algorithm 1 of Zhu et al. 2021 (arXiv 2102.08098) and its multi-step extension, written from
the formulas and sharing nothing with the package.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

Weights = dict[str, Tensor]


class Reference:
    """Scales learned one textbook iteration at a time.

    update: (gradients so far, newest last, parameters) → the step u_k that is subtracted, per
    tensor; the optimizer written out as a formula.
    start: the scale that a tensor of this name starts from.
    """

    def __init__(
        self,
        model: nn.Module,
        update: Callable[[list[Weights], Weights], Weights],
        steps: int = 1,
        order: int = 1,
        gamma: float | None = None,
        lr: float = 0.01,
        betas: tuple[float, float] = (0.9, 0.98),
        log_space: bool = False,
        lower: float = 0.01,
        upper: float = 100.0,
        start: Callable[[str], float] = lambda name: 1.0,
        floor: Callable[[str], float] = lambda name: 0.0,
    ) -> None:
        self.model = model.eval()
        self.update, self.steps, self.order, self.gamma = update, steps, order, gamma
        self.theta0 = {name: p.detach().clone() for name, p in model.named_parameters()}
        self.log_space, self.lower, self.upper, self.floor = log_space, lower, upper, floor
        self.learned = {
            name: torch.tensor(
                math.log(start(name)) if log_space else start(name),
                dtype=torch.float64,
                requires_grad=True,
            )
            for name in self.theta0
        }
        # One Adam for each kind of step, as the released code has it.
        self.adams = {
            step: torch.optim.Adam(self.learned.values(), lr=lr, betas=betas)
            for step in ("lower_norm", "lower_loss")
        }

    def alpha(self) -> Weights:
        return {n: x.exp() if self.log_space else x for n, x in self.learned.items()}

    def loss(self, weights: Weights, batch: Any) -> Tensor:
        return functional_call(self.model, weights, (batch,))

    def iterate(self, batches: Sequence[Any]) -> tuple[str, Weights]:
        """One iteration; its kind of step and ∂/∂α."""
        with sdpa_kernel(SDPBackend.MATH):
            alpha = self.alpha()
            theta = {name: alpha[name] * self.theta0[name] for name in alpha}
            before = self.loss(theta, batches[-1])
            g = self.gradient(theta, batches[0], create_graph=True)
            norm = sum(x.abs().pow(self.order).sum() for x in g.values()) ** (1 / self.order)
            if self.gamma is not None and norm > self.gamma:
                step, objective = "lower_norm", norm
            else:
                step, gradients = "lower_loss", []
                for k in range(self.steps):
                    gradients.append(self.gradient(theta, batches[k], create_graph=False))
                    u = self.update(gradients, theta)
                    theta = {name: theta[name] - u[name].detach() for name in theta}
                objective = self.loss(theta, batches[-1])
                if self.gamma is None and not objective < before:  # the look-ahead climbs
                    step, objective = "lower_norm", norm
            by_alpha = dict(
                zip(alpha, torch.autograd.grad(objective, [*alpha.values()], retain_graph=True))
            )
            learned = torch.autograd.grad(objective, [*self.learned.values()])
        for x, gradient in zip(self.learned.values(), learned):
            x.grad = gradient
        self.adams[step].step()
        with torch.no_grad():
            for name, x in self.learned.items():
                lower = max(self.lower, self.floor(name))
                alpha_now = (x.exp() if self.log_space else x).clamp(lower, self.upper)
                x.copy_(alpha_now.log() if self.log_space else alpha_now)
        return step, by_alpha

    def gradient(self, theta: Weights, batch: Any, create_graph: bool) -> Weights:
        grads = torch.autograd.grad(
            self.loss(theta, batch), [*theta.values()], create_graph=create_graph, retain_graph=True
        )
        return dict(zip(theta, grads))


def sign_step(eta: float, decay: float = 0.0) -> Callable[[list[Weights], Weights], Weights]:
    """Adam's first step with decoupled weight decay."""
    return lambda gs, theta: {n: eta * (g.sign() + decay * theta[n]) for n, g in gs[-1].items()}


def gradient_step(eta: float, normalized: bool) -> Callable[[list[Weights], Weights], Weights]:
    """SGD's first step, or along the gradient over its norm."""

    def step(gradients: list[Weights], theta: Weights) -> Weights:
        g = gradients[-1]
        norm = torch.cat([x.flatten() for x in g.values()]).norm() if normalized else 1.0
        return {name: eta * x / norm for name, x in g.items()}

    return step


def weighted_sum(weights: list[float], tensors: list[Tensor]) -> Tensor:
    return torch.stack([w * t for w, t in zip(weights, tensors)]).sum(0)


def momentum_steps(eta: float, momentum: float) -> Callable[[list[Weights], Weights], Weights]:
    """SGD with momentum: u_k = η·Σ_j μ^(k−j) g_j."""

    def step(gradients: list[Weights], theta: Weights) -> Weights:
        weights = [momentum ** (len(gradients) - 1 - j) for j in range(len(gradients))]
        return {n: eta * weighted_sum(weights, [g[n] for g in gradients]) for n in theta}

    return step


def adam_steps(
    eta: float, betas: tuple[float, float], eps: float = 1e-8
) -> Callable[[list[Weights], Weights], Weights]:
    """Adam: u_k = η·m̂/(√v̂ + ε) with m, v as weighted sums over all gradients so far."""

    def average(gradients: list[Tensor], beta: float) -> Tensor:
        k = len(gradients)
        weights = [(1 - beta) * beta ** (k - 1 - j) for j in range(k)]
        return weighted_sum(weights, gradients) / (1 - beta**k)

    def step(gradients: list[Weights], theta: Weights) -> Weights:
        update = {}
        for name in theta:
            gs = [g[name] for g in gradients]
            second = average([g**2 for g in gs], betas[1])
            update[name] = eta * average(gs, betas[0]) / (second.sqrt() + eps)
        return update

    return step
