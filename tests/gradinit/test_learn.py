"""Properties of `learn_scales`: what it promises of the model, and what it refuses."""

import copy
import math
import random

import numpy as np
import pytest
import torch
from torch import nn
from toy_models import ToyTransformer, random_batches

from fairseq_gradinit.gradinit import Blocks, GradInitError, Search, Settings, learn_scales
from fairseq_gradinit.gradinit.scales import bounds, greatest_change, starting_scales

PRESETS = pytest.mark.parametrize("preset", ["paper", "multistep"])


def settings_of(preset, iters, **given):
    lookahead, start = (1, "none") if preset == "paper" else (3, "fixed")
    return Settings.of(preset, iters=iters, **{"lookahead": lookahead, "start": start, **given})


def learn(model, settings, seed=0):
    batches = random_batches(settings.iters * (settings.lookahead + 1), seed)
    return learn_scales(model, model, batches, settings)


def iterations(model, settings, seed=0):
    """The record of a whole search."""
    batches = random_batches(settings.iters * (settings.lookahead + 1), seed)
    with Search(model, model, batches, settings) as search:
        return list(search)


@PRESETS
def test_zero_iterations_are_the_start(preset):
    """Nothing is learned: from 1 everywhere that is the identity."""
    at_start = learn(ToyTransformer(seed=1), settings_of(preset, iters=0))
    settings = settings_of(preset, iters=0)
    expected = starting_scales(Blocks(ToyTransformer(seed=1)), settings).tolist()
    assert at_start.scales == expected and at_start.iterations == 0
    model = ToyTransformer(seed=1).float()
    before = copy.deepcopy(model.state_dict())
    learned = learn(model, settings_of(preset, iters=0, branch_scale=1.0, encoder_scale=1.0))
    assert set(learned.scales) == {1.0}
    assert learned.norms_before == learned.norms_after
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_branches_and_encoder_start_turned_down():
    model = ToyTransformer(seed=1)
    before = copy.deepcopy(model.state_dict())
    pinned = settings_of("multistep", iters=1, branch_scale=0.2, encoder_scale=0.5, max_change=1.0)
    learned = learn(model, pinned)
    for block, scale in zip(learned.blocks, learned.scales):
        torch.testing.assert_close(model.state_dict()[block.name], scale * before[block.name])
    scales = {block.name: scale for block, scale in zip(learned.blocks, learned.scales)}
    turned_down = {name for name, scale in scales.items() if scale == 0.2}
    assert turned_down == {
        f"{branch}.weight"
        for branch in (
            "encoder.self_attn.out_proj",
            "encoder.linear2",
            "decoder.self_attn.out_proj",
            "decoder.multihead_attn.out_proj",
            "decoder.linear2",
        )
    }
    others = {name for name, scale in scales.items() if scale == 0.5}
    assert others == {"encoder.self_attn.in_proj_weight", "encoder.linear1.weight"}
    assert set(scales.values()) == {0.2, 0.5, 1.0}


@PRESETS
@pytest.mark.parametrize("algorithm", ["adam", "sgd"])
def test_learned_scales_lower_what_they_are_meant_to(preset, algorithm):
    """The look-ahead loss on fresh batches falls."""
    eta = {"adam": 0.01, "sgd": 0.1}[algorithm]
    settings = settings_of(
        preset, 60, algorithm=algorithm, eta=eta, lr=0.02, gamma=1e6, max_change=3.0
    )
    losses = [record.lookahead_loss for record in iterations(ToyTransformer(seed=1), settings)]
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 0.05


@pytest.mark.parametrize(
    "preset, iters, share, given",
    [
        ("paper", 130, 0.12, {"lr": 0.01}),
        ("multistep", 100, 0.17, {"lr": 0.02, "max_change": 9.0}),
    ],
)
def test_the_bound_holds_the_norm_where_the_loss_alone_would_not(preset, iters, share, given):
    (first,) = iterations(ToyTransformer(seed=1), settings_of(preset, 1, start="none"))
    bound, ends = share * first.gradient_norm, {}
    for gamma in (bound, 1e9):
        settings = settings_of(preset, iters, start="none", gamma=gamma, **given)
        records = iterations(ToyTransformer(seed=1), settings)
        assert all((r.step == "lower_norm") == (r.gradient_norm > gamma) for r in records)
        ends[gamma] = np.mean([record.gradient_norm for record in records[-10:]])
    assert ends[bound] < 1.1 * bound and ends[1e9] > 1.3 * bound


def test_what_was_learned_is_told_as_it_is():
    """Norms by block, and which scales ended on a bound: some of them, not all."""
    model = ToyTransformer(seed=1)
    before = [float(p.detach().norm()) for p in Blocks(model).parameters]
    settings = settings_of("multistep", iters=4, lr=0.05, max_change=1.12, start="none")
    learned = learn(model, settings)
    assert learned.norms_before == pytest.approx(before)
    assert learned.norms_after == pytest.approx(
        [abs(scale) * norm for scale, norm in zip(learned.scales, before)], rel=1e-5
    )
    lower, upper = bounds(Blocks(model), torch.ones(len(before), dtype=torch.float64), settings)
    ends = [s in (low, high) for s, low, high in zip(learned.scales, *map(list, (lower, upper)))]
    assert learned.on_bound == ends and 0 < sum(ends) < len(ends)
    assert (learned.iterations, learned.stop_reason) == (4, "iterations")


@PRESETS
def test_everything_but_the_values_is_left_as_it_was(preset):
    model = ToyTransformer(seed=1)
    model.train()
    model.encoder.eval()  # a mixed mode must come back mixed
    modes = {name: module.training for name, module in model.named_modules()}
    identities = [id(p) for p in model.parameters()]
    for seed_all in (random.seed, np.random.seed, torch.manual_seed):
        seed_all(7)
    expected = random.random(), np.random.rand(), torch.rand(1)
    for seed_all in (random.seed, np.random.seed, torch.manual_seed):
        seed_all(7)

    def loss_fn(batch):  # draws from every generator
        return model(batch) + 0 * (random.random() + np.random.rand() + float(torch.rand(1)))

    settings = settings_of(preset, iters=2)
    learn_scales(model, loss_fn, random_batches(2 * (settings.lookahead + 1)), settings)
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert [id(p) for p in model.parameters()] == identities
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert (random.random(), np.random.rand(), torch.rand(1)) == expected


def test_dropout_is_off_while_learning():
    model = ToyTransformer(seed=1)
    seen = []

    def loss_fn(batch):
        seen.append(any(module.training for module in model.modules()))
        return model(batch)

    learn_scales(model.train(), loss_fn, random_batches(4), settings_of("paper", iters=2))
    assert seen and not any(seen)


@PRESETS
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sixteen_bit_model_is_learned_in_fp32_and_given_back(preset, dtype):
    model = ToyTransformer(seed=1).to(dtype)
    initial = {name: p.detach().clone() for name, p in model.named_parameters()}
    identities = [id(p) for p in model.parameters()]
    dtypes = set()

    def loss_fn(batch):
        dtypes.update(p.dtype for p in model.parameters())
        return model(batch)

    settings = settings_of(preset, iters=2)
    learned = learn_scales(model, loss_fn, random_batches(2 * (settings.lookahead + 1)), settings)
    assert dtypes == {torch.float32}
    assert {p.dtype for p in model.parameters()} == {dtype}
    assert [id(p) for p in model.parameters()] == identities
    for block, scale in zip(learned.blocks, learned.scales):
        value = dict(model.named_parameters())[block.name]
        assert torch.equal(value, (initial[block.name].float() * scale).to(dtype)), block.name


@PRESETS
def test_same_seed_same_scales(preset):
    settings = settings_of(preset, iters=4)
    runs = [learn(ToyTransformer(seed=1), settings).scales for _ in range(2)]
    assert runs[0] == runs[1]
    assert runs[0] != learn(ToyTransformer(seed=1), settings, seed=1).scales


@pytest.mark.parametrize("log_space", [False, True])
def test_bounds_hold(log_space):
    """A huge learning rate drives every scale against its bounds."""
    settings = settings_of(
        "paper",
        iters=12,
        lr=50.0,
        gamma=1e9,
        log_space=log_space,
        min_scale=0.25,
        max_scale=2.0,
        max_layernorm_scale=3.0,
        eta=1e-6,
    )
    learned = learn(ToyTransformer(seed=1), settings)
    by_kind = {}
    for block, scale in zip(learned.blocks, learned.scales):
        by_kind.setdefault(block.kind, []).append(scale)
    lowest_bias = 0.25 if log_space else 0.0
    assert all(lowest_bias <= s <= 2.0 for s in by_kind["bias"])
    assert all(0.25 <= s <= 3.0 for s in by_kind["layer_norm"])
    assert all(0.25 <= s <= 2.0 for s in by_kind["weight"] + by_kind["embedding"])
    reached = {s for scales in by_kind.values() for s in scales}
    assert reached >= {0.25, 2.0, 3.0, lowest_bias}


def test_scales_stay_near_where_they_start():
    settings = settings_of("multistep", iters=12, lr=5.0, eta=1e-3, max_change=1.5)
    model = ToyTransformer(seed=1)
    change = torch.tensor(learn(model, settings).scales) / starting_scales(Blocks(model), settings)
    assert change.min().item() == pytest.approx(1 / 1.5)
    assert change.max().item() == pytest.approx(1.5)


@pytest.mark.parametrize("branches", [0, 5, 30, 31, 60, 90])
@pytest.mark.parametrize("max_change", [1.0, 1.5, math.inf])
def test_greatest_change_shrinks_with_depth(branches, max_change):
    """All branches together may change by what 30 may; fewer than 30 by less."""
    model = nn.ModuleDict({"norm": nn.LayerNorm(4)})
    model.update({f"layer{i}": nn.ModuleDict({"fc2": nn.Linear(4, 4)}) for i in range(branches)})
    blocks = Blocks(model)
    settings = settings_of("multistep", 5, max_change=max_change)
    change = greatest_change(blocks, settings)
    assert change ** max(branches, 30) == pytest.approx(max_change**30)
    lower, upper = bounds(blocks, starting_scales(blocks, settings), settings)
    gain = [b.name for b in blocks.blocks].index("norm.weight")
    assert upper[gain].item() == pytest.approx(min(change, settings.max_layernorm_scale))
    assert lower[gain].item() == pytest.approx(max(1 / change, settings.min_scale))


def test_embeddings_do_not_shrink():
    """Bounded below by 1 with multistep, by the other scales' bound with the paper's."""
    for preset, given in (
        ("multistep", {"branch_scale": 1.0, "encoder_scale": 1.0}),
        ("paper", {}),
    ):
        settings = settings_of(preset, iters=12, lr=50.0, eta=1e-3, min_scale=0.25, **given)
        blocks = Blocks(ToyTransformer(seed=1))
        lower, _ = bounds(blocks, starting_scales(blocks, settings), settings)
        floors = {b.kind: x for b, x in zip(blocks.blocks, lower.tolist())}
        assert floors["embedding"] == (1.0 if preset == "multistep" else 0.25)
        assert floors["layer_norm"] == (1 / 1.2 if preset == "multistep" else 0.25)


def test_all_zero_tensor_is_left_alone():
    model = ToyTransformer(seed=1)
    learned = learn(model, settings_of("multistep", iters=5))
    scales = {block.name: scale for block, scale in zip(learned.blocks, learned.scales)}
    assert scales.pop("encoder.linear1.bias") == 1.0
    assert not model.encoder.linear1.bias.any()
    assert scales.pop("embedding.weight") >= 1.0
    assert 1.0 not in scales.values()


def test_parameter_the_loss_does_not_use_keeps_its_scale():
    model = ToyTransformer(seed=1)
    model.unused = nn.Parameter(torch.ones(3, dtype=torch.float64))
    for given in ({"gamma": 1e-9}, {"constraint": "finite-difference", "gamma": 1e-9}, {}):
        learned = learn(model, settings_of("multistep", iters=2, **given))
        scales = {block.name: scale for block, scale in zip(learned.blocks, learned.scales)}
        assert scales["unused"] == 1.0


def test_frozen_parameter_is_no_block():
    model = ToyTransformer(seed=1)
    model.embedding.weight.requires_grad_(False)
    learned = learn(model, settings_of("multistep", iters=1))
    assert "embedding.weight" not in {block.name for block in learned.blocks}


def test_each_of_k_batches_is_used_once_in_order():
    drawn = []
    model = ToyTransformer(seed=1)
    numbered = [(i, batch) for i, batch in enumerate(random_batches(8))]

    def loss_fn(numbered_batch):
        drawn.append(numbered_batch[0])
        return model(numbered_batch[1])

    learn_scales(model, loss_fn, numbered, settings_of("multistep", iters=2, gamma=1e9))
    assert drawn == list(range(8))


def explode(at, how):
    """A loss that goes wrong at its `at`-th call."""
    calls = []
    model = ToyTransformer(seed=1)

    def loss_fn(batch):
        calls.append(1)
        loss = model(batch)
        return how(model, loss) if len(calls) == at else loss

    return model, loss_fn


@pytest.mark.parametrize(
    "at, how, says",
    [
        (1, lambda m, loss: loss * math.nan, "loss is nan"),
        (5, lambda m, loss: loss * math.inf, "iteration 1"),
        (8, lambda m, loss: loss + math.nan, "loss after the look-ahead is nan"),
        (
            8,
            lambda m, loss: loss + 0 * torch.sqrt(0 * m.decoder.linear2.weight).sum(),
            "block decoder.linear2.weight",
        ),
    ],
)
def test_not_finite_is_named_and_weights_come_back(at, how, says):
    model, loss_fn = explode(at, how)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(GradInitError, match=says) as caught:
        settings = settings_of("multistep", iters=3, gamma=1e9)
        learn_scales(model, loss_fn, random_batches(12), settings)
    assert "\n" not in str(caught.value) and "`eta`" in str(caught.value)
    assert "iteration" in str(caught.value)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_look_ahead_that_overflows_lowers_the_gradient_norm():
    """At a learning rate beyond all reason every look-ahead climbs, which is no error."""
    settings = settings_of("multistep", iters=40, algorithm="sgd", eta=1e4, gamma=None)
    records = iterations(ToyTransformer(seed=1), settings)
    assert {record.step for record in records} == {"lower_norm"}
    norms = [record.gradient_norm for record in records]
    assert np.mean(norms[-5:]) < 0.8 * np.mean(norms[:5])


def test_model_without_parameters_is_refused():
    with pytest.raises(GradInitError, match="ReLU has no trainable floating-point parameter"):
        learn_scales(nn.ReLU(), lambda batch: batch, [], settings_of("paper", iters=1))


def test_too_few_batches_are_refused():
    with pytest.raises(GradInitError, match="ran out in iteration 1"):
        learn_scales(
            model := ToyTransformer(seed=1),
            model,
            iter(random_batches(3)),
            settings_of("paper", 2),
        )
    with pytest.raises(GradInitError, match="ran out in iteration 0"):
        learn_scales(model := ToyTransformer(seed=1), model, [], settings_of("paper", 2))


def test_batches_that_can_be_read_again_go_round():
    """A DataLoader is taken as it is: its second epoch is drawn when the first is through."""
    settings = settings_of("multistep", iters=3)
    batches = random_batches(5)
    loader = torch.utils.data.DataLoader(batches, batch_size=None)
    scales = [
        learn_scales(model := ToyTransformer(seed=1), model, supply, settings).scales
        for supply in (loader, batches, iter(batches + batches + batches))
    ]
    assert scales[0] == scales[1] == scales[2]


def test_a_search_can_be_watched_and_stopped():
    model = ToyTransformer(seed=1).train()
    before = copy.deepcopy(model.state_dict())
    with Search(model, model, random_batches(4), settings_of("multistep", iters=30)) as search:
        assert len(search) == 30
        for record in search:
            if record.iteration == 2:
                break
    learned = search.learned
    assert (learned.iterations, learned.stop_reason) == (3, "stopped")
    assert model.training
    for block, scale in zip(learned.blocks, learned.scales):
        torch.testing.assert_close(model.state_dict()[block.name], scale * before[block.name])
