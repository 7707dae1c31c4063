"""muon, adamw2, rotational, radam: against a textbook, and what each promises."""

import math

import numpy as np
import optim_references as reference
import pytest
import torch

from fairseq_gradinit.optim.adamw2 import AdamW2
from fairseq_gradinit.optim.muon import MuonWithAdamW
from fairseq_gradinit.optim.radam import FairseqRAdam, RAdamConfig
from fairseq_gradinit.optim.rotational import RotationalAdamW


def random_problem(shape, count=12, seed=0):
    rng = np.random.default_rng(seed)
    start, gradients = rng.normal(size=shape), rng.normal(size=(count, *shape))
    gradients[2] = 0  # a whole zero gradient
    gradients[:, -1] = 0  # a row that no batch hits
    return start, gradients


def run(p, optimizer, gradients):
    for gradient in gradients:
        p.grad = torch.as_tensor(gradient).clone()
        optimizer.step()
    return p.detach().numpy()


def parameter(values):
    return torch.nn.Parameter(torch.tensor(values, dtype=torch.float64))


SHAPES = [(9, 4), (6,)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tau", [0.01, 1e3])
def test_adamw2_equals_the_textbook(shape, tau, monkeypatch):
    for name in ("FIRST_ITERATIONS", "LATER_ITERATIONS"):
        monkeypatch.setattr(f"fairseq_gradinit.optim.spectral.{name}", 200)
    start, gradients = random_problem(shape)
    p = parameter(start)
    found = run(p, AdamW2([p], 0.02, (0.9, 0.98), 1e-8, 0.1, tau), gradients)
    expected = reference.adamw2(start, gradients, 0.02, tau, 0.1, (0.9, 0.98))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_adamw2_without_a_cap_is_torch_s_adamw():
    start, gradients = random_problem((9, 4))
    p, q = parameter(start), parameter(start)
    found = run(p, AdamW2([p], 0.02, (0.9, 0.98), 1e-8, 0.1, 1e9), gradients)
    expected = run(q, torch.optim.AdamW([q], 0.02, (0.9, 0.98), 1e-8, 0.1), gradients)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_adamw2_bounds_the_change_of_the_largest_singular_value():
    start, gradients = random_problem((32, 16))
    p = parameter(start)
    optimizer = AdamW2([p], 1.0, tau=0.02)
    for gradient in gradients:
        before = float(torch.linalg.matrix_norm(p, 2))
        run(p, optimizer, [gradient])
        # A quarter for one power iteration an update.
        assert abs(float(torch.linalg.matrix_norm(p, 2)) / before - 1) <= 0.02 * 1.25


@pytest.mark.parametrize("lr", [1e-4, 1e3])
def test_adamw2_steps_each_matrix_at_its_own_share(lr, monkeypatch):
    """σ(W_new − W) ≤ τ·σ(W) by matrix, with equality where lr asks for more; else AdamW's step."""
    for name in ("FIRST_ITERATIONS", "LATER_ITERATIONS"):
        monkeypatch.setattr(f"fairseq_gradinit.optim.spectral.{name}", 200)
    start, gradients = random_problem((24, 12))
    small, large = parameter(start), parameter(100 * start)
    optimizer = AdamW2([small, large], lr, (0.9, 0.98), tau=0.02)
    plain = torch.optim.AdamW([q := parameter(100 * start)], lr, (0.9, 0.98), weight_decay=0)
    for gradient in gradients:
        before = [p.detach().clone() for p in (small, large)]
        run(q, plain, [gradient])
        small.grad = torch.as_tensor(gradient)
        run(large, optimizer, [gradient])
        for p, old in zip((small, large), before):
            moved = torch.linalg.matrix_norm(p.detach() - old, 2)
            share = float(moved / torch.linalg.matrix_norm(old, 2)) / 0.02
            assert share == pytest.approx(1, rel=1e-3) if lr > 1 else share < 0.9
    if lr < 1:
        np.testing.assert_allclose(large.detach(), q.detach(), rtol=1e-12)


def test_adamw2_lets_a_zero_matrix_move():
    p = parameter(np.zeros((3, 3)))
    found = run(p, AdamW2([p], 0.1), [np.eye(3)])
    np.testing.assert_allclose(found, -0.1 * np.eye(3), rtol=1e-6)


@pytest.mark.parametrize("shape", [(9, 4)])
@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("average", [0.0, 0.9])
def test_rotational_equals_the_textbook(shape, center, average):
    start, gradients = random_problem(shape)
    start[0] = 0  # no direction
    p = parameter(start)
    optimizer = RotationalAdamW([p], 0.02, (0.9, 0.98), 1e-8, 0.1, average, center)
    options = {"average": average, "center": center, "betas": (0.9, 0.98)}
    expected = reference.rotational(start, gradients, 0.02, 0.1, **options)
    np.testing.assert_allclose(run(p, optimizer, gradients), expected, rtol=1e-5, atol=1e-12)


def test_rotational_turns_each_row_by_the_angle_and_keeps_its_length():
    """With no averaging; a step of length θ along the tangent turns by arctan θ."""
    start, gradients = random_problem((9, 4))
    p = parameter(start)
    optimizer = RotationalAdamW([p], 0.1, (0.9, 0.999), 1e-8, 0.5, average=0.0)
    angle = math.atan(math.sqrt(2 * 0.1 * 0.5 * 0.1 / 1.9))
    for gradient in gradients:
        before = p.detach().clone()
        run(p, optimizer, [gradient])
        cosine = torch.cosine_similarity(before, p.detach(), dim=1)
        assert cosine[:-1].acos().tolist() == pytest.approx([angle] * 8)
        assert cosine[-1] == pytest.approx(1)  # no gradient ever: no turn
        torch.testing.assert_close(p.norm(dim=1), before.norm(dim=1))


def test_rotational_leaves_gains_and_biases_to_adamw():
    start, gradients = random_problem((6,))
    p, q = parameter(start), parameter(start)
    found = run(p, RotationalAdamW([p], 0.02, (0.9, 0.98), 1e-8, 0.1), gradients)
    expected = run(q, torch.optim.AdamW([q], 0.02, (0.9, 0.98), 1e-8, 0.1), gradients)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_radam_equals_the_textbook(shape):
    start, gradients = random_problem(shape)
    p = parameter(start)
    config = RAdamConfig(adam_betas="(0.9, 0.98)", weight_decay=0.1, lr=[0.02])
    optimizer = FairseqRAdam(config, [p])
    expected = reference.radam(start, gradients, 0.02, 0.1, (0.9, 0.98))
    np.testing.assert_allclose(run(p, optimizer.optimizer, gradients), expected, rtol=1e-5)


def muon_of(matrix, gain):
    options = {"lr": 0.02, "weight_decay": 0.1}
    muon = {**options, "adjust_lr_fn": "match_rms_adamw"}
    return MuonWithAdamW([matrix], [gain], muon, {**options, "betas": (0.9, 0.98)})


def test_muon_is_torch_s_on_matrices_and_adamw_on_the_rest():
    start, gradients = random_problem((9, 4))
    matrix, gain = parameter(start), parameter(start[0])
    optimizer = muon_of(matrix, gain)
    for gradient in gradients:
        gain.grad = torch.as_tensor(gradient[0])
        run(matrix, optimizer, [gradient])
    alone, vector = parameter(start), parameter(start[0])
    options = {"lr": 0.02, "weight_decay": 0.1}
    expected = run(
        alone, torch.optim.Muon([alone], adjust_lr_fn="match_rms_adamw", **options), gradients
    )
    np.testing.assert_array_equal(matrix.detach(), expected)
    expected = run(
        vector, torch.optim.AdamW([vector], betas=(0.9, 0.98), **options), gradients[:, 0]
    )
    np.testing.assert_array_equal(gain.detach(), expected)


def test_muon_is_near_the_exact_orthogonalisation():
    """Its five iterations in bf16 leave singular values of 0.7 to 1.2."""
    start, gradients = random_problem((16, 8))
    p = parameter(start)
    optimizer = muon_of(p, parameter(np.ones(2)))
    change = run(p, optimizer, gradients[:1]) - start
    exact = reference.muon(start, gradients[:1], 0.02, 0.1) - start
    cosine = (change * exact).sum() / np.linalg.norm(change) / np.linalg.norm(exact)
    assert cosine > 0.97
    assert np.linalg.norm(change) / np.linalg.norm(exact) == pytest.approx(1, abs=0.25)


MAKE = {
    "adamw2": lambda a, b: AdamW2([{"params": [a]}, {"params": [b], "lr": 0.001}], 0.1),
    "rotational": lambda a, b: RotationalAdamW(
        [{"params": [a]}, {"params": [b], "lr": 0.001}], 0.1
    ),
    "radam": lambda a, b: torch.optim.RAdam([{"params": [a]}, {"params": [b], "lr": 0.001}], 0.1),
    "muon": muon_of,
}


def steps(parameters, optimizer, gradients):
    for gradient in gradients:
        for i, p in enumerate(parameters):
            p.grad = torch.as_tensor(gradient if p.dim() == 2 else gradient[i])
        optimizer.step()


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_resumes_to_the_bit_with_several_groups(make):
    start, gradients = random_problem((9, 4))
    straight = parameter(start), parameter(start[0])
    steps(straight, make(*straight), gradients)
    half = parameter(start), parameter(start[0])
    first = make(*half)
    steps(half, first, gradients[:5])
    resumed = [torch.nn.Parameter(p.detach().clone()) for p in half]
    second = make(*resumed)
    second.load_state_dict(first.state_dict())
    steps(resumed, second, gradients[5:])
    assert all(torch.equal(a, b) for a, b in zip(straight, resumed))
    assert second.param_groups[1]["lr"] == first.param_groups[1]["lr"]


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_a_zero_gradient_is_no_step(make):
    start = np.random.default_rng(0).normal(size=(9, 4))
    parameters = parameter(start), parameter(start[0])
    optimizer = make(*parameters)
    for group in optimizer.param_groups:
        # Rotational needs it for an angle, which has no direction here.
        group["weight_decay"] = 1e-30
    steps(parameters, optimizer, np.zeros((3, 9, 4)))
    np.testing.assert_allclose(parameters[0].detach(), start, rtol=1e-14)
    np.testing.assert_allclose(parameters[1].detach(), start[0], rtol=1e-14)
