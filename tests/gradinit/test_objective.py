"""The fast objective against the textbook, on random models."""

import pytest
import torch
from reference import Reference, adam_steps, gradient_step, momentum_steps, sign_step
from toy_models import ToyTransformer, random_batches

from fairseq_gradinit.gradinit import Blocks, Settings, learn_scales
from fairseq_gradinit.gradinit.learn import default_optimizer
from fairseq_gradinit.gradinit.objective import Objective

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


def learn_both(model_options, settings, reference, make_optimizer=None):
    """The branches and final scales of the package and of the reference."""
    per_iteration = settings.lookahead + 1
    batches = random_batches(settings.iters * per_iteration, seed=3)
    branches = []
    fast = learn_scales(
        model := ToyTransformer(seed=1, **model_options),
        model,
        batches,
        settings,
        make_optimizer,
        on_iteration=lambda record: branches.append(record.branch),
    )
    expected = [
        reference.iterate(batches[start : start + per_iteration])[0]
        for start in range(0, len(batches), per_iteration)
    ]
    scales = {block.name: scale for block, scale in zip(fast.blocks, fast.scales)}
    return (branches, scales), (expected, {n: a.item() for n, a in reference.alpha().items()})


@MODELS
@pytest.mark.parametrize("step", PAPER_STEPS)
@pytest.mark.parametrize("branches", ["constraint", "both", "lookahead"])
def test_paper_is_algorithm_1(model_options, step, branches):
    given, update, order = PAPER_STEPS[step]
    if branches == "both":  # halfway between the norms at hand
        model = ToyTransformer(seed=1, **model_options).eval()
        objective = Objective(Blocks(model), model, Settings.of("paper", **given), None)
        norms = [objective.norm(objective.gradient(b)[1]) for b in random_batches(24, seed=3)]
        gamma = float(torch.stack(norms[::2]).median()) * 1.001
    else:
        gamma = {"constraint": 1e-9, "lookahead": 1e9}[branches]
    settings = Settings.of("paper", iters=12, lr=0.01, eta=ETA, gamma=gamma, **given)
    reference = Reference(
        ToyTransformer(seed=1, **model_options), update, order=order, gamma=gamma, lower=0.0
    )
    (taken, scales), (expected, alpha) = learn_both(model_options, settings, reference)
    assert taken == expected
    assert set(taken) == ({"constraint", "lookahead"} if branches == "both" else {branches})
    assert scales == pytest.approx(alpha, rel=1e-6, abs=1e-9)


@MODELS
@pytest.mark.parametrize(
    "algorithm, eta, branches",
    [
        ("adam", 5e-3, [{"lookahead"}]),
        ("adam", 1.0, [{"constraint"}]),
        ("sgd", 1e-3, [{"lookahead"}]),
        ("sgd", 1.0, [{"constraint"}, {"lookahead", "constraint"}]),
    ],
)
def test_multistep_is_the_written_out_walk(model_options, algorithm, eta, branches):
    """Whether the walk descends (η small) or climbs; its steps are taken at m·η."""
    settings = Settings.of(
        "multistep", algorithm=algorithm, eta=eta, margin=1.5, lookahead=4, iters=5, max_change=9.0
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
    assert set(fast[0]) in branches
    assert fast[1] == pytest.approx(slow[1], rel=1e-6)


@MODELS
@pytest.mark.parametrize("preset", ["paper", "multistep"])
@pytest.mark.parametrize("branch", ["lookahead", "constraint"])
def test_scale_gradient_agrees_with_finite_differences(model_options, preset, branch):
    """∂/∂α_m against (f(α_m + h) − f(α_m − h)) / 2h with the look-ahead's steps held."""
    gamma = 1e-9 if branch == "constraint" else 1e9
    settings = Settings.of(preset, eta=ETA, gamma=gamma)
    batches = random_batches(settings.lookahead + 1, seed=5)
    model = ToyTransformer(seed=2, **model_options).eval()
    blocks = Blocks(model)
    objective = Objective(blocks, model, settings, default_optimizer(settings))
    ones = torch.ones(len(blocks), dtype=torch.float64)
    step = objective(ones, batches)
    assert step.branch == branch
    theta = [p.detach().clone() for p in blocks.parameters]
    if branch == "constraint":

        def f():
            return objective.norm(objective.gradient(batches[0])[1])

        shift = [torch.zeros_like(t) for t in theta]
    else:
        _, gradient = objective.gradient(batches[0])
        walked = walk_end(objective, blocks, gradient, batches)
        shift = [end - start for end, start in zip(walked, theta)]

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
        assert float(step.scale_gradient[m]) == pytest.approx(numeric, rel=2e-4, abs=1e-6), block


def walk_end(objective, blocks, gradient, batches):
    """The parameters where the look-ahead ends; θ is put back."""
    ends = []
    last = objective.gradient

    def spy(batch, create_graph=False):
        if batch is batches[-1]:
            ends.append([p.detach().clone() for p in blocks.parameters])
        return last(batch, create_graph)

    objective.gradient = spy
    objective.look_ahead(gradient, batches[1:])
    objective.gradient = last
    blocks.write(torch.ones(len(blocks), dtype=torch.float64))
    return ends[0]


@MODELS
@pytest.mark.parametrize("algorithm", ["adam", "sgd"])
def test_central_difference_agrees_with_double_backward(model_options, algorithm):
    batch = random_batches(1, seed=7)[0]
    gradients = {}
    for constraint in ("exact", "finite-difference"):
        model = ToyTransformer(seed=4, **model_options).eval()
        settings = Settings.of("paper", algorithm=algorithm, gamma=1e-9, constraint=constraint)
        blocks = Blocks(model)
        objective = Objective(blocks, model, settings, default_optimizer(settings))
        ones = torch.ones(len(blocks), dtype=torch.float64)
        gradients[constraint] = objective(ones, [batch, batch]).scale_gradient
    exact, approximate = gradients["exact"], gradients["finite-difference"]
    cosine = torch.nn.functional.cosine_similarity(exact, approximate, dim=0)
    # ReLU makes the loss piecewise smooth: a few kinks lie within ±ε.
    assert cosine > 0.995


@pytest.mark.parametrize("gamma", [1e-9, 1e9], ids=["constraint", "lookahead"])
@pytest.mark.parametrize("constraint", ["exact", "finite-difference"])
@pytest.mark.parametrize("preset", ["paper", "multistep"])
def test_parameters_are_bit_identical_after_an_iteration(gamma, constraint, preset):
    settings = Settings.of(preset, gamma=gamma, constraint=constraint)
    model = ToyTransformer(seed=1).float()
    blocks = Blocks(model)
    objective = Objective(blocks, model, settings, default_optimizer(settings))
    scales = torch.linspace(0.5, 1.5, len(blocks), dtype=torch.float64)
    blocks.write(scales)
    before = [p.detach().clone() for p in blocks.parameters]
    objective(scales, random_batches(settings.lookahead + 1))
    assert all(torch.equal(a, b) for a, b in zip(before, blocks.parameters))
    assert all(p.grad is None for p in blocks.parameters)


def test_tied_tensor_takes_the_step_everywhere_it_is_used():
    """The released code left the tied output projection un-stepped in the look-ahead."""
    settings = Settings.of("paper", gamma=1e9, eta=0.1)
    model = ToyTransformer(seed=1, tied=True).eval()
    blocks = Blocks(model)
    objective = Objective(blocks, model, settings, default_optimizer(settings))
    s, s_tilde = random_batches(2)
    step = objective(torch.ones(len(blocks), dtype=torch.float64), [s, s_tilde])
    by_hand = ToyTransformer(seed=1, tied=True).eval()
    gradients = torch.autograd.grad(by_hand(s), list(by_hand.parameters()))
    with torch.no_grad():
        for p, g in zip(by_hand.parameters(), gradients):
            p.sub_(0.1 * g.sign())
    assert by_hand.output.weight is by_hand.embedding.weight
    assert float(step.lookahead_loss) == pytest.approx(float(by_hand(s_tilde).detach()), rel=1e-9)


def test_clipping_of_the_run_is_in_the_walk():
    """With gradients clipped to nothing, the look-ahead stands still."""
    batches = random_batches(4)
    losses = {}
    for clip_norm in (0.0, 1e-12):
        settings = Settings.of(
            "multistep", algorithm="sgd", eta=0.1, lookahead=3, clip_norm=clip_norm
        )
        model = ToyTransformer(seed=1).eval()
        blocks = Blocks(model)
        objective = Objective(blocks, model, settings, default_optimizer(settings))
        ones = torch.ones(len(blocks), dtype=torch.float64)
        losses[clip_norm] = float(objective(ones, batches).lookahead_loss)
    standing = float(ToyTransformer(seed=1).eval()(batches[-1]).detach())
    assert losses[1e-12] == pytest.approx(standing, abs=1e-8)
    assert abs(losses[0.0] - standing) > 1e-3
