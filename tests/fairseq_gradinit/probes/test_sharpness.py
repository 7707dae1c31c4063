"""Sharpness against the whole Hessian in float64."""

import math

import pytest
import torch
from torch.nn.utils import parameters_to_vector as flat
from torch.nn.utils import vector_to_parameters
from toy_models import ToyTransformer, random_batches

from fairseq_gradinit.probes.sharpness import (
    Hessian,
    adam_preconditioner,
    preconditioned,
    random_start,
    sharpness_along,
    top_eigenvalue,
)


class Quartic:
    """A small loss with a Hessian that changes from place to place, of 3 + 6 numbers."""

    def __init__(self, seed):
        generator = torch.Generator().manual_seed(seed)
        shapes = [(3,), (2, 3)]
        draw = [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]
        self.parameters = [d.requires_grad_() for d in draw]
        self.mix = torch.randn(9, 9, generator=generator, dtype=torch.float64)

    def __call__(self):
        return self.of(torch.cat([p.flatten() for p in self.parameters]))

    def of(self, theta):
        return (self.mix @ theta).tanh().sum() + (theta**4).sum() - 2 * (theta**2).sum()

    def whole_hessian(self):
        theta = torch.cat([p.detach().flatten() for p in self.parameters])
        return torch.autograd.functional.hessian(self.of, theta)


@pytest.fixture(params=range(5))
def quartic(request):
    return Quartic(request.param)


def test_along_a_direction_agrees_with_the_whole_hessian(quartic):
    direction = random_start(quartic.parameters, seed=1)
    d = torch.cat([v.flatten() for v in direction])
    found = sharpness_along(Hessian(quartic, quartic.parameters), direction)
    assert found == pytest.approx(float(d @ quartic.whole_hessian() @ d / (d @ d)))


def test_length_of_the_direction_does_not_matter(quartic):
    hessian, direction = Hessian(quartic, quartic.parameters), random_start(quartic.parameters, 1)
    longer = [-7 * v for v in direction]
    assert sharpness_along(hessian, longer) == pytest.approx(sharpness_along(hessian, direction))


def test_top_eigenvalue_is_the_most_positive_one(quartic):
    eigenvalues = torch.linalg.eigvalsh(quartic.whole_hessian())
    hessian = Hessian(quartic, quartic.parameters)
    found = top_eigenvalue(hessian, random_start(quartic.parameters, 2), tolerance=0)
    assert found == pytest.approx(float(eigenvalues[-1]))


def test_top_eigenvalue_beside_a_larger_negative_one():
    diagonal = torch.tensor([-100.0, 1.0, 2.0, 5.0], dtype=torch.float64)
    start = [torch.ones(4, dtype=torch.float64)]
    assert top_eigenvalue(lambda v: [diagonal * v[0]], start) == pytest.approx(5.0)


def test_more_products_never_lower_it(quartic):
    hessian, start = Hessian(quartic, quartic.parameters), random_start(quartic.parameters, 3)
    found = [top_eigenvalue(hessian, start, iterations=n, tolerance=0) for n in range(1, 7)]
    assert found == sorted(found) and found[0] == pytest.approx(sharpness_along(hessian, start))


def test_lanczos_on_many_dimensions_in_32_bit():
    generator = torch.Generator().manual_seed(0)
    diagonal = torch.cat([torch.rand(2000, generator=generator), torch.tensor([8.0])])
    start = [torch.randn(2001, generator=generator)]
    found = top_eigenvalue(lambda v: [diagonal * v[0]], start, iterations=30)
    assert found == pytest.approx(8.0, rel=1e-2)


def test_preconditioned_has_the_eigenvalues_of_the_inverse_times_the_hessian(quartic):
    diagonal = torch.rand(9, dtype=torch.float64) + 0.1
    wanted = torch.linalg.eigvals(torch.diag(1 / diagonal) @ quartic.whole_hessian()).real.max()
    parts = [diagonal[:3], diagonal[3:].view(2, 3)]
    operator = preconditioned(Hessian(quartic, quartic.parameters), parts)
    found = top_eigenvalue(operator, random_start(quartic.parameters, 4), tolerance=0)
    assert found == pytest.approx(float(wanted))


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_adam_steps_by_lr_times_momentum_over_the_preconditioner(steps):
    """torch's Adam takes v after its step, with which P is what it divides by."""
    weight = torch.randn(5, dtype=torch.float64).requires_grad_()
    adam = torch.optim.Adam([weight], lr=0.1, betas=(0.8, 0.95), eps=1e-3)
    for _ in range(steps):
        before = weight.detach().clone()
        weight.grad = torch.randn(5, dtype=torch.float64)
        adam.step()
    state = adam.state[weight]
    divisor = adam_preconditioner(state["exp_avg_sq"], steps - 1, (0.8, 0.95), 1e-3)
    moved = before - weight.detach()
    assert torch.allclose(moved, 0.1 * state["exp_avg"] / divisor, rtol=1e-9)


def test_before_the_first_step_only_epsilon_is_left():
    found = adam_preconditioner(torch.zeros(2, dtype=torch.float64), 0, (0.9, 0.98), 1e-8)
    assert found.tolist() == pytest.approx([1e-9] * 2)


def test_a_loss_that_uses_only_some_parameters():
    used, unused = torch.ones(2, requires_grad=True), torch.ones(3, requires_grad=True)
    hessian = Hessian(lambda: (used**3).sum(), [used, unused])
    product = hessian([torch.ones(2), torch.ones(3)])
    assert product[0].tolist() == [6.0, 6.0] and product[1].tolist() == [0.0] * 3


def test_a_zero_direction_has_no_sharpness(quartic):
    zero = [torch.zeros_like(p) for p in quartic.parameters]
    assert math.isnan(sharpness_along(Hessian(quartic, quartic.parameters), zero))


def test_transformer_agrees_with_differences_of_its_gradient():
    model = ToyTransformer(seed=0).eval()
    batch = random_batches(1)[0]
    parameters = list(model.parameters())
    gradient = torch.autograd.grad(model(batch), parameters)
    found = sharpness_along(Hessian(lambda: model(batch), parameters), list(gradient))
    theta, direction = flat(parameters).detach(), flat(gradient)
    epsilon = 1e-5 / float(direction.norm())

    def slope(shift):
        vector_to_parameters(theta + shift * direction, parameters)
        return float(flat(torch.autograd.grad(model(batch), parameters)) @ direction)

    difference = (slope(epsilon) - slope(-epsilon)) / (2 * epsilon)
    assert found == pytest.approx(difference / float(direction @ direction), rel=1e-4)
