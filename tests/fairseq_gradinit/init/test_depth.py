"""DeepNorm and T-Fixup: constants, and a first update that does not grow with depth."""

import math

import pytest
import torch
from torch.nn import functional as F

from fairseq_gradinit.gradinit import Blocks
from fairseq_gradinit.init import deepnorm, residual, tfixup

BRANCH_MATRICES = ("v_proj.weight", "out_proj.weight", "fc1.weight", "fc2.weight")


def first_update(model, sample, lr=1e-3):
    """‖Δ‖ of the decoder's output after one step of gradient descent on the branches' matrices,
    which the papers' theorems are about."""

    def features():
        return model(**sample["net_input"], features_only=True)[0]

    model.eval()
    before = features().detach()
    scores = model(**sample["net_input"])[0]
    F.cross_entropy(scores.flatten(0, 1), sample["target"].flatten()).backward()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(BRANCH_MATRICES):
                parameter.sub_(lr * parameter.grad)
        return float((features() - before).norm())


def growth(make, sample, depths=(2, 18), seeds=2):
    """How many times larger the first update is in the deeper model."""
    shallow, deep = (
        sum(first_update(make(depth, seed), sample) for seed in range(seeds)) for depth in depths
    )
    return deep / shallow


def test_deepnorms_first_update_is_bounded_in_depth(build, batch):
    """Wang et al. 2022, Theorem 4.2: ‖ΔF‖ = O(η) whatever the depth; Post-LN's grows."""
    assert growth(lambda d, s: build("deepnorm", (d, d), 32, seed=s), batch()) < 1.5
    assert growth(lambda d, s: build("xavier", (d, d), 32, seed=s), batch()) > 5


def test_tfixups_first_update_is_bounded_in_depth(build, batch):
    """Huang et al. 2020, the theorem that the factors come from; positions are not in it."""

    def make(name, depth, seed):
        flags = {"no_token_positional_embeddings": True}
        model = build(name, (depth, depth), 32, seed=seed, **flags)
        if name == "xavier":
            residual.remove_layer_norms(model)
        return model

    assert growth(lambda d, s: make("tfixup", d, s), batch()) < 1.5
    assert growth(lambda d, s: make("xavier", d, s), batch(), depths=(2, 4)) > 5


def test_deepnorms_constants():
    """Known values of 3 + 3 layers, from the paper's and torchscale's code."""
    of_side = deepnorm.constants({"encoder": 3, "decoder": 3})
    assert of_side["encoder"].alpha == pytest.approx(1.141788, rel=2e-6)
    assert of_side["encoder"].beta == pytest.approx(0.61719, rel=2e-6)
    assert of_side["decoder"].alpha == pytest.approx(1.732051, rel=2e-6)
    assert of_side["decoder"].beta == pytest.approx(0.4082483, rel=2e-6)
    torchscale = deepnorm.constants({"encoder": 3, "decoder": 3}, deepnorm.TORCHSCALE)
    assert torchscale["encoder"].beta == pytest.approx(0.8158258, rel=2e-6)
    assert torchscale["decoder"] == of_side["decoder"]
    alone = deepnorm.constants({"decoder": 8})["decoder"]
    assert (alone.alpha, alone.beta) == pytest.approx((2.0, 64**-0.25))


@pytest.mark.parametrize("beta", ["paper", "torchscale"])
def test_deepnorms_spread(build, beta):
    """Xavier normal, × β on v, out_proj, fc1 and fc2, × 1 on q and k; biases of fc and out 0."""
    model = build("deepnorm", (3, 3), 64, beta=beta)
    of_side = deepnorm.constants_of(model, beta)
    for name, parameter in model.named_parameters():
        if ".layers." not in name or parameter.dim() == 1:
            continue
        side = name.partition(".")[0]
        gain = of_side[side].beta if name.endswith(BRANCH_MATRICES) else 1.0
        expected = gain * math.sqrt(2 / sum(parameter.shape))
        assert float(parameter.std()) == pytest.approx(expected, rel=0.08), name
    for layer in residual.all_layers(model):
        biases = [layer.fc1.bias, layer.fc2.bias, layer.self_attn.out_proj.bias]
        assert not any(bias.any() for bias in biases)


def plain_post_ln(build, depths, seed=3):
    """Plain Post-LN with the matrices that DeepNorm draws, before β."""
    model = build("plain", depths, 32)
    torch.manual_seed(seed)
    ones = deepnorm.Constants(1.0, 1.0)
    deepnorm.initialise(model, {"encoder": ones, "decoder": ones})
    return model


@pytest.mark.parametrize("depths", [(2, 2), (3, 1)])
def test_deepnorm_is_a_point_of_gradinits_search_space(build, batch, logits, depths):
    """One scale per tensor of a plain Post-LN model, written by GradInit's own `Blocks`, gives
    the function that DeepNorm starts from; so does no scale at all, only not."""
    deep = build("deepnorm", depths, 32)
    torch.manual_seed(3)
    deepnorm.initialise(deep, deepnorm.constants_of(deep))
    plain = plain_post_ln(build, depths)
    # Other biases than 0, so that one taken for what it is not would show. The scales of those
    # that DeepNorm has at 0 are of no account.
    copied = {
        n: p for n, p in deep.state_dict().items() if n.endswith(("q_proj.bias", "v_proj.bias"))
    }
    plain.load_state_dict(copied, strict=False)
    expected, unscaled = logits(deep, batch()), logits(plain, batch())
    named = deepnorm.as_scales(plain)
    blocks = Blocks(plain)
    assert named.keys() <= {block.name for block in blocks.blocks}
    blocks.write(torch.tensor([named.get(block.name, 1.0) for block in blocks.blocks]))
    torch.testing.assert_close(logits(plain, batch()), expected, rtol=1e-3, atol=1e-4)
    assert (unscaled - expected).abs().max() > 0.1


def test_tfixups_factors(build):
    """Known values of 3 + 3 layers; v beside × √2, which takes fairseq's 1/√2 back."""
    assert tfixup.encoder_factor(3) == pytest.approx(0.5090899, rel=2e-6)
    assert tfixup.decoder_factor(3) == pytest.approx(0.4386913, rel=2e-6)
    plain, scaled = build("xavier", (3, 3)), build("tfixup", (3, 3))
    before, after = dict(plain.named_parameters()), dict(scaled.named_parameters())
    for name, parameter in after.items():
        factor = 1.0
        if name.endswith(BRANCH_MATRICES):
            factor = 0.5090899 if name.startswith("encoder") else 0.4386913
            factor *= math.sqrt(2) if "v_proj" in name else 1.0
        elif "embed_tokens" in name:
            factor = 0.4386913  # both: N = M = 3
        elif name.endswith("v_proj.bias"):
            factor = 0.0
        torch.testing.assert_close(parameter, factor * before[name], rtol=1e-5, atol=0)


def test_tfixups_embeddings_by_depth(build):
    """Each side by its own depth; a shared table once, by the encoder's."""
    plain, apart = build("plain", (4, 2)), build("tfixup", (4, 2))
    shared = build("tfixup", (4, 2), share_all_embeddings=True)
    whole = build("plain", (4, 2), share_all_embeddings=True)

    def ratio(scaled, model, name):
        return float(scaled.state_dict()[name].norm() / model.state_dict()[name].norm())

    names = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
    found = [ratio(apart, plain, name) for name in names]
    assert found == pytest.approx([36**-0.25, 18**-0.25])
    assert ratio(apart, plain, "decoder.output_projection.weight") == pytest.approx(1.0)
    assert [ratio(shared, whole, name) for name in names] == pytest.approx([36**-0.25] * 2)


def test_tfixup_with_sides_of_different_width_has_no_root_2(build):
    """fairseq's q, k and v are Xavier of gain 1 there."""
    flags = {"decoder_embed_dim": 8, "decoder_output_dim": 8, "decoder_input_dim": 8}
    plain, scaled = (build(n, (2, 2), 16, **flags).state_dict() for n in ("plain", "tfixup"))
    name = "decoder.layers.0.encoder_attn.v_proj.weight"
    assert float(scaled[name].norm() / plain[name].norm()) == pytest.approx(18**-0.25)
