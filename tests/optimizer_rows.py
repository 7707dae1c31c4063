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

import torch
from torch import Tensor

Named = dict[str, Tensor]
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
    textbook: Callable[[Any, Named, list[Named], Named, float], None]
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


ADAM_BETAS = f"--adam-betas={BETAS}"
ROWS = [
    Row("gi_adam", gi_adam, (ADAM_BETAS,)),
]
