"""The search for η_init: a bracket for any curve, and the numbers of a small example."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from fairseq_gradinit.catapult import find_catapult
from fairseq_gradinit.gradinit import GradInitError

WEIGHT = [[-0.468, -0.823, -0.065], [-0.713, 0.906, 0.766], [0.826, -1.324, -1.752]]
INPUTS = [[0.195, 0.34, -1.125], [1.498, 0.541, -1.283], [-0.311, 0.558, 0.693]]
INPUTS += [[-0.734, 0.414, -1.877]]
LABELS = [2, 1, 2, 2]


def test_softmax_example():
    """Numbers of a reference written from the paper's text; no code of it was released."""
    weight = torch.tensor(WEIGHT, dtype=torch.float64)
    inputs = torch.tensor(INPUTS, dtype=torch.float64)

    def loss(w):
        return functional.cross_entropy(inputs @ w.T, torch.tensor(LABELS))

    leaf = weight.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf), leaf)
    direction = gradient / (gradient.abs() + 1e-8)  # Adam's first step
    start = float(loss(weight))
    found = find_catapult(
        lambda eta: float(loss(weight - eta * direction)), start, cap=20.0, first=1e-3
    )
    assert start == pytest.approx(2.107847, rel=1e-6)
    expected = [(0.001 * 2**i, v) for i, v in ((0, 2.106017), (9, 1.267893), (12, 3.78598))]
    expected += [(3.072, 2.54852), (2.56, 1.962379), (2.816, 2.25041)]
    for eta, value in expected:
        nearest = min(found.tried, key=lambda pair: abs(pair[0] - eta))
        assert nearest == pytest.approx((eta, value), rel=1e-6)
    assert len(found.tried) == 16
    assert (found.lower, found.upper) == pytest.approx((2.56, 2.816))
    assert found.eta_init == found.upper and found.ended == "bracket"


@settings(max_examples=200, deadline=None)
@given(
    edge=st.floats(1e-7, 10.0),
    steepness=st.floats(0.2, 8.0),
    first=st.floats(1e-6, 1.0),
    tolerance=st.floats(0.01, 0.5),
    ripple=st.floats(0.0, 0.05),
)
def test_the_bracket_holds_wherever_doubling_starts(edge, steepness, first, tolerance, ripple):
    def value(eta):
        x = eta / edge
        return 1 - 0.5 * x * math.exp(-x) + x**steepness * 0.2 + ripple * math.sin(20 * x) * x

    found = find_catapult(value, 1.0, cap=100.0, first=first, tolerance=tolerance)
    if found.ended == "bracket":
        assert found.upper == found.eta_init
        assert 1.0 < value(found.upper) <= 1 + tolerance
        if found.lower is not None:
            assert value(found.lower) <= 1.0 and found.lower < found.upper
    else:
        assert found.ended == "cap" and value(100.0) <= 1.0


def test_a_loss_that_never_rises_ends_at_the_cap():
    found = find_catapult(lambda eta: 1 / (1 + eta), 1.0, cap=0.3, first=1e-4)
    assert (found.ended, found.eta_init, found.upper) == ("cap", 0.3, None)
    assert max(eta for eta, _ in found.tried) == 0.3


def test_the_first_rate_is_the_papers_or_the_cap():
    assert find_catapult(lambda eta: 1.0, 1.0, cap=1.0).tried[:2] == [(1e-4, 1.0), (2e-4, 1.0)]
    assert find_catapult(lambda eta: 1.0, 1.0, cap=1e-5).tried == [(1e-5, 1.0)]


def test_divergence_counts_as_risen():
    found = find_catapult(lambda eta: 0.9 if eta < 0.01 else math.nan, 1.0, cap=1.0)
    assert found.ended == "jump"
    assert found.eta_init < 0.01 and found.eta_init == pytest.approx(0.01)


def test_a_first_rate_that_is_too_high_is_lowered():
    found = find_catapult(lambda eta: 1 - eta + 1e6 * eta**2, 1.0, cap=1.0, first=0.5)
    assert found.ended == "bracket" and found.eta_init < 0.5
    assert 1 < 1 - found.eta_init + 1e6 * found.eta_init**2 <= 1.1


def test_a_loss_that_rises_at_every_rate_is_one_line():
    with pytest.raises(GradInitError, match="every learning rate") as caught:
        find_catapult(lambda eta: 2.0, 1.0, cap=1.0)
    assert "\n" not in str(caught.value)


def test_following_the_best_finds_the_far_side_of_the_optimum():
    def value(eta):
        return (math.log(eta / 0.01)) ** 2 + 1  # least at 0.01, far below the start

    found = find_catapult(value, math.inf, cap=10.0, first=1e-4, follow_best=True)
    assert found.reference < value(found.eta_init) <= 1.1 * found.reference
    assert 0.005 < found.eta_init < 0.02
