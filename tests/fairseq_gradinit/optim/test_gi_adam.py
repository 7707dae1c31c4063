"""GI-Adam: the authors' numbers, its own warmup, and g₀ in the units of a training gradient."""

import math

import pytest
import torch
from fairseq.tasks import TASK_REGISTRY
from fairseq.tasks.translation import TranslationTask
from fairseq_runs import checkpoint, train
from optimizer_rows import ADAM_BETAS, Row
from torch import nn

from fairseq_gradinit.optim.gi_adam_step import GIAdam, second_moments

GI_ADAM = ["--optimizer=gi_adam", ADAM_BETAS, "--dropout=0"]

# The authors' optim_utils.adam_init (dayal-kalra/why-warmup 877d887) in float64: lr 0.02,
# betas 0.9 and 0.95, eps 1e-8; entries w00 w01 w10 w11 b0 b1.
WEIGHTS = [-1.79, -0.62, -1.171, 0.149, -0.531, 0.387]
G0 = [0.0, 0.0, -0.0355, 0.093, 0.1069, 0.06]
GRADIENTS = [
    [0.0885, 0.0, 0.0, 0.0265, -0.0425, 0.1174],
    [-0.0214, 0.0, 0.0, 0.0256, 0.0445, 0.06],
    [0.1055, -0.1363, 0.0, -0.0849, 0.0613, -0.1346],
]
PUBLISHED = [
    [-1.81, -0.62, -1.171, 0.1476954, -0.5291834, 0.3788096],
    [-1.819634, -0.62, -1.171, 0.1458634, -0.5293839, 0.3702889],
    [-1.834054, -0.6075355, -1.171, 0.1471351, -0.5312343, 0.369705],
]
PUBLISHED_V = [0.0009316959, 0.0009288845, 0.001080507, 0.007838656, 0.0101612, 0.004785355]


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_steps_as_the_authors_code(fused, dtype):
    def tensor(values):
        return torch.tensor(values, dtype=dtype)

    p = nn.Parameter(tensor(WEIGHTS))
    optimizer = GIAdam([p], lr=0.02, betas=(0.9, 0.95), fused=fused)
    optimizer.start_from(second_moments([tensor(G0)]))
    for gradient, expected in zip(GRADIENTS, PUBLISHED):
        p.grad = tensor(gradient)
        optimizer.step()
        torch.testing.assert_close(p.detach(), tensor(expected), rtol=1e-6, atol=1e-6)
    found = optimizer.state[p]["exp_avg_sq"]
    torch.testing.assert_close(found, tensor(PUBLISHED_V), rtol=1e-5, atol=0)


def test_fp64_stays_fp64():
    """Known values are in fp64, and an update is small beside its weight."""
    rng = torch.Generator().manual_seed(0)
    g0, *gradients = torch.randn(9, 50, generator=rng, dtype=torch.float64)
    p, m, v = nn.Parameter(torch.ones_like(g0)), torch.zeros_like(g0), g0**2
    optimizer = GIAdam([p], lr=1e-4, betas=(0.9, 0.98))
    optimizer.start_from(second_moments([g0]))
    for t, g in enumerate(gradients, start=1):
        m, v = 0.9 * m + 0.1 * g, 0.98 * v + 0.02 * g * g
        expected = 1e-4 * m / (1 - 0.9**t) / ((v / (1 - 0.98**t)).sqrt() + 1e-8)
        before, p.grad = p.detach().clone(), g
        optimizer.step()
        torch.testing.assert_close(before - p.detach(), expected, rtol=1e-9, atol=1e-15)


def test_a_constant_gradient_warms_up_by_itself():
    p = nn.Parameter(torch.zeros(3))
    optimizer = GIAdam([p], lr=1.0, betas=(0.9, 0.98))
    optimizer.start_from([torch.full((3,), 0.25)])
    for t in range(1, 11):
        before = p.detach().clone()
        p.grad = torch.full((3,), 0.5)
        optimizer.step()
        step = (before - p.detach()).tolist()
        assert step == pytest.approx([math.sqrt(1 - 0.98**t)] * 3, rel=1e-5)
    assert p.detach().tolist() == pytest.approx([-3.094] * 3, rel=1e-3)  # and not -10


def test_without_a_batch_apart_the_first_gradient_is_g0():
    gradient = torch.tensor([0.3, -2.0, 0.0])
    steps = []
    for given in (True, False):
        p = nn.Parameter(torch.ones(3))
        optimizer = GIAdam([p], lr=0.1, betas=(0.9, 0.98))
        if given:
            optimizer.start_from([gradient**2])
        p.grad = gradient.clone()
        optimizer.step()
        steps.append(p.detach())
    assert torch.equal(*steps)


def test_what_has_no_gradient_in_the_first_batch_begins_with_v0_of_0():
    """As Adam itself would, once it has one."""
    late, other = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    optimizer = GIAdam([late, other], lr=0.1, betas=(0.9, 0.98))
    other.grad = torch.ones(2)
    optimizer.step()
    assert not optimizer.state[late]["exp_avg_sq"].any()
    assert bool((optimizer.state[other]["exp_avg_sq"] > 0).all())


def test_zero_entries_are_published_or_the_mean_of_the_others():
    g = torch.tensor([[0.0, 0.0], [1.0, 3.0]])
    nothing = torch.zeros(2)
    published = second_moments([g, nothing])
    assert torch.equal(published[0], torch.tensor([[0.0, 0.0], [1.0, 9.0]]))
    mean = second_moments([g, nothing], zeros="mean")
    assert torch.equal(mean[0], torch.tensor([[5.0, 5.0], [1.0, 9.0]]))
    assert torch.equal(mean[1], nothing)


def test_random_has_the_norm_and_not_the_direction():
    generator = torch.Generator().manual_seed(1)
    g = [torch.randn(50, 4, generator=generator), 10 * torch.randn(20, generator=generator)]
    one, two = second_moments(g, random_seed=1), second_moments(g, random_seed=2)
    total = sum(float(v.sum()) for v in second_moments(g))
    for moments in (one, two):
        assert sum(float(v.sum()) for v in moments) == pytest.approx(total, rel=1e-5)
    assert not torch.allclose(one[0], two[0])
    assert not torch.allclose(one[1], g[1] ** 2)
    assert torch.equal(one[0], second_moments(g, random_seed=1)[0])


def v0(folder):
    """v₀ out of a checkpoint after one update: (v₁ − (1−β₂)·g₁²)/β₂ with g₁ = m₁/(1−β₁)."""
    state = checkpoint(folder)["last_optimizer_state"]["state"]
    return {
        at: (s["exp_avg_sq"] - 0.02 * (s["exp_avg"] / 0.1) ** 2) / 0.98 for at, s in state.items()
    }


def assert_same(found, expected, rtol=1e-3):
    for at, v in expected.items():
        scale = float(v.max())
        torch.testing.assert_close(found[at], v, rtol=rtol, atol=rtol * scale + 1e-12)


@pytest.fixture(scope="module")
def plain(trained):
    return v0(trained(*GI_ADAM))


def test_v0_is_the_squared_mean_gradient_of_its_own_batch(bench, trained, plain):
    run = bench(Row("gi_adam", lambda *_: None, (ADAM_BETAS,)))
    assert_same(plain, {at: g.float() ** 2 for at, g in enumerate(run.first.values())})


@pytest.mark.parametrize(
    "flags",
    [
        ["--fp16", "--fp16-no-flatten-grads", "--fp16-init-scale=4"],
        ["--memory-efficient-fp16", "--fp16-init-scale=4"],
    ],
    ids=["fp16", "memory-efficient-fp16"],
)
def test_v0_in_16_bits_is_unscaled(trained, plain, flags):
    found = v0(trained(*GI_ADAM, *flags))
    total = [sum(float(v.sum()) for v in moments.values()) for moments in (found, plain)]
    assert total[0] == pytest.approx(total[1], rel=0.02)  # a loss scale of 4 would be 16 times it


def test_v0_is_of_the_gradient_before_clipping(bench, plain):
    run = bench(Row("gi_adam", lambda *_: None, (ADAM_BETAS, "--clip-norm=1e-3")))
    found = [s["exp_avg_sq"] for s in run.trainer.optimizer.optimizer.state.values()]
    assert_same(dict(enumerate(found)), plain)


def test_several_batches_are_one_gradient(trained, plain):
    """Two batches of one micro-batch are one batch of two."""
    twice = v0(trained(*GI_ADAM, "--gi-adam-batches=2"))
    together = v0(trained(*GI_ADAM, "--update-freq=2"))
    assert_same(twice, together)
    assert sum(float(v.sum()) for v in twice.values()) < sum(float(v.sum()) for v in plain.values())


def test_a_task_without_the_hook_is_one_line(grammar, tmp_path, monkeypatch):
    monkeypatch.setitem(TASK_REGISTRY, "translation", TranslationTask)  # fairseq's own
    with pytest.raises(SystemExit, match=r"--optimizer gi_adam: .*--task translation") as caught:
        train(grammar, tmp_path, *GI_ADAM)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("flag", "named"),
    [
        ("--gi-adam-batches=0", "--gi-adam-batches: found 0"),
        ("--gi-adam-batches=100000", "--gi-adam-batches 100000"),
        ("--fp16-adam-stats", "--fp16-adam-stats"),
        ("--adam-betas=two", "--adam-betas: found two"),
        ("--adam-betas=(0.9, 1.0)", "--adam-betas: found"),
        ("--adam-eps=nan", "--adam-eps: found nan"),
        ("--weight-decay=-1", "--weight-decay: found -1"),
        ("--lr=-1", "--lr: found -1"),
    ],
)
def test_bad_flags_are_one_line(grammar, tmp_path, flag, named):
    with pytest.raises(SystemExit, match=named) as caught:
        train(grammar, tmp_path, *GI_ADAM, flag)
    assert "\n" not in str(caught.value)
