"""Encoders are found where they stand, and start turned down there."""

import pytest
import torch
from torch import nn

from fairseq_gradinit.gradinit import Blocks, Settings
from fairseq_gradinit.gradinit.encoders import encoders
from fairseq_gradinit.gradinit.scales import starting_scales


class T5LayerNorm(nn.Module):
    """As Hugging Face's: RMS norm without a `normalized_shape`."""

    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))


def stack(first, last):
    """A layer as Hugging Face names it: what reads the residual stream, and what is added to it."""
    layer = nn.ModuleDict({"norm": T5LayerNorm(4), first: nn.Linear(4, 4), last: nn.Linear(4, 4)})
    return nn.ModuleDict({"block": nn.ModuleList([layer])})


def nested(model):
    return nn.ModuleDict({"wrapper": nn.ModuleDict({"model": model})})


def by_type():
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 1, 4), 1)
    decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(4, 1, 4), 1)
    return nn.ModuleDict({"reader": encoder, "writer": decoder})


T5 = {"shared": nn.Embedding(5, 4), "encoder": stack("wi", "wo"), "decoder": stack("wi", "wo")}
BART = {"encoder": stack("fc1", "fc2"), "decoder": stack("fc1", "fc2")}
MODELS = {
    "nn.Transformer": (nn.Transformer(4, 1, 1, 1, 4), "encoder.", "linear1", "linear2"),
    "by type": (by_type(), "reader.", "linear1", "linear2"),
    "T5": (nn.ModuleDict(T5), "encoder.", "wi", "wo"),
    "BART": (nn.ModuleDict(BART), "encoder.", "fc1", "fc2"),
}


@pytest.mark.parametrize("inside", [False, True], ids=["alone", "nested"])
@pytest.mark.parametrize("model, prefix, first, last", MODELS.values(), ids=MODELS)
def test_encoder_of_an_encoder_decoder(model, prefix, first, last, inside):
    model, prefix = (nested(model), f"wrapper.model.{prefix}") if inside else (model, prefix)
    blocks = Blocks(model)
    assert {b.name for b in blocks.blocks if b.in_encoder} == {
        name for name, _ in model.named_parameters() if name.startswith(prefix)
    }
    settings = Settings.of("multistep", start="fixed")
    start = dict(zip((b.name for b in blocks.blocks), starting_scales(blocks, settings).tolist()))
    for name, scale in start.items():
        if name.endswith(f"{last}.weight"):
            assert scale == settings.branch_scale, name
        elif name.endswith(f"{first}.weight"):
            assert scale == (settings.encoder_scale if name.startswith(prefix) else 1.0), name
        elif "norm" in name or name.endswith("bias"):
            assert scale == 1.0, name


def test_what_is_no_encoder():
    """An encoder-only model has none that a decoder could leave unread, unless called so."""
    layer = nn.TransformerEncoderLayer(4, 1, 4)
    assert encoders(nn.Sequential(nn.TransformerEncoder(layer, 1))) == []
    inner = nn.ModuleDict({"encoder": nn.TransformerEncoder(layer, 1)})
    assert encoders(inner) == ["encoder"]
    assert encoders(nn.ModuleDict({"bert": inner})) == []
