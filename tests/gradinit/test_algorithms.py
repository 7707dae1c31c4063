"""paper.py and multistep.py against the textbook, on random models."""

import pytest
import torch
from reference import Reference, adam_steps, gradient_step, momentum_steps, sign_step
from toy_models import ToyTransformer, random_batches

from fairseq_gradinit.gradinit import Blocks, Search, Settings
from fairseq_gradinit.gradinit.gradient import gradient_of, norm_of
from fairseq_gradinit.gradinit.learn import default_optimizer
from fairseq_gradinit.gradinit.multistep import look_ahead, multistep
from fairseq_gradinit.gradinit.paper import paper
from fairseq_gradinit.gradinit.scales import Scales

START = {"paper": "none", "multistep": "fixed"}  # which the reference knows
ETA = 1e-3
MODELS = pytest.mark.parametrize(
    "model_options",
    [{"pre_ln": pre_ln, "tied": tied} for pre_ln in (False, True) for tied in (False, True)],
    ids=lambda o: f"{'pre' if o['pre_ln'] else 'post'}-ln-{'tied' if o['tied'] else 'untied'}",
)
# name: settings, the reference's step, its norm's order
PAPER_STEPS = {
    "adam": ({"algorithm": "adam"}, sign_step(ETA), 1),
    "adam-decay": ({"algorithm": "adam", "weight_decay": 0.1}, sign_step(ETA, 0.1), 1),
    "sgd": ({"algorithm": "sgd"}, gradient_step(ETA, False), 2),
    "sgd-normalised": (
        {"algorithm": "sgd", "normalize_gradient": True},
        gradient_step(ETA, True),
        2,
    ),
}


def written_out_start(name):
    if name.endswith(("out_proj.weight", "linear2.weight")):
        return 0.03
    encoder_matrices = ("encoder.self_attn.in_proj_weight", "encoder.linear1.weight")
    return 0.3 if name in encoder_matrices else 1.0


class Still(Scales):
    """Scales that keep the gradient they are given, and stay."""

    def step(self, gradient, kind):
        self.gradient = gradient


def one_iteration(model, batches, settings, scales=None):
    """Record, ∂/∂α and blocks of one iteration at `scales`, by default 1."""
    blocks = Blocks(model)
    start = torch.ones(len(blocks), dtype=torch.float64) if scales is None else scales
    blocks.write(start)
    still = Still(start, start, start, settings)
    algorithm = paper if settings.preset == "paper" else multistep
    optimizer = default_optimizer(settings)
    record = next(algorithm(blocks, still, model, iter(batches), settings, optimizer))
    return record, still.gradient, blocks


def norm(model, batch, settings):
    return norm_of(gradient_of(model, Blocks(model), batch)[1], settings.norm_order)


def learn_both(model_options, settings, reference, make_optimizer=None):
    """The kinds of step and the final scales of the package and of the reference."""
    per_iteration = settings.lookahead + 1
    batches = random_batches(settings.iters * per_iteration, seed=3)
    model = ToyTransformer(seed=1, **model_options)
    with Search(model, model, batches, settings, make_optimizer) as search:
        steps = [record.step for record in search]
    fast = search.learned
    expected = [
        reference.iterate(batches[start : start + per_iteration])[0]
        for start in range(0, len(batches), per_iteration)
    ]
    scales = {block.name: scale for block, scale in zip(fast.blocks, fast.scales)}
    return (steps, scales), (expected, {n: a.item() for n, a in reference.alpha().items()})


@MODELS
@pytest.mark.parametrize("step", PAPER_STEPS)
@pytest.mark.parametrize("kinds", ["lower_norm", "both", "lower_loss"])
def test_paper_is_algorithm_1(model_options, step, kinds):
    given, update, order = PAPER_STEPS[step]
    if kinds == "both":  # halfway between the norms at hand
        model = ToyTransformer(seed=1, **model_options).eval()
        paper_settings = Settings.of("paper", **given)
        norms = [norm(model, batch, paper_settings) for batch in random_batches(24, seed=3)]
        gamma = float(torch.stack(norms[::2]).median()) * 1.001
    else:
        gamma = {"lower_norm": 1e-9, "lower_loss": 1e9}[kinds]
    settings = Settings.of("paper", iters=12, lr=0.01, eta=ETA, gamma=gamma, **given)
    reference = Reference(
        ToyTransformer(seed=1, **model_options), update, order=order, gamma=gamma, lower=0.0
    )
    (taken, scales), (expected, alpha) = learn_both(model_options, settings, reference)
    assert taken == expected
    assert set(taken) == ({"lower_norm", "lower_loss"} if kinds == "both" else {kinds})
    assert scales == pytest.approx(alpha, rel=1e-6, abs=1e-9)


@MODELS
@pytest.mark.parametrize(
    "algorithm, eta, kinds",
    [
        ("adam", 5e-3, [{"lower_loss"}]),
        ("adam", 1.0, [{"lower_norm"}]),
        ("sgd", 1e-3, [{"lower_loss"}]),
        ("sgd", 1.0, [{"lower_norm"}, {"lower_loss", "lower_norm"}]),
    ],
)
def test_multistep_is_the_written_out_look_ahead(model_options, algorithm, eta, kinds):
    """Whether the look-ahead descends (η small) or climbs; its steps are taken at m·η."""
    settings = Settings.of(
        "multistep",
        start="fixed",
        algorithm=algorithm,
        eta=eta,
        lookahead_lr=1.5,
        lookahead=4,
        iters=5,
        max_change=9.0,
    )
    ahead = 1.5 * eta
    update = adam_steps(ahead, (0.9, 0.98)) if algorithm == "adam" else momentum_steps(ahead, 0.9)
    reference = Reference(
        ToyTransformer(seed=1, **model_options),
        update,
        steps=4,
        order=1 if algorithm == "adam" else 2,
        lr=0.1,
        log_space=True,
        upper=10.0,
        start=written_out_start,
        floor=lambda name: 1.0 if name == "embedding.weight" else 0.0,
    )
    make_optimizer = None
    if algorithm == "adam":  # the default decays no weights only if told so
        make_optimizer = default_optimizer(settings)
    fast, slow = learn_both(model_options, settings, reference, make_optimizer)
    assert fast[0] == slow[0]
    assert set(fast[0]) in kinds
    assert fast[1] == pytest.approx(slow[1], rel=1e-6)


@MODELS
@pytest.mark.parametrize("preset", ["paper", "multistep"])
@pytest.mark.parametrize("kind", ["lower_loss", "lower_norm"])
def test_scale_gradient_agrees_with_finite_differences(model_options, preset, kind):
    """∂/∂α_m against (f(α_m + h) − f(α_m − h)) / 2h with the look-ahead's steps held."""
    gamma = 1e-9 if kind == "lower_norm" else 1e9
    settings = Settings.of(preset, eta=ETA, gamma=gamma, start=START[preset], iters=1)
    batches = random_batches(settings.lookahead + 1, seed=5)
    model = ToyTransformer(seed=2, **model_options).eval()
    record, scale_gradient, blocks = one_iteration(model, batches, settings)
    assert record.step == kind
    theta = [p.detach().clone() for p in blocks.parameters]
    if kind == "lower_norm":
        shift = [torch.zeros_like(t) for t in theta]

        def f():
            return norm(model, batches[0], settings)
    else:
        first = gradient_of(model, blocks, batches[0])[1]
        look_ahead(blocks, model, first, batches[1:], settings, default_optimizer(settings))
        shift = [p.detach() - start for p, start in zip(blocks.parameters, theta)]

        def f():
            return model(batches[-1])

    h = 1e-5
    for m, block in enumerate(blocks.blocks):
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                for i, p in enumerate(blocks.parameters):
                    scale = 1 + sign * h * (i == m)
                    p.copy_(scale * blocks.theta0[i] + shift[i])
            values.append(float(f().detach()))
        numeric = (values[0] - values[1]) / (2 * h)
        assert float(scale_gradient[m]) == pytest.approx(numeric, rel=2e-4, abs=1e-6), block


@MODELS
@pytest.mark.parametrize("algorithm", ["adam", "sgd"])
def test_central_difference_agrees_with_double_backward(model_options, algorithm):
    batch = random_batches(1, seed=7)[0]
    gradients = {}
    for constraint in ("exact", "finite-difference"):
        model = ToyTransformer(seed=4, **model_options).eval()
        settings = Settings.of("paper", algorithm=algorithm, gamma=1e-9, constraint=constraint)
        _, gradients[constraint], _ = one_iteration(model, [batch, batch], settings)
    exact, approximate = gradients["exact"], gradients["finite-difference"]
    cosine = torch.nn.functional.cosine_similarity(exact, approximate, dim=0)
    # ReLU makes the loss piecewise smooth: a few kinks lie within ±ε.
    assert cosine > 0.995


@pytest.mark.parametrize("gamma", [1e-9, 1e9], ids=["lower-norm", "lower-loss"])
@pytest.mark.parametrize("constraint", ["exact", "finite-difference"])
@pytest.mark.parametrize("preset", ["paper", "multistep"])
def test_parameters_are_bit_identical_after_an_iteration(gamma, constraint, preset):
    settings = Settings.of(preset, gamma=gamma, constraint=constraint, start=START[preset], iters=1)
    model = ToyTransformer(seed=1).float()
    initial = [p.detach().clone() for p in model.parameters()]
    scales = torch.linspace(0.5, 1.5, len(initial), dtype=torch.float64)
    expected = [scale * p for scale, p in zip(scales.tolist(), initial)]
    _, _, blocks = one_iteration(model, random_batches(settings.lookahead + 1), settings, scales)
    assert all(torch.equal(a, b) for a, b in zip(expected, blocks.parameters))
    assert all(p.grad is None for p in blocks.parameters)


def test_tied_tensor_takes_the_step_everywhere_it_is_used():
    """The released code left the tied output projection un-stepped in the look-ahead."""
    settings = Settings.of("paper", gamma=1e9, eta=0.1)
    model = ToyTransformer(seed=1, tied=True).eval()
    s, s_tilde = random_batches(2)
    record, _, _ = one_iteration(model, [s, s_tilde], settings)
    by_hand = ToyTransformer(seed=1, tied=True).eval()
    gradients = torch.autograd.grad(by_hand(s), list(by_hand.parameters()))
    with torch.no_grad():
        for p, g in zip(by_hand.parameters(), gradients):
            p.sub_(0.1 * g.sign())
    assert by_hand.output.weight is by_hand.embedding.weight
    assert record.lookahead_loss == pytest.approx(float(by_hand(s_tilde).detach()), rel=1e-9)


def test_clipping_of_the_run_is_in_the_look_ahead():
    """With gradients clipped to nothing, the look-ahead stands still."""
    batches = random_batches(4)
    losses = {}
    for clip_norm in (0.0, 1e-12):
        settings = Settings.of(
            "multistep",
            start="fixed",
            algorithm="sgd",
            eta=0.1,
            iters=1,
            lookahead=3,
            clip_norm=clip_norm,
        )
        model = ToyTransformer(seed=1).eval()
        losses[clip_norm] = one_iteration(model, batches, settings)[0].lookahead_loss
    standing = float(ToyTransformer(seed=1).eval()(batches[-1]).detach())
    assert losses[1e-12] == pytest.approx(standing, abs=1e-8)
    assert abs(losses[0.0] - standing) > 1e-3
