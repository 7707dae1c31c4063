"""Small definitions on which much stands, each against its formula; a factor or a sign that went
would show."""

import pytest
import torch
from torch import nn
from toy_models import ToyTransformer, random_batches

from fairseq_gradinit.gradinit import GradInitError, Settings, learn_scales
from fairseq_gradinit.gradinit.blocks import Blocks
from fairseq_gradinit.gradinit.borrowed import borrowed
from fairseq_gradinit.gradinit.gradient import (
    RELATIVE_EPSILON,
    Parts,
    Steps,
    central_difference,
    gradient_of,
    loss_of,
    norm_derivative,
)
from fairseq_gradinit.gradinit.learn import default_optimizer
from fairseq_gradinit.gradinit.measures import COLLAPSED, Reading, token_spread
from fairseq_gradinit.gradinit.paper import FirstStep


@pytest.mark.parametrize("order, algorithm", [(1, "adam"), (2, "sgd")])
def test_the_central_difference_is_the_exact_derivative(order, algorithm):
    torch.manual_seed(0)
    # Smooth: across a kink the difference is no derivative.
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)).double()
    blocks, batch = Blocks(model), torch.randn(8, 4, dtype=torch.float64)
    settings = Settings.of("paper", algorithm=algorithm, constraint="exact")

    def loss_fn(batch):
        return (model(batch) - 1).pow(2).mean()

    _, gradient = gradient_of(loss_fn, blocks, batch)
    exact = norm_derivative(loss_fn, blocks, batch, gradient, settings)
    found = central_difference(loss_fn, blocks, batch, gradient, order)
    a, b = (torch.cat([t.flatten() for t in one if t is not None]) for one in (exact, found))
    assert float((a - b).norm() / a.norm()) < 1e-4


def test_the_shift_is_relative_to_weights_and_direction(monkeypatch):
    """rms(ε·v) = 10⁻³·rms(θ), whatever the size of v."""
    model = ToyTransformer(seed=1).eval()
    blocks, batch = Blocks(model), random_batches(1)[0]
    shifts = []
    shift = Blocks.shift
    monkeypatch.setattr(
        Blocks, "shift", lambda self, v, e: (shifts.append((v, e)), shift(self, v, e))
    )
    theta = torch.cat([p.detach().flatten() for p in model.parameters()])
    _, gradient = gradient_of(model, blocks, batch)
    central_difference(model, blocks, batch, gradient, 2)
    (v, epsilon), (_, back) = shifts
    direction = torch.cat([t.flatten() for t in v])
    assert float(direction.norm()) == pytest.approx(1)
    moved = epsilon * direction.pow(2).mean().sqrt() / theta.pow(2).mean().sqrt()
    assert float(moved) == pytest.approx(RELATIVE_EPSILON, rel=1e-6) and back == -2 * epsilon


@pytest.mark.parametrize("algorithm", ["adam", "sgd"])
def test_the_first_step_decays_weights_as_the_optimizer_does(algorithm):
    """Against torch's own first step: AdamW's decay is decoupled, SGD's is in the gradient."""
    settings = Settings.of("paper", algorithm=algorithm, eta=0.1, weight_decay=0.3)
    torch.manual_seed(0)
    start, gradient = torch.randn(5), torch.randn(5)
    kinds = {"adam": torch.optim.AdamW, "sgd": torch.optim.SGD}
    results = []
    for make in (
        lambda p: FirstStep(p, settings),
        lambda p: kinds[algorithm](p, lr=0.1, weight_decay=0.3),
    ):
        parameter = nn.Parameter(start.clone())
        parameter.grad = gradient.clone()
        make([parameter]).step()
        results.append(parameter.detach())
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("algorithm", ["adam", "sgd"])
def test_the_default_optimizer_has_the_weight_decay(algorithm):
    settings = Settings.of("multistep", algorithm=algorithm, weight_decay=0.3, eta=0.2)
    (group,) = default_optimizer(settings)([nn.Parameter(torch.ones(1))]).param_groups
    assert group["weight_decay"] == 0.3 and group["lr"] == 0.2


class Buffered(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.norm = nn.Linear(3, 3), nn.BatchNorm1d(3)
        self.register_buffer("scale", torch.tensor([1.5, 0.1, 3.0]))

    def forward(self, batch):
        return (self.norm(self.linear(batch.to(self.scale))) * self.scale).pow(2).mean()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_buffers_come_back_with_their_dtype_and_values(dtype):
    torch.manual_seed(0)
    model = Buffered().to(dtype).train()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with borrowed(model):
        assert model.scale.dtype is torch.float32
    settings = Settings.of("multistep", iters=2, lookahead=1, start="none")
    learn_scales(model, model, [torch.randn(4, 3) for _ in range(4)], settings)
    for name, buffer in model.named_buffers():
        assert buffer.dtype is before[name].dtype and torch.equal(buffer, before[name]), name


def test_the_threshold_of_collapse_lies_where_it_says():
    assert COLLAPSED == 0.02
    for spread, collapsed in ((0.0201, ()), (0.0199, ("encoder",)), (float("nan"), ("encoder",))):
        assert Reading(1.0, None, spread, 0.5).collapsed == collapsed


def test_token_spread_sees_a_small_difference_on_a_large_mean():
    """In single precision the sum of these squares would be rounding."""
    torch.manual_seed(0)
    states = (1000 + 0.01 * torch.randn(500, 8)).float()
    exact = states.numpy().astype("float64")
    apart = ((exact - exact.mean(0)) ** 2).sum() / (exact**2).sum()
    assert token_spread(states) == pytest.approx(apart, rel=1e-9, abs=0)


class PerRow(nn.Module):
    """A loss per row of (x, y); `gate` is of the rows with y > 0 alone."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.gate = nn.Linear(3, 1).double(), nn.Linear(3, 1).double()
        self.unused = nn.Parameter(torch.ones(2, dtype=torch.float64))

    def forward(self, batch):
        x, y = batch[:, :3], batch[:, 3:]
        losses = torch.tanh(self.linear(x)) - y
        if bool((y > 0).any()):
            losses = losses + torch.where(y > 0, self.gate(x), torch.zeros_like(y))
        return losses.pow(2).mean()


def in_parts(whole, sizes):
    rows = len(whole)
    return Parts(list(whole.split(sizes)), [size / rows for size in sizes])


@pytest.mark.parametrize("sizes", [[3, 5], [5, 2, 1], [8]])
def test_a_batch_in_parts_is_the_whole_batch(sizes):
    """Loss, gradient and the derivative of its norm; a parameter that one part does not use too."""
    torch.manual_seed(1)
    whole = torch.randn(8, 4, dtype=torch.float64)
    whole[:, 3] = torch.tensor([-1.0, -1, -1, 1, 1, 1, -1, 1])
    model = PerRow()
    blocks, parts = Blocks(model), in_parts(whole, sizes)
    settings = Settings.of("paper", algorithm="sgd", constraint="exact")
    found, expected = [], []
    for batch, into in ((parts, found), (whole, expected)):
        loss, gradient = gradient_of(model, blocks, batch)
        into += [loss, loss_of(model, batch), *gradient]
        into += norm_derivative(model, blocks, batch, gradient, settings)
        into += central_difference(model, blocks, batch, gradient, 2)
        blocks.write(torch.ones(len(blocks)))  # the difference leaves them shifted
    assert [one is None for one in found] == [one is None for one in expected]
    assert sum(one is None for one in expected) == 3  # `unused`: gradient and two derivatives
    for one, other in zip(found, expected):
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)


def test_a_gradient_of_nothing_is_refused():
    model = PerRow()
    with pytest.raises(GradInitError, match="does not depend on any parameter"):
        gradient_of(lambda batch: batch.sum(), Blocks(model), torch.ones(2, 4))
    with pytest.raises(GradInitError, match="does not depend on any parameter"):
        other = nn.Linear(4, 1)
        gradient_of(lambda batch: other(batch).sum(), Blocks(model), torch.ones(2, 4))


@pytest.mark.parametrize("order", [1, 2])
def test_a_gradient_of_zeros_has_a_derivative_of_zeros(order):
    model = nn.Linear(3, 1)
    zeros = [torch.zeros_like(p) for p in model.parameters()]
    found = central_difference(
        lambda b: model(b).sum(), Blocks(model), torch.ones(1, 3), zeros, order
    )
    assert all(torch.equal(one, zero) for one, zero in zip(found, zeros))


@pytest.mark.parametrize("clip, share", [(0.0, 1.0), (1.0, 1 / 5), (100.0, 1.0)])
def test_a_step_of_the_optimizer_is_clipped_as_in_training(clip, share):
    """‖g‖₂ = 5 here; SGD's step is rate·g."""
    model = nn.Linear(2, 1, bias=False)
    start = model.weight.detach().clone()
    blocks = Blocks(model)
    steps = Steps(blocks, lambda p: torch.optim.SGD(p, lr=9.0), clip, 0.5)
    steps.step([torch.tensor([[3.0, 4.0]])])
    torch.testing.assert_close(
        model.weight.detach(), start - 0.5 * share * torch.tensor([[3.0, 4.0]])
    )
    assert model.weight.grad is None


@pytest.mark.parametrize("algorithm, direction", [("adam", [1.0, -1, 0]), ("sgd", [0.6, -0.8, 0])])
def test_the_first_step_of_a_parameter_without_a_gradient_is_none(algorithm, direction):
    settings = Settings.of("paper", algorithm=algorithm, eta=0.1, normalize_gradient=True)
    moved, still = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(2))
    moved.grad = torch.tensor([3.0, -4.0, 0.0])
    FirstStep([moved, still], settings).step()
    torch.testing.assert_close(moved.detach(), 1 - 0.1 * torch.tensor(direction))
    assert torch.equal(still.detach(), torch.ones(2))
    moved.grad = torch.zeros(3)
    FirstStep([moved], settings).step()
    assert moved.isfinite().all(), "a gradient of zeros has no direction"
