"""Every optimizer of the package, a line each, and the slow textbook that it is held against.

A textbook has its own formulas, in float64 and one tensor at a time, and shares no code with what
it checks. It gets

    model       the real fairseq model, for roles and shapes
    weights     {name: float64 tensor}, changed in place
    gradients   one {name: float64 tensor} per update
    first       {name: float64 tensor}, the mean gradient of the batch drawn before training
    lr          the learning rate, held constant
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import optim_references as reference
import torch
from torch import Tensor

Named = dict[str, Tensor]
Textbook = Callable[[Any, Named, list[Named], Named, float], None]
BETAS = (0.9, 0.98)  # of every row


@dataclass(frozen=True)
class Row:
    """One optimizer.

    Attributes:
        name: as --optimizer says it.
        textbook: see above.
        flags: more of fairseq-train.
        lr: of the tests.
        still: without a gradient a weight stays where it is (not so with decay).
        flat: may step fairseq's flat fp32 master (update by entry).
        memory_efficient: may step 16-bit parameters without masters.
        rtol: of the textbook, relative to the largest entry of a tensor.
    """

    name: str
    textbook: Textbook
    flags: tuple[str, ...] = ()
    lr: float = 0.01
    still: bool = True
    flat: bool = True
    memory_efficient: bool = True
    rtol: float = 1e-5

    @property
    def arguments(self) -> list[str]:
        """The flags that choose it."""
        return [f"--optimizer={self.name}", f"--lr={self.lr}", *self.flags]

    def __str__(self) -> str:
        return " ".join([self.name, *self.flags])


def gi_adam(model: Any, weights: Named, gradients: list[Named], first: Named, lr: float) -> None:
    """Kalra & Barkeshli 2024: Adam from m₀ = 0, v₀ = g₀²."""
    b1, b2 = BETAS
    for name, w in weights.items():
        m, v = torch.zeros_like(w), first[name] ** 2
        for t, g in enumerate((gradient[name] for gradient in gradients), start=1):
            m = b1 * m + (1 - b1) * g
            v = b2 * v + (1 - b2) * g * g
            w -= lr * (m / (1 - b1**t)) / ((v / (1 - b2**t)).sqrt() + 1e-8)


Array = reference.Array


def by_tensor(rule: Callable[[str, Array, list[Array], float], Array]) -> Textbook:
    """The textbook that applies a rule of numpy to each tensor."""

    def textbook(model: Any, weights: Named, gradients: list[Named], _: Named, lr: float) -> None:
        for name, w in weights.items():
            own = [gradient[name].numpy() for gradient in gradients]
            w.copy_(torch.from_numpy(rule(name, w.numpy(), own, lr)))

    return textbook


def power_iteration(w: Array) -> reference.PowerIteration:
    """From the vector that every matrix of this width starts from."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(w.shape[1], generator=generator, dtype=torch.float64)
    return reference.PowerIteration(start.numpy())


def modular(beta2: float | None) -> Textbook:
    """Large et al. 2024 for the tests' model: Post-LN, 2+2 layers, heads of 8, all embeddings tied.

    Masses are 1 + 5 + 1 + 5 + 1 = 13; an encoder layer has 6 matrices and 2 branches, a decoder
    layer 10 and 3, so each matrix has 5/13 · (branches per layer)/(matrices per layer) of the lr,
    and q, k, v three times that.
    """

    def rule(name: str, w: Array, gradients: list[Array], lr: float) -> Array:
        options: dict[str, Any] = {"beta2": beta2, "lr": lr}
        if "embed_tokens" in name:
            options |= {"kind": "tied", "target": 1 / 13, "matrix_target": 1 / 13}
            return reference.modular(w, gradients, norm_of=power_iteration(w), **options)
        encoder = name.startswith("encoder")
        target, branches = 5 / 13 * (2 / 6 if encoder else 3 / 10), 4 if encoder else 6
        factor = 1.0
        if "q_proj" in name or "k_proj" in name or "v_proj" in name:
            target, factor = 3 * target, 1 / 3 if "v_proj" in name else 8**-0.25 / 3
        elif "out_proj" in name or "fc2" in name:
            factor = 1 / (branches - 1)
        elif "fc1" in name:
            factor = 2**0.5
        options |= {"kind": "matrix" if w.ndim == 2 else "vector", "target": target}
        norm_of = power_iteration(w) if w.ndim == 2 else reference.spectral_norm
        return reference.modular(w, gradients, factor=factor, norm_of=norm_of, **options)

    return by_tensor(rule)


@by_tensor
def adamw2(name: str, w: Array, gradients: list[Array], lr: float) -> Array:
    """Qi et al. 2025 at τ = 0.01."""
    norms = (power_iteration(w), power_iteration(w)) if w.ndim == 2 else ()
    return reference.adamw2(w, gradients, lr, 0.01, 0.0, BETAS, norms_of=norms or (float, float))


@by_tensor
def rotational(name: str, w: Array, gradients: list[Array], lr: float) -> Array:
    """Kosson et al. 2024 with λ = 0.1; AdamW on gains and biases."""
    if w.ndim == 2:
        return reference.rotational(w, gradients, lr, 0.1, betas=BETAS)
    for u in reference.adam_steps(gradients, BETAS, 1e-8):
        w = w - lr * 0.1 * w - lr * u
    return w


@by_tensor
def radam(name: str, w: Array, gradients: list[Array], lr: float) -> Array:
    """Liu et al. 2020 as torch has it."""
    return reference.radam(w, gradients, lr, betas=BETAS)


@by_tensor
def muon(name: str, w: Array, gradients: list[Array], lr: float) -> Array:
    """Exact orthogonalisation for the layers' matrices (torch's is near it), Adam elsewhere."""
    if w.ndim == 2 and ".layers." in name:
        return reference.muon(w, gradients, lr, 0.0)
    for u in reference.adam_steps(gradients, BETAS, 1e-8):
        w = w - lr * u
    return w


@by_tensor
def schedule_free(name: str, w: Array, gradients: list[Array], lr: float) -> Array:
    """Defazio et al. 2024: the average of AdamW's points."""
    return reference.schedule_free_adamw(w, gradients, lr, BETAS)[0]


ADAM_BETAS = f"--adam-betas={BETAS}"
BY_MATRIX = {"flat": False, "memory_efficient": False}
ROWS = [
    Row("gi_adam", gi_adam, (ADAM_BETAS,)),
    # Rows are put back on their sphere and matrices decay, gradient or none.
    Row("modular_adam", modular(0.99), still=False, **BY_MATRIX),
    Row("modular_sgd", modular(None), still=False, **BY_MATRIX),
    # Five iterations in bf16: singular values of 0.7 to 1.2 where the textbook has 1.
    Row("muon", muon, (ADAM_BETAS,), rtol=0.2, **BY_MATRIX),
    Row("adamw2", adamw2, (ADAM_BETAS,), **BY_MATRIX),
    Row("rotational", rotational, (ADAM_BETAS, "--weight-decay=0.1"), still=False, **BY_MATRIX),
    Row("radam", radam, (ADAM_BETAS,), memory_efficient=False),
    Row(
        "schedule_free",
        schedule_free,
        (ADAM_BETAS, "--schedule-free-form=adamw"),
        memory_efficient=False,
    ),
]
