"""Residual weights folded into a plain Transformer: the same function but for rounding."""

import argparse

import pytest
import torch

from fairseq_gradinit.gradinit import GradInitError
from fairseq_gradinit.init import fold as folding
from fairseq_gradinit.init import fold_residual, residual

EMBEDDINGS = {
    "apart": {},
    "tied output": {"share_decoder_input_output_embed": True},
    "all tied": {"share_all_embeddings": True},
    "learned positions": {"encoder_learned_pos": True, "decoder_learned_pos": True},
    "no positions": {"no_token_positional_embeddings": True},
    "normed": {"layernorm_embedding": True, "share_all_embeddings": True},
    "other widths": {"decoder_embed_dim": 8, "decoder_input_dim": 8, "decoder_output_dim": 8},
    "projected": {"decoder_input_dim": 8},
}


def configuration(flags):
    defaults = {"max_source_positions": 64, "max_target_positions": 64}
    return argparse.Namespace(**defaults, **flags)


@torch.no_grad()
def randomise(model):
    """Every tensor random; ω between ½ and 2, each feature its own where there is one a feature."""
    torch.manual_seed(7)
    for name, tensor in model.state_dict().items():
        if name.endswith("residual_scale"):
            tensor.copy_(torch.rand_like(tensor) * 1.5 + 0.5)
        elif "embed" not in name and not name.endswith("version"):
            tensor.add_(0.2 * torch.randn_like(tensor))


@pytest.mark.parametrize("flags", EMBEDDINGS.values(), ids=EMBEDDINGS)
@pytest.mark.parametrize("name", ["admin", "deepnorm"])
def test_the_folded_model_computes_the_same(build, batch, logits, name, flags):
    positions = {"max_source_positions": 64, "max_target_positions": 64}
    model = build(name, **flags, **positions)
    randomise(model)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    config = configuration(flags)
    folded = fold_residual.fold(model.state_dict(), config)
    assert all(torch.equal(model.state_dict()[key], tensor) for key, tensor in before.items())
    plain = build("plain", **vars(config))
    plain.load_state_dict(folded)
    expected, found = logits(model, batch()), logits(plain, batch())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_embeddings_stay_tied_where_the_first_weight_is_1(build, batch, logits):
    """As Admin leaves it where ω is not trained: the folded model is as large as a plain one."""
    model = build("admin", share_all_embeddings=True)
    randomise(model)
    for side in residual.SIDES:
        first = getattr(model, side).layers[0].self_attn_layer_norm
        torch.nn.init.ones_(first.residual_scale)
    config = configuration({"share_all_embeddings": True})
    plain = build("plain", share_all_embeddings=True)
    plain.load_state_dict(fold_residual.fold(model.state_dict(), config))
    assert config.share_all_embeddings
    torch.testing.assert_close(logits(plain, batch()), logits(model, batch()), rtol=1e-4, atol=1e-5)


def test_a_weight_of_0_cannot_be_divided_by(build):
    model = build("admin")
    with torch.no_grad():
        model.decoder.layers[1].final_layer_norm.residual_scale[3] = 0
    with pytest.raises(GradInitError, match=r"decoder.layers.1.final_layer_norm.*--user-dir"):
        fold_residual.fold(model.state_dict(), configuration({}))


def test_embeddings_of_another_kind_are_refused(build):
    state = build("deepnorm").state_dict()
    with pytest.raises(GradInitError, match=r"adaptive_input.*--user-dir"):
        fold_residual.fold(state, configuration({"adaptive_input": True}))


def test_files_that_are_no_checkpoints_get_one_line(tmp_path):
    bad = {
        "missing.pt": None,
        "empty.pt": b"",
        "text.pt": b"no checkpoint",
        "folder": None,
    }
    (tmp_path / "folder").mkdir()
    for name, content in bad.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
    torch.save({"weights": torch.zeros(2)}, tmp_path / "other.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    for name in (*bad, "other.pt", "list.pt"):
        with pytest.raises(SystemExit) as caught:
            folding.main([str(tmp_path / name), str(tmp_path / "out.pt")])
        message = str(caught.value)
        assert message.startswith(f"fold: error: {tmp_path / name}: "), message
        assert "\n" not in message and "give" in message
    assert not (tmp_path / "out.pt").exists()
