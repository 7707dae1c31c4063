"""Xavier, SmallInit, ReZero, Peri-LN and σReparam: what each paper says of the start."""

import math

import pytest
import torch

from fairseq_gradinit.init import residual, sigma_reparam


def test_xavier_fills_fc1_and_fc2_alone(build):
    before = build("plain", width=64).state_dict()
    after = build("xavier", width=64).state_dict()
    changed = {n for n, p in after.items() if not torch.equal(p, before[n])}
    assert changed == {n for n in before if ".fc1." in n or ".fc2." in n}
    for name in changed:
        if name.endswith("bias"):
            assert not after[name].any()
        else:
            bound = math.sqrt(6 / sum(after[name].shape))
            assert 0.98 * bound < float(after[name].abs().max()) <= bound


def test_smallinits_spread(build):
    """Attention N(0, 2/(5d)), a feed-forward matrix of width 4d the same; biases 0."""
    model = build("small", width=64, encoder_ffn_embed_dim=256)
    for layer in residual.all_layers(model):
        for name, parameter in layer.named_parameters():
            if "layer_norm" in name:
                continue
            if name.endswith("bias"):
                assert not parameter.any()
            else:
                assert float(parameter.std()) == pytest.approx(math.sqrt(2 / (5 * 64)), rel=0.08)


def test_rezero_starts_as_the_identity(build, batch):
    model = build("rezero", (6, 6)).eval()
    net_input = batch()["net_input"]
    out = model.encoder(net_input["src_tokens"], net_input["src_lengths"], return_all_hiddens=True)
    assert torch.equal(out["encoder_out"][0], out["encoder_states"][0])
    _, extra = model.decoder(net_input["prev_output_tokens"], out, features_only=True)
    assert torch.equal(extra["inner_states"][-1], extra["inner_states"][0])


def test_rezeros_only_gradient_in_a_layer_is_at_first_its_gate(build, batch):
    """One gate a layer, whose gradient is not 0 although α is."""
    model = build("rezero", (3, 3))
    model(**batch()["net_input"])[0].logsumexp(-1).sum().backward()
    layers = residual.all_layers(model)
    assert len({p for n, p in model.named_parameters() if n.endswith("gate")}) == len(layers)
    moved = {n for n, p in model.named_parameters() if ".layers." in n and p.grad.any()}
    # The encoder's gates have none until the encoder attention is let in.
    assert {n.split(".")[-1] for n in moved} == {"gate"}
    assert len(moved) == 3


def test_peri_lns_branches_have_norm_root_d_and_the_variance_grows_linearly(build, batch):
    """Kim et al. 2025: each branch adds about 1 to the variance, so that it is of order L; each
    branch's output has RMS 1 per token at initialisation, whatever the weights."""
    depth, width = 8, 32
    model = build("peri_ln", (depth, 1), width).eval()
    outputs = []
    with torch.no_grad():
        for layer in residual.layers(model)["encoder"]:
            layer.fc2.weight.mul_(10)
            for module in (layer.self_attn, layer.fc2):
                module.register_forward_hook(
                    lambda m, i, out: outputs.append(out[0] if isinstance(out, tuple) else out)
                )
        net_input = batch()["net_input"]
        out = model.encoder(net_input["src_tokens"], net_input["src_lengths"], True)
    for output in outputs:
        torch.testing.assert_close(
            output.norm(dim=-1), torch.full(output.shape[:2], width**0.5), rtol=1e-3, atol=0
        )
    variances = [float(state[:, 0].var()) for state in out["encoder_states"]]
    assert len(outputs) == 2 * depth
    assert variances[0] == pytest.approx(1.0, rel=0.1)  # the embeddings' own LayerNorm
    for index, variance in enumerate(variances):
        assert 0.9 + index < variance < 1.1 + 4 * index
    final = out["encoder_out"][0]
    torch.testing.assert_close(
        final.norm(dim=-1), torch.full(final.shape[:2], width**0.5), rtol=1e-3, atol=0
    )


def spectral_norm(weight):
    return float(torch.linalg.matrix_norm(weight.double(), 2))


def test_sigma_reparam_starts_as_the_plain_model_and_its_spectral_norm_is_gamma(
    build, batch, logits
):
    plain, model = build("plain"), build("sigma_reparam")
    torch.testing.assert_close(logits(model, batch()), logits(plain, batch()))
    for linear in sigma_reparam._linears(model):
        scale = linear.parametrizations.weight[0]
        with torch.no_grad():
            scale.gain.fill_(0.37)
        assert spectral_norm(linear.weight) == pytest.approx(0.37, rel=1e-5)


def test_power_iteration_follows_the_weights_of_a_training(build, batch):
    """After updates that move every σ, spectral norms are γ still, to what one step an update can
    follow; it is never over the true σ, so the weight's is never below γ."""
    model = build("sigma_reparam", width=32)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    before = [
        float(linear.parametrizations.weight[0].gain) for linear in sigma_reparam._linears(model)
    ]
    for seed in range(30):
        optimizer.zero_grad()
        scores = model(**batch(seed)["net_input"])[0]
        torch.nn.functional.cross_entropy(
            scores.flatten(0, 1), batch(seed)["target"].flatten()
        ).backward()
        optimizer.step()
    for linear, start in zip(sigma_reparam._linears(model), before):
        gain = float(linear.parametrizations.weight[0].gain)
        assert gain != start
        assert gain * (1 - 1e-5) < spectral_norm(linear.weight) < 1.1 * gain
        for _ in range(200):  # each use in train mode is one more step
            weight = linear.weight
        assert spectral_norm(weight) == pytest.approx(gain, rel=5e-3)


def test_sigmas_gradient_is_that_of_the_largest_singular_value():
    """W·γ/σ(W) differentiated through torch's own singular values."""
    torch.manual_seed(0)
    weight = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    scale = sigma_reparam.SpectralScale(5, 7).double()
    with torch.no_grad():
        u, _, v = torch.linalg.svd(weight)
        scale.u.copy_(u[:, 0])
        scale.v.copy_(v[0])
        scale.gain.fill_(1.3)
    target = torch.randn(5, 7, dtype=torch.float64)
    (found,) = torch.autograd.grad((scale(weight) * target).sum(), weight)
    expected_weight = 1.3 * weight / torch.linalg.matrix_norm(weight, 2)
    (expected,) = torch.autograd.grad((expected_weight * target).sum(), weight)
    torch.testing.assert_close(found, expected)


def test_sigma_reparam_keeps_16_bits(build):
    model = build("sigma_reparam").half()
    assert {linear.weight.dtype for linear in sigma_reparam._linears(model)} == {torch.float16}
