"""∂F/∂α without ∂F/∂W, against ⟨∂F/∂θ, θ⁰⟩ written out."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from toy_models import ToyTransformer, random_batches

from fairseq_gradinit.gradinit import Blocks, Settings
from fairseq_gradinit.gradinit.constraint import norm_by_scale
from fairseq_gradinit.gradinit.gradient import gradient_of, norm_of
from fairseq_gradinit.gradinit.products import derivative_by_scale


class Matrices(nn.Module):
    """Two layers with a matrix W between them that `used` takes in a way of its own."""

    def __init__(self, used, rows=None):
        super().__init__()
        torch.manual_seed(5)
        self.first, self.last = nn.Linear(6, 6), nn.Linear(6, 6, bias=False)
        self.w = nn.Parameter(torch.randn(6, 6))
        self.embedding = nn.Embedding(9, 6, padding_idx=1)
        self.used, self.rows = used, rows

    def forward(self, batch):
        x = torch.tanh(self.first(self.embedding(batch)))
        x = torch.tanh(self.used(x, self.w))
        x = self.last(x)
        out = F.linear(x, self.embedding.weight) if self.rows == "tied" else x
        return out.pow(2).mean()


USES = {
    "x Wᵀ": F.linear,
    "x W": lambda x, w: x @ w,
    "x W + c": lambda x, w: torch.addmm(x.flatten(0, 1), x.flatten(0, 1), w, beta=0.5, alpha=3.0),
    "W twice": lambda x, w: F.linear(torch.sin(F.linear(x, w)), w),
    "W on the left": lambda x, w: (w @ x.flatten(0, 1).t()).t(),
    "W W": lambda x, w: x @ (w @ w),
    "W in a sum too": lambda x, w: x @ w + w.sum(),
    "a part of W": lambda x, w: F.linear(x, w[:3]).repeat(1, 1, 2),
    "W by einsum": lambda x, w: torch.einsum("bti,io->bto", x, w),
}
BATCH = torch.tensor([[2, 3, 1], [4, 1, 1], [8, 2, 7]])


def both(loss_fn, model, order, batch=BATCH):
    """∂‖g‖/∂α as found and as written out, at random α."""
    blocks = Blocks(model.double())
    scales = torch.rand(len(blocks), dtype=torch.float64) + 0.5
    blocks.write(scales)
    norms = [norm_of(gradient_of(loss_fn, blocks, batch, True)[1], order) for _ in range(2)]
    found = derivative_by_scale(norms[0], blocks.parameters, blocks.theta0, scales)
    theta = torch.autograd.grad(norms[1], blocks.parameters, allow_unused=True)
    return found, blocks.dot(theta)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("rows", ["tied", None])
@pytest.mark.parametrize("used", USES.values(), ids=USES)
def test_equals_the_inner_products(used, rows, order):
    model = Matrices(used, rows)
    found, expected = both(model, model, order)
    assert expected.abs().min() > 0
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("frozen", [(), ("embedding",), ("embedding", "first"), ("last", "w")])
def test_equals_them_with_frozen_layers(frozen):
    """Where nothing before a product is trained, no derivative is handed on to A."""
    model = Matrices(F.linear)
    for name in frozen:
        getattr(model, name).requires_grad_(False)
    torch.testing.assert_close(*both(model, model, 1), rtol=1e-9, atol=1e-12)


def test_equals_them_without_biases_and_embeddings():
    """Every parameter is in products only; the first has to go the plain way."""
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(4, 4, bias=False) for _ in range(3)), nn.Tanh())
    batch = torch.randn(5, 4, dtype=torch.float64)
    torch.testing.assert_close(*both(lambda x: model(x).pow(2).mean(), model, 2, batch))


def test_padding_has_no_gradient():
    """torch leaves the row of the padding out of ∂L/∂W, whatever stands in it."""
    model = Matrices(F.linear)
    with torch.no_grad():
        model.embedding.weight[1] = 100.0
    torch.testing.assert_close(*both(model, model, 1), rtol=1e-9, atol=1e-12)


def test_a_norm_that_is_the_same_everywhere_has_no_derivative():
    model = nn.Linear(3, 1).double()
    blocks, x = Blocks(model), torch.randn(2, 3, dtype=torch.float64)
    settings = Settings.of("paper", gamma=1e-9)
    scales = torch.ones(2, dtype=torch.float64)
    _, gradient = gradient_of(lambda batch: model(batch).sum(), blocks, x)
    found = norm_by_scale(lambda batch: model(batch).sum(), blocks, x, gradient, scales, settings)
    assert torch.equal(found, torch.zeros_like(found))


class Counted(TorchDispatchMode):
    """How many matrix products run within."""

    products = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.products += function in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("tied", [False, True])
def test_spares_two_products_in_nine(tied):
    """A plain forward+backward takes three a linear layer, the plain way nine. The matrix of the
    cross-attention that is used in two parts is not spared."""
    model = ToyTransformer(seed=1, tied=tied).eval()
    blocks, batch = Blocks(model), random_batches(1)[0]
    one = torch.ones(len(blocks), dtype=torch.float64)
    with Counted() as pass_:
        gradient_of(model, blocks, batch)
    counts = []
    for short in (True, False):
        with Counted() as count, sdpa_kernel(SDPBackend.MATH):
            norm = norm_of(gradient_of(model, blocks, batch, True)[1], 1)
            if short:
                derivative_by_scale(norm, blocks.parameters, blocks.theta0, one)
            else:
                torch.autograd.grad(norm, blocks.parameters, allow_unused=True)
        counts.append(count.products)
    layers = pass_.products / 3
    assert counts[1] - counts[0] == 2 * (layers - 2)
