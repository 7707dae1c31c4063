"""Effective gradient flow against known values and against a textbook loop in float64."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fairseq_gradinit.probes.gradient_flow import gradient_flow, p_norms, update_ratios

# Two masked layers, mean cross-entropy of three examples: float64 autograd on the definition.
WEIGHTS = [
    [
        [0.157, 0.463, -0.406],
        [0.285, 0.327, -1.382],
        [0.193, -1.103, 1.098],
        [-0.507, 0.214, 0.815],
    ],
    [[0.085, -0.213, 0.405, 0.403], [-0.043, 0.354, -0.362, 0.474]],
]
BIASES = [[-0.525, -0.129, -0.224, 0.302], [0.142, 0.491]]
MASKS = [[[1, 1, 1], [0, 1, 0], [1, 0, 1], [1, 0, 0]], [[0, 0, 0, 0], [1, 0, 1, 1]]]
INPUTS = [[1.091, 1.066, 4.516], [-0.668, -0.408, 0.987], [0.801, 1.027, 0.033]]
TARGETS = [0, 0, 1]
KNOWN = {
    "egf_1": 0.4342682,
    "egf_2": 0.3328339,
    "egf_1_per_active": 0.1188497,
    "egf_2_per_active": 0.09306448,
    "egf_2_power_mean": 0.1734452,
}


def reference(gradients, masks, p):
    """Σ_l ‖g_l ⊙ m_l‖_p / L, element by element."""
    norms = []
    for gradient, mask in zip(gradients, masks):
        terms = [
            abs(g) ** p for g, m in zip(gradient.flatten().tolist(), mask.flatten().tolist()) if m
        ]
        norms.append(sum(terms) ** (1 / p))
    return sum(norms) / len(norms)


@pytest.fixture
def masked_gradients():
    masks = [torch.tensor(mask, dtype=torch.float64) for mask in MASKS]
    weights = [torch.tensor(w, dtype=torch.float64, requires_grad=True) for w in WEIGHTS]
    biases = [torch.tensor(b, dtype=torch.float64) for b in BIASES]
    hidden = torch.tensor(INPUTS, dtype=torch.float64)
    hidden = F.relu(F.linear(hidden, weights[0] * masks[0], biases[0]))
    logits = F.linear(hidden, weights[1] * masks[1], biases[1])
    loss = F.cross_entropy(logits, torch.tensor(TARGETS))
    return torch.autograd.grad(loss, weights), masks


def test_all_three_readings_have_the_known_values(masked_gradients):
    flow = gradient_flow(*masked_gradients)
    for name, value in KNOWN.items():
        assert getattr(flow, name) == pytest.approx(value, rel=2e-5), name
    assert flow.norms == pytest.approx([0.1877416, 0.4779262], rel=2e-5)


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_the_loop_on_random_layers(seed):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(3, 4), (7,), (2, 5, 3), (20, 20)]
    gradients = [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]
    masks = [torch.rand(s, generator=generator) < 0.5 for s in shapes]
    masks[0][0, 0] = masks[1][0] = True
    flow = gradient_flow([g / 3 for g in gradients], masks, factor=torch.tensor(3.0))
    assert flow.egf_1 == pytest.approx(reference(gradients, masks, 1), rel=1e-6)
    assert flow.egf_2 == pytest.approx(reference(gradients, masks, 2), rel=1e-6)


def test_without_masks_every_weight_is_active():
    gradients = [torch.randn(4, 3), torch.randn(5)]
    ones = [torch.ones_like(g) for g in gradients]
    assert gradient_flow(gradients) == gradient_flow(gradients, ones)


def test_layers_weigh_alike_whatever_their_size():
    small, large = torch.ones(1), torch.full((100, 100), 0.01)
    assert gradient_flow([small, large]).egf_2 == pytest.approx(1.0)
    assert gradient_flow([small, large]).egf_1 == pytest.approx((1 + 100) / 2)


def test_a_layer_without_gradient_counts_as_zero():
    gradient = torch.randn(3, 3)
    assert gradient_flow([gradient, None]).egf_2 == pytest.approx(
        gradient_flow([gradient]).egf_2 / 2
    )


def test_16_bit_gradients_do_not_overflow():
    large = torch.full((300, 300), 200.0, dtype=torch.float16)  # its square sum is beyond 65504
    assert gradient_flow([large], factor=1 / 128).egf_2 == pytest.approx(200 * 300 / 128, rel=1e-3)
    assert p_norms([large, large.bfloat16()], 1).tolist() == pytest.approx([1.8e7] * 2, rel=1e-2)


def test_a_large_layer_is_summed_exactly():
    gradient = torch.full((3_000_000,), 0.01)
    flow = gradient_flow([gradient])
    assert flow.egf_1 == pytest.approx(30_000, rel=1e-6)
    assert flow.egf_2 == pytest.approx(0.01 * 3_000_000**0.5, rel=1e-6)


def test_nothing_to_measure_is_refused():
    with pytest.raises(ValueError, match="no layer"):
        gradient_flow([])
    with pytest.raises(ValueError, match="no active weight"):
        gradient_flow([torch.ones(2)], [torch.zeros(2)])


def test_update_ratios_are_of_each_tensor():
    before = [torch.tensor([3.0, 4.0]), torch.zeros(2)]
    after = [torch.tensor([3.0, 4.5]), torch.ones(2)]
    ratios = update_ratios(before, after)
    assert ratios[0] == pytest.approx(0.1) and math.isinf(ratios[1])


def test_gradients_are_only_read():
    model = nn.Linear(3, 2)
    model(torch.ones(1, 3)).sum().backward()
    before = model.weight.grad.clone()
    gradient_flow([model.weight.grad], [torch.eye(2, 3)], factor=2.0)
    assert torch.equal(model.weight.grad, before)
