"""Fixed masks: as many active weights as the dense partner, with its weights, zero for good."""

import json
import math
import shutil

import pytest
import torch
from fairseq_runs import checkpoint, command, run, train, train_arguments
from torch import nn

from fairseq_gradinit.gradinit import GradInitError, Settings, learn_scales
from fairseq_gradinit.sparse import (
    check_masked,
    kept_masked,
    mask_fraction,
    mask_like,
    masked_layers,
    remask,
    summary,
)

# Widths 5, 4, 4, 3 dense and 5, 10, 10, 3 sparse: arithmetic of the rule.
KNOWN = [(20, 0.4, 0.4472136), (16, 0.16, 0.5), (12, 0.4, 0.5)]  # active, density, dense bound


def mlp(width, seed=0):
    torch.manual_seed(seed)
    layers = [nn.Linear(5, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, 3))


@pytest.fixture
def pair():
    wide, dense = mlp(10), mlp(4)
    mask_like(wide, dense, seed=1)
    return wide, dense


def test_active_weights_and_bounds_have_the_known_values(pair):
    for (layer, mask), (active, density, bound) in zip(masked_layers(pair[0]), KNOWN, strict=True):
        assert int(mask.sum()) == active and float(mask.float().mean()) == pytest.approx(density)
        largest = float(layer.weight.detach().abs().max())
        assert 0.8 * bound < largest <= bound


def test_active_weights_are_those_of_the_dense_model_and_the_rest_is_zero(pair):
    wide, dense = pair
    for (layer, mask), partner in zip(masked_layers(wide), (dense[0], dense[2], dense[4])):
        active = layer.weight[mask].detach().sort().values
        assert torch.equal(active, partner.weight.detach().flatten().sort().values)
        assert not bool(layer.weight[~mask].any())


def test_biases_are_the_models_own(pair):
    plain = mlp(10)
    assert torch.equal(pair[0][2].bias, plain[2].bias)


def test_the_seed_and_the_layer_make_the_mask():
    masks = {}
    for seed, start in ((1, 0), (1, 9), (2, 0)):
        model = mlp(10, start)
        mask_fraction(model, 0.5, seed)
        masks[seed, start] = [mask for _, mask in masked_layers(model)]
    assert all(map(torch.equal, masks[1, 0], masks[1, 9]))
    assert not any(map(torch.equal, masks[1, 0], masks[2, 0]))
    square = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    mask_fraction(square, 0.5, 1)
    assert not torch.equal(square[0].weight_mask, square[1].weight_mask)


@pytest.mark.parametrize("sparsity, active", [(0.0, 100), (0.25, 75), (0.994, 1), (0.999, 1)])
def test_sparsity_is_of_each_matrix_and_leaves_one_weight(sparsity, active):
    model = nn.Sequential(nn.Linear(10, 10))
    before = model[0].weight.detach().clone()
    mask_fraction(model, sparsity, seed=0)
    mask = model[0].weight_mask
    assert int(mask.sum()) == active
    assert torch.equal(model[0].weight.detach(), before * mask)


def test_state_dict_is_the_plain_models(pair):
    assert pair[0].state_dict().keys() == mlp(10).state_dict().keys()
    mlp(10).load_state_dict(pair[0].state_dict(), strict=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_gradient_of_a_masked_weight_is_zero(pair, dtype):
    wide = pair[0].to(dtype)  # after the masks were made, as fairseq does
    wide(torch.randn(7, 5, dtype=dtype)).square().sum().backward()
    loss = wide(torch.randn(7, 5, dtype=dtype)).square().sum()
    for layer, mask in masked_layers(wide):
        (pure,) = torch.autograd.grad(loss, layer.weight, retain_graph=True)
        assert layer.weight.grad.dtype == dtype
        assert not bool(layer.weight.grad[~mask].any()) and bool(layer.weight.grad[mask].any())
        assert not bool(pure[~mask].any())


def test_gradient_of_an_active_weight_is_what_it_was():
    wide = mlp(10)
    mask_fraction(wide, 0.5, seed=3)
    inputs = torch.randn(7, 5)
    wide(inputs).square().sum().backward()
    plain = mlp(10)
    plain.load_state_dict(wide.state_dict())
    plain(inputs).square().sum().backward()
    for (layer, mask), index in zip(masked_layers(wide), (0, 2, 4)):
        assert torch.equal(layer.weight.grad, plain[index].weight.grad * mask)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_an_elementwise_optimizer_never_moves_a_masked_weight(pair, decay):
    wide = pair[0]
    adam = torch.optim.AdamW(wide.parameters(), lr=0.1, weight_decay=decay)
    for _ in range(5):
        adam.zero_grad()
        wide(torch.randn(7, 5)).square().sum().backward()
        adam.step()
    for layer, mask in masked_layers(wide):
        assert not bool(layer.weight[~mask].any())
        assert not bool(adam.state[layer.weight]["exp_avg_sq"][~mask].any())


class Mixing(torch.optim.SGD):
    """Moves every entry of a matrix, as an optimizer that orthogonalises does."""

    def step(self, closure=None):
        super().step(closure)
        with torch.no_grad():
            for parameter in self.param_groups[0]["params"]:
                parameter.add_(0.01)


def test_remask_undoes_what_an_optimizer_put_into_masked_weights(pair):
    wide = pair[0]
    Mixing(wide.parameters(), lr=0.1).step()
    with pytest.raises(
        GradInitError, match=r"--sparse-like-width: .* outside the mask of 0 by seed"
    ):
        check_masked(wide, "--sparse-like-width", 1)
    remask(wide)
    check_masked(wide, "--sparse-like-width", 1)


@pytest.mark.parametrize("preset", ["multistep", "paper"])
@pytest.mark.parametrize("make_optimizer", [None, Mixing], ids=["elementwise", "mixing"])
def test_gradinit_and_its_look_ahead_leave_masked_weights_at_zero(pair, preset, make_optimizer):
    """Looked at whenever the loss is taken, so in the middle of the look-ahead too."""
    wide, seen = pair[0], []

    def loss_fn(batch):
        seen.append(
            sum(int((layer.weight[~mask] != 0).sum()) for layer, mask in masked_layers(wide))
        )
        return wide(batch).square().mean()

    settings = Settings.of(preset=preset, iters=3, eta=0.1, algorithm="sgd")
    before = [layer.weight.detach().clone() for layer, _ in masked_layers(wide)]
    optimizer = make_optimizer and (lambda parameters: make_optimizer(parameters, lr=0.1))
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(6, 5, generator=generator) for _ in range(200)]
    with kept_masked(wide):
        learned = learn_scales(wide, loss_fn, batches, settings, optimizer)
    assert len(seen) > 5 and not any(seen)
    check_masked(wide, "--sparsity", 0)
    scales = dict(zip((block.name for block in learned.blocks), learned.scales))
    for old, (layer, _) in zip(before, masked_layers(wide)):
        assert torch.allclose(layer.weight, scales[f"{layer.name}.weight"] * old)


def test_without_being_kept_masked_a_mixing_look_ahead_would_leave_the_masks(pair):
    """What the test above guards against does happen, so it can fail."""
    wide = pair[0]
    Mixing(wide.parameters(), lr=0.1).step()
    assert any(bool(layer.weight[~mask].any()) for layer, mask in masked_layers(wide))
    with kept_masked(wide):
        Mixing(wide.parameters(), lr=0.1).step()
    assert not any(bool(layer.weight[~mask].any()) for layer, mask in masked_layers(wide))


def test_what_is_not_masked_is_reported_apart():
    model = nn.Sequential(nn.Embedding(7, 4), nn.LayerNorm(4), nn.Linear(4, 4))
    mask_fraction(model, 0.5, seed=0)
    made = summary(model)
    assert made["active"] == 8 and made["of"] == 16 and list(made["layers"]) == ["2"]
    assert made["unmasked"] == {"embedding": 28, "layer_norm": 8, "bias": 4}


def test_another_architecture_is_no_partner():
    with pytest.raises(GradInitError, match="layer at one of the two widths only"):
        mask_like(mlp(10), mlp(4)[:3], seed=0)
    with pytest.raises(GradInitError, match="give a smaller width"):
        mask_like(mlp(4), mlp(10), seed=0)


# ---- in fairseq ----

SPARSE = "--sparse-like-width=8"


def matrices(save_dir, key="model"):
    state = checkpoint(save_dir)
    weights = state["extra_state"]["ema"] if key == "ema" else state[key]
    return {
        name: weight.float()
        for name, weight in weights.items()
        if weight.dim() == 2 and "embed" not in name and "output_projection" not in name
    }


def pair_at_start(grammar, folder, *flags):
    """The wide model of the default seed before it moves, and its dense partner."""
    narrow = [
        f"--{side}-{what}"
        for side in ("encoder", "decoder")
        for what in ("embed-dim=8", "ffn-embed-dim=16")
    ]
    found = {}
    for name, widths in {"sparse": [SPARSE], "dense": narrow}.items():
        train(grammar, folder / name, "--optimizer=sgd", "--lr=1e-30", *widths, *flags)
        found[name] = matrices(folder / name)
    return found


@pytest.fixture(scope="module")
def at_start(grammar, tmp_path_factory):
    return pair_at_start(grammar, tmp_path_factory.mktemp("pair"))


def test_the_pair_has_the_same_active_weights_layer_by_layer(at_start):
    assert at_start["sparse"].keys() == at_start["dense"].keys() and len(at_start["dense"]) == 32
    for name, weight in at_start["sparse"].items():
        dense = at_start["dense"][name].flatten()
        assert weight.numel() == 4 * dense.numel()
        assert torch.equal(weight[weight != 0].sort().values, dense.sort().values), name


@pytest.mark.parametrize("init", ["deepnorm", "sigma_reparam"])
def test_the_pair_starts_alike_with_another_init(grammar, tmp_path, init):
    """By the formula of --init at the dense model's width, not by fairseq's."""
    found = pair_at_start(grammar, tmp_path, f"--init={init}")
    for name, weight in found["sparse"].items():
        dense = found["dense"][name].flatten()
        assert torch.equal(weight[weight != 0].sort().values, dense.sort().values), name
    if init == "sigma_reparam":  # γ = σ(W) of the masked W, so that it starts as the plain model
        state = checkpoint(tmp_path / "sparse")["model"]
        for name, weight in found["sparse"].items():
            gain = state[name.replace("original", "0.gain")]
            assert float(gain) == pytest.approx(float(torch.linalg.matrix_norm(weight, 2)), 1e-4)


RUNS = {
    "adam": [],
    "sgd": ["--optimizer=sgd", "--lr=0.1"],
    "weight-decay": ["--weight-decay=0.1"],
    "bf16": ["common.bf16=true"],
    "fp16": ["--fp16", "--fp16-no-flatten-grads", "--weight-decay=0.1"],
    "memory-efficient-fp16": ["--memory-efficient-fp16"],
    "ema": ["--store-ema", "--ema-decay=0.5"],
    "update-freq": ["--update-freq=2", "--clip-norm=0.1"],
    "gradinit": [
        "--gradinit",
        "--gradinit-iters=2",
        "--gradinit-lookahead=2",
        "--gradinit-trial=2",
    ],
    "gradinit-bf16": [
        "--gradinit",
        "--gradinit-iters=1",
        "--gradinit-trial=0",
        "common.bf16=true",
    ],
}


@pytest.mark.parametrize("flags", RUNS.values(), ids=RUNS)
def test_masked_weights_stay_zero_and_the_active_ones_train(grammar, tmp_path, at_start, flags):
    train(grammar, tmp_path, SPARSE, "--max-update=3", *flags)
    for key in ("model", "ema") if "--store-ema" in flags else ("model",):
        for name, weight in matrices(tmp_path, key).items():
            start = at_start["sparse"][name]
            assert not bool(weight[start == 0].any()), name
            active = start != 0
            assert not torch.equal(weight[active], start[active]), name


def test_gradinit_gives_word_frequencies_to_a_masked_output_layer(grammar, tmp_path):
    """An output projection that is tied to no embedding is a layer, and so is masked."""
    flags = ["--sparsity=0.5", "--optimizer=sgd", "--lr=1e-30", "--gradinit"]
    arguments = train_arguments(grammar, tmp_path, *flags)
    run([flag for flag in arguments if flag != "--share-all-embeddings"])
    weight = checkpoint(tmp_path)["model"]["decoder.output_projection.weight"]
    assert int((weight == 0).sum()) == weight.numel() // 2


@pytest.fixture(scope="module")
def trained(grammar, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    train(grammar, folder, SPARSE, "--max-update=2", "--seed=4")
    return folder


def test_record_says_what_is_active_and_what_is_not_compared(trained):
    made = json.loads((trained / "gradinit" / "sparse.json").read_text())
    assert made["active"] * 4 == made["of"] and made["mask_seed"] == 4
    assert made["sparse_like_width"] == 8 and set(made["unmasked"]) == {
        "embedding",
        "layer_norm",
        "bias",
    }


def test_resumed_training_keeps_the_masks(grammar, trained, tmp_path):
    before = matrices(trained)
    flags = [f"--restore-file={trained / 'checkpoint_last.pt'}", "--max-update=4"]
    train(grammar, tmp_path, SPARSE, "--seed=4", *flags)
    for name, weight in matrices(tmp_path).items():
        assert torch.equal(weight == 0, before[name] == 0) and not torch.equal(weight, before[name])


@pytest.mark.parametrize("flags", [["--seed=5"], ["--seed=4", "--mask-seed=9"]])
def test_other_masks_than_the_checkpoints_are_refused_in_one_line(
    grammar, trained, tmp_path, flags
):
    restore = f"--restore-file={trained / 'checkpoint_last.pt'}"
    with pytest.raises(SystemExit) as stopped:
        train(grammar, tmp_path, SPARSE, restore, "--max-update=4", *flags)
    assert "--sparse-like-width: the loaded checkpoint has" in str(stopped.value)
    assert "--mask-seed" in str(stopped.value) and "\n" not in str(stopped.value)


def test_a_masked_training_does_not_go_on_without_its_masks(grammar, trained, tmp_path):
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    with pytest.raises(SystemExit) as stopped:
        train(grammar, tmp_path, "--max-update=4", "--seed=4")
    assert "the training there is masked" in str(stopped.value)
    assert "\n" not in str(stopped.value)


def test_checkpoint_decodes_under_stock_fairseq(grammar, trained):
    result = command(
        "generate",
        *(str(grammar), f"--path={trained / 'checkpoint_last.pt'}", "--task=translation"),
        *("--cpu", "--beam=1", "--max-tokens=300", "--max-len-b=5"),
        TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD="1",
    )
    assert result.returncode == 0, result.stderr[-500:]
    assert "Generate test" in result.stdout + result.stderr


@pytest.mark.parametrize(
    "flags, words",
    [
        ([SPARSE, "--sparsity=0.5"], "--sparsity: --sparse-like-width sets"),
        (["--sparsity=1"], "--sparsity: found 1"),
        (["--mask-seed=3"], "--mask-seed 3: nothing is masked"),
        (["--sparsity=-0.1"], "--sparsity: found -0.1"),
        (["--sparse-like-width=16"], "--sparse-like-width 16: give a width between 0 and"),
        (["--sparse-like-width=0"], "--sparse-like-width 0: give a width between 0 and"),
        (["--sparse-like-width=7"], "--encoder-attention-heads 2 does not divide"),
        (
            [SPARSE, "--decoder-ffn-embed-dim=33"],
            "--decoder-ffn-embed-dim 33 in proportion is 16.5",
        ),
    ],
)
def test_bad_flags_are_one_line(grammar, tmp_path, flags, words):
    with pytest.raises(SystemExit) as stopped:
        train(grammar, tmp_path, *flags)
    assert words in str(stopped.value) and "\n" not in str(stopped.value)


def test_initial_loss_is_that_of_no_broken_model(grammar, tmp_path):
    """Masked at another's fan-in the logits would be far from those of a fresh model."""
    train(grammar, tmp_path, SPARSE, "--gradient-flow-interval=1")
    record = json.loads((tmp_path / "gradinit" / "probes.jsonl").read_text().splitlines()[0])
    assert record["egf_2"] > 0 and all(map(math.isfinite, record["gradient_norm"].values()))
    active = json.loads((tmp_path / "gradinit" / "sparse.json").read_text())["layers"]
    ratio = record["egf_1"] / record["egf_1_per_active"]
    assert (
        min(a["active"] for a in active.values())
        < ratio
        < max(a["active"] for a in active.values())
    )
