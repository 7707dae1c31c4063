"""Projected Adam on α: the authors' numbers, and the textbook formula on random gradients."""

import pytest
import torch

from fairseq_gradinit.gradinit import Settings
from fairseq_gradinit.gradinit.scales import Scales

# `RescaleAdam` of the authors' code (zhuchen03/gradinit 777c407, Transformer version), run in
# float64: a matrix and a bias, ∂L/∂θ of three steps, α after each. Scale lr 0.1, betas 0.9, 0.98.
THETA0 = [[0.885, -0.593, 1.046, 0.265], [-0.085, 0.235]]
GRADIENTS = [
    ("lower_loss", [[0.601, 0.266, -1.968, 1.473], [0.096, -0.449]]),
    ("lower_norm", [[-1.379, -0.945, 0.049, 0.944], [-1.317, 1.362]]),
    ("lower_norm", [[1.938, -1.055, -0.171, 1.352], [0.729, 1.357]]),
]
ALPHA = [[1.1, 1.1], [1.2, 1.0], [1.136057, 0.9041457]]


def scales(settings, lower=0.0, upper=100.0):
    ones = torch.ones(2, dtype=torch.float64)
    return Scales(ones, lower * ones, upper * ones, settings)


def test_authors_numbers():
    """Each kind of step has moments and a count of its own."""
    theta0, found = [torch.tensor(t, dtype=torch.float64) for t in THETA0], []
    alpha = scales(Settings.of("paper", lr=0.1))
    for kind, gradient in GRADIENTS:
        given = [torch.tensor(g, dtype=torch.float64) for g in gradient]
        alpha.step(torch.stack([g @ t for g, t in zip(given, theta0)]), kind)
        found.append(alpha.values.tolist())
    assert found == [pytest.approx(expected, rel=1e-6) for expected in ALPHA]


@pytest.mark.parametrize("log_space", [False, True])
def test_is_torchs_adam_then_clamped(log_space):
    """One kind of step alone, on random gradients."""
    alpha = scales(Settings.of("paper", lr=0.3, log_space=log_space), lower=0.7, upper=1.3)
    learned = torch.zeros(2, dtype=torch.float64) if log_space else alpha.values.clone()
    learned.requires_grad_()
    adam = torch.optim.Adam([learned], lr=0.3, betas=(0.9, 0.98))
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        gradient = torch.randn(2, generator=generator, dtype=torch.float64)
        learned.grad = gradient * alpha.values if log_space else gradient
        adam.step()
        with torch.no_grad():
            now = (learned.exp() if log_space else learned).clamp(0.7, 1.3)
            learned.copy_(now.log() if log_space else now)
        alpha.step(gradient, "lower_loss")
        assert alpha.values.tolist() == pytest.approx(now.tolist(), rel=1e-9)
