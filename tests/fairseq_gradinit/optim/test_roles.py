"""What the optimizers know of fairseq's models: roles, trees, storage, 16-bit masters."""

import math
from argparse import Namespace
from dataclasses import replace

import pytest
import torch
from fairseq.data import Dictionary
from fairseq.models.transformer import TransformerModel, base_architecture
from fairseq.models.transformer_lm import (
    TransformerLanguageModel,
    TransformerLanguageModelConfig,
)
from fairseq.optim import FP16Optimizer
from omegaconf import OmegaConf
from torch import nn
from torch.nn import functional as F

from fairseq_gradinit.gradinit import GradInitError
from fairseq_gradinit.optim.modular import ModularAdam, ModularAdamConfig
from fairseq_gradinit.optim.modular_tree import storage_factor
from fairseq_gradinit.optim.roles import TAG, roles_of, tag

DICTIONARY = Dictionary()
for word in "abcdefgh":
    DICTIONARY.add_symbol(word)
TASK = Namespace(source_dictionary=DICTIONARY, target_dictionary=DICTIONARY)
WIDTH = 8


def translation_model(**flags: object) -> nn.Module:
    """A tagged encoder–decoder of two layers a side, d = 8."""
    torch.manual_seed(0)
    args = Namespace(dropout=0.0, max_source_positions=20, max_target_positions=20)
    for side in ("encoder", "decoder"):
        setattr(args, f"{side}_layers", 2)
        setattr(args, f"{side}_embed_dim", WIDTH)
        setattr(args, f"{side}_ffn_embed_dim", 12)
        setattr(args, f"{side}_attention_heads", 2)
    for name, value in flags.items():
        setattr(args, name, value)
    base_architecture(args)
    model = TransformerModel.build_model(args, TASK)
    tag(model)
    return model


def language_model(**flags: object) -> nn.Module:
    """A tagged language model of two layers."""
    sizes = {"decoder_layers": 2, "decoder_embed_dim": WIDTH, "decoder_ffn_embed_dim": 12}
    sizes |= {"decoder_input_dim": WIDTH, "decoder_output_dim": WIDTH}
    sizes |= {"tokens_per_sample": 20, "max_target_positions": 20, "decoder_attention_heads": 2}
    rest = {"add_bos_token": False, "tpu": False}
    config = OmegaConf.structured(TransformerLanguageModelConfig(**sizes, **rest, **flags))
    model = TransformerLanguageModel.build_model(config, TASK)
    tag(model)
    return model


def optimizer_of(model: nn.Module, **flags: object) -> ModularAdam:
    """modular_adam at lr 0.5, errors as raised."""
    return ModularAdam(replace(ModularAdamConfig(), lr=[0.5], **flags), list(model.parameters()))


def plans(model: nn.Module, **flags: object) -> dict[str, dict]:
    groups = optimizer_of(model, **flags).optimizer.param_groups
    names = {id(p): name for name, p in model.named_parameters()}
    return {names[id(group["params"][0])]: group for group in groups}


SHAPES = {
    "plain": {},
    "tied": {"share_decoder_input_output_embed": True},
    "all tied": {"share_all_embeddings": True},
    "learned positions": {"encoder_learned_pos": True, "decoder_learned_pos": True},
    "embedding norm": {"layernorm_embedding": True},
    "pre-ln": {"encoder_normalize_before": True, "decoder_normalize_before": True},
}


@pytest.mark.parametrize("flags", SHAPES.values(), ids=SHAPES)
def test_every_parameter_of_a_translation_model_is_known(flags):
    model = translation_model(**flags)
    roles = roles_of(list(model.parameters()), "test")
    assert all(role.uses for role in roles)
    for role, p in zip(roles, model.parameters()):
        matrices = {"matrix", "embedding"}
        assert all((use.kind in matrices) == (p.dim() == 2) for use in role.uses), role
        assert role.hidden_matrix == (p.dim() == 2 and ".layers." in role.name)
    assert len(plans(model)) == len(roles)


def test_layers_that_layerdrop_leaves_out_are_known_too():
    model = translation_model(encoder_layerdrop=1.0, decoder_layerdrop=1.0)
    assert all(role.uses for role in roles_of(list(model.parameters()), "muon"))


def test_kinds_and_targets_of_tied_and_untied_embeddings():
    untied = plans(translation_model())
    assert untied["decoder.output_projection.weight"]["kind"] == "matrix"
    assert untied["decoder.embed_tokens.weight"]["kind"] == "embedding"
    tied = plans(translation_model(share_all_embeddings=True))
    shared = tied["encoder.embed_tokens.weight"]
    assert shared["kind"] == "tied"
    sides = [untied[f"{side}.embed_tokens.weight"]["target"] for side in ("encoder", "decoder")]
    assert shared["target"] == min(sides)
    assert shared["matrix_target"] == untied["decoder.output_projection.weight"]["target"]


@pytest.mark.parametrize("flags", SHAPES.values(), ids=SHAPES)
def test_gains_and_biases_go_with_their_matrix(flags):
    found = plans(translation_model(**flags))
    for name, group in found.items():
        if name.endswith("bias") and "norm" not in name:
            matrix = found[name.replace("bias", "weight")]
            assert group["kind"] == "vector"
            assert (group["target"], group["factor"]) == (matrix["target"], matrix["factor"])
    gain = found["decoder.layers.1.encoder_attn_layer_norm.weight"]
    assert gain["target"] == found["decoder.layers.1.encoder_attn.out_proj.weight"]["target"]
    assert gain["factor"] == 1.0


@pytest.mark.parametrize("scaled", [True, False])
def test_an_effective_embedding_row_has_rms_1(scaled):
    model = translation_model(no_scale_embedding=not scaled, encoder_learned_pos=True)
    step_once(model)
    rows = model.encoder.embed_tokens.weight[4:] * model.encoder.embed_scale
    torch.testing.assert_close(rows.square().mean(dim=1), torch.ones(len(rows)))
    positions = model.encoder.embed_positions.weight[2:]
    torch.testing.assert_close(positions.square().mean(dim=1), torch.ones(len(positions)))


def test_rows_of_the_start_keep_their_norm():
    model = translation_model()
    with torch.no_grad():
        model.encoder.embed_tokens.weight.mul_(torch.rand(len(DICTIONARY), 1) + 0.5)
    before = model.encoder.embed_tokens.weight.norm(dim=1)
    step_once(model, modular_rows="start")
    torch.testing.assert_close(model.encoder.embed_tokens.weight.norm(dim=1), before)


def step_once(model: nn.Module, **flags: object) -> dict[str, torch.Tensor]:
    """The change of each parameter in one update on random gradients."""
    generator = torch.Generator().manual_seed(1)
    optimizer = optimizer_of(model, weight_decay=0.0, **flags)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = 1 + torch.randn(p.shape, generator=generator)
    optimizer.step()
    return {name: before[name] - p.detach() for name, p in model.named_parameters()}


@pytest.mark.parametrize("units", ["published", "stock"])
def test_each_matrix_and_vector_moves_by_its_target(units):
    model = translation_model(share_all_embeddings=True)
    for name, change in step_once(model, modular_units=units).items():
        group = plans(model, modular_units=units)[name]
        size = 0.5 * group["target"] * group["factor"]
        if group["kind"] == "matrix":
            rows, columns = change.shape
            norm = math.sqrt(columns / rows) * float(torch.linalg.matrix_norm(change, 2))
            assert norm == pytest.approx(size, rel=0.05), name
        elif group["kind"] == "vector":
            assert float(change.square().mean().sqrt()) == pytest.approx(size, rel=1e-3), name


@pytest.mark.parametrize("pre_ln", [True, False])
def test_the_published_network_is_fairseq_s_with_its_weights_as_stored(pre_ln):
    """What `--modular-units published` stands on. The encoder here is written as the paper has it:
    1/3 on q, k and v, logits over d_head, √2·relu, (1 − w)·x + w·f(LN x)."""
    model = translation_model(encoder_normalize_before=pre_ln, no_token_positional_embeddings=True)
    encoder = model.double().encoder
    for name, p in encoder.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(p)
    outline = roles_of([encoder.embed_tokens.weight], "test")[0].stacks[0]
    tokens = torch.tensor([[5, 6, 7, 8, 2], [9, 10, 5, 11, 2]])
    weight = 1 / outline.branches

    def norm(x):
        return F.layer_norm(x, (WIDTH,))

    def attend(layer, x):
        q, k, v = (
            F.linear(x, getattr(layer.self_attn, f"{name}_proj").weight).view(2, 5, 2, 4) / 3
            for name in "qkv"
        )
        logits = torch.einsum("bthd,bshd->bhts", q, k) / 4
        mixed = torch.einsum("bhts,bshd->bthd", logits.softmax(-1), v).reshape(2, 5, WIDTH)
        return F.linear(mixed, layer.self_attn.out_proj.weight)

    def feed_forward(layer, x):
        return F.linear(math.sqrt(2) * F.linear(x, layer.fc1.weight).relu(), layer.fc2.weight)

    x = encoder.embed_scale * F.embedding(tokens, encoder.embed_tokens.weight)
    for layer in encoder.layers:
        for branch in (attend, feed_forward):
            if pre_ln:
                x = (1 - weight) * x + weight * branch(layer, norm(x))
            else:
                x = norm((1 - weight) * x + weight * branch(layer, x))
    expected = norm(x) if pre_ln else x
    with torch.no_grad():
        for name, p in encoder.named_parameters():
            if p.dim() == 2:
                p.mul_(storage_factor(outline, f"encoder.{name}".removesuffix(".weight")))
    found = encoder(tokens, torch.tensor([5, 5]))["encoder_out"][0].transpose(0, 1)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)  # LayerNorm's ε


def test_a_language_model_is_known_too():
    model = language_model(share_decoder_input_output_embed=True)
    found = plans(model)
    tied = found["decoder.embed_tokens.weight"]
    assert (tied["target"], tied["matrix_target"]) == pytest.approx((1 / 7, 1 / 7))
    assert found["decoder.layers.0.fc2.weight"]["target"] == pytest.approx(5 / 21)


def test_roles_survive_to_the_fp32_masters():
    model = translation_model(share_all_embeddings=True).half()
    masters = FP16Optimizer.build_fp32_params(None, list(model.parameters()), flatten=False)
    assert [getattr(p, TAG) for p in masters] == [getattr(p, TAG) for p in model.parameters()]


REFUSED = {
    "untagged": (lambda: nn.Linear(2, 2), {}, "2 of 2 parameters do not say"),
    "activation": (lambda: translation_model(activation_fn="swish"), {}, "--activation-fn swish"),
    "unknown part": (
        lambda: translation_model(adaptive_softmax_cutoff=[8]),
        {},
        "decoder.adaptive_softmax.head",
    ),
    "mass": (translation_model, {"modular_blocks_mass": 0.0}, "--modular-blocks-mass"),
    "betas": (translation_model, {"modular_betas": "0.9"}, "--modular-betas: found 0.9"),
    "beta 1": (translation_model, {"modular_betas": "(1, 0.9)"}, "--modular-betas"),
    "decay": (translation_model, {"weight_decay": -1.0}, "--weight-decay"),
}


@pytest.mark.parametrize(("make", "flags", "message"), REFUSED.values(), ids=REFUSED)
def test_refusals_are_one_line(make, flags, message):
    with pytest.raises(GradInitError) as error:
        optimizer_of(make(), **flags)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_group_of_fairseq_s_own_is_not_overwritten():
    model = nn.Linear(2, 2)
    model.weight.param_group = "mine"
    with pytest.raises(GradInitError, match="'mine'"):
        tag(model)
