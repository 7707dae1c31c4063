"""Each variant's layer against its formula written out, with every number of the layer random."""

import copy

import pytest
import torch
from torch.nn import functional as F

from fairseq_gradinit.gradinit import GradInitError
from fairseq_gradinit.init import residual

WIDTH = 16


def norm(x, module):
    return F.layer_norm(x, (WIDTH,), module.weight, module.bias, module.eps)


def branches(layer, memory):
    """Each branch of a layer as (f, its norm), dropout being 0."""

    def attend(attention, memory=None):
        def f(x):
            source = x if memory is None else memory
            mask = None
            if isinstance(layer, residual.LAYERS[1]) and memory is None:
                mask = torch.full((len(x), len(x)), float("-inf")).triu(1)
            return attention(query=x, key=source, value=source, attn_mask=mask)[0]

        return f

    found = [(attend(layer.self_attn), layer.self_attn_layer_norm)]
    if memory is not None:
        found.append((attend(layer.encoder_attn, memory), layer.encoder_attn_layer_norm))
    feed_forward = lambda x: layer.fc2(torch.relu(layer.fc1(x)))  # noqa: E731
    return [*found, (feed_forward, layer.final_layer_norm)]


def post_ln(x, f, slot):
    return norm(slot.residual_scale * x + f(x), slot)


FORMULAS = {
    "plain": lambda x, f, slot: norm(x + f(x), slot),
    "admin": post_ln,
    "admin_closed": post_ln,
    "deepnorm": post_ln,
    "tfixup": lambda x, f, slot: x + f(x),
    "rezero": lambda x, f, slot: x + slot.gate * f(x),
    # The output norm is in f, at the end of the attention and of fc2.
    "peri_ln": lambda x, f, slot: x + f(norm(x, slot)),
}


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_a_layer_is_its_formula(build, name, side):
    model = build(name, width=WIDTH).eval()
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        layer = residual.layers(model)[side][1]
        x, memory = torch.randn(6, 3, WIDTH), torch.randn(5, 3, WIDTH)
        if side == "encoder":
            expected, found = x, layer(x, None)
            parts = branches(layer, None)
        else:
            mask = torch.full((6, 6), float("-inf")).triu(1)
            expected, found = x, layer(x, memory, self_attn_mask=mask)[0]
            parts = branches(layer, memory)
        for f, slot in parts:
            expected = FORMULAS[name](expected, f, slot)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["admin", "deepnorm", "rezero", "peri_ln", "sigma_reparam"])
def test_a_deep_copy_is_a_model_of_its_own(build, batch, logits, name):
    """As the moving average of weights (EMA) makes it."""
    model = build(name)
    copied = copy.deepcopy(model)
    expected = logits(copied, batch())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    torch.testing.assert_close(logits(copied, batch()), expected)
    copied.load_state_dict(model.state_dict())
    torch.testing.assert_close(logits(copied, batch()), logits(model, batch()))


@pytest.mark.parametrize("name", ["admin", "deepnorm", "rezero", "peri_ln"])
def test_activation_checkpointing_changes_no_gradient(build, batch, name):
    gradients = []
    for checkpointed in (False, True):
        model = build(name, checkpoint_activations=checkpointed)
        model(**batch()["net_input"])[0].pow(2).mean().backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for key, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], gradient)


@pytest.mark.parametrize("name", ["admin", "admin_closed", "deepnorm"])
def test_a_post_ln_formula_refuses_pre_ln(build, name):
    with pytest.raises(GradInitError, match=rf"--init {name}: .*--encoder-normalize-before"):
        build(name, encoder_normalize_before=True)


def test_a_model_of_another_kind_is_refused():
    with pytest.raises(GradInitError, match="--init: Linear has no layers"):
        residual.layers(torch.nn.Linear(2, 2))


@pytest.mark.parametrize("name", ["tfixup", "rezero"])
def test_no_layer_norm_is_left_anywhere(build, name):
    flags = {"layernorm_embedding": True, "encoder_normalize_before": True}
    model = build(name, **flags, decoder_normalize_before=True)
    assert not [n for n, m in model.named_modules() if hasattr(m, "normalized_shape")]


@pytest.mark.parametrize("name", ["admin", "deepnorm", "tfixup", "rezero", "peri_ln"])
def test_a_stock_model_refuses_the_weights_instead_of_computing_something_else(build, name):
    with pytest.raises(RuntimeError, match=r"Missing key|Unexpected key"):
        build("plain").load_state_dict(build(name).state_dict())
