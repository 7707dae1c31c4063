"""Small fairseq Transformers built without data, and random batches for them."""

from __future__ import annotations

from argparse import Namespace
from types import SimpleNamespace

import pytest
import torch
from fairseq.data import Dictionary
from fairseq.models.transformer import TransformerModel, base_architecture

from fairseq_gradinit import init

WORDS = 40


def dictionary():
    words = Dictionary()
    for index in range(WORDS):
        words.add_symbol(f"w{index}")
    return words


def architecture(depths, width, settings):
    n, m = depths
    given = {
        "encoder_layers": n,
        "decoder_layers": m,
        "encoder_embed_dim": width,
        "encoder_ffn_embed_dim": 2 * width,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "dropout": 0.0,
        **settings,
    }
    args = Namespace(**given)
    base_architecture(args)
    return args


def make_model(name="plain", depths=(2, 2), width=16, beta="paper", seed=1, **settings):
    words = dictionary()
    task = SimpleNamespace(source_dictionary=words, target_dictionary=words)
    torch.manual_seed(seed)
    args = architecture(depths, width, settings)
    model = TransformerModel.build_model(args, task)
    if name != "plain":
        flags = SimpleNamespace(init=name, init_deepnorm_beta=beta)
        init.apply(model, name, flags, args, from_checkpoint=False)
    return model


def make_batch(seed=0, sentences=4, length=7):
    generator = torch.Generator().manual_seed(seed)

    def ids():
        return torch.randint(4, WORDS, (sentences, length), generator=generator)

    source = ids()
    source[1, :2] = 1
    net_input = {
        "src_tokens": source,
        "src_lengths": torch.full((sentences,), length),
        "prev_output_tokens": ids(),
    }
    return {"net_input": net_input, "target": ids()}


def run(model, sample):
    model.eval()
    with torch.no_grad():
        return model(**sample["net_input"])[0]


@pytest.fixture(scope="session")
def build():
    """build(name, (N, M), width, **architecture): a model of the variant, freshly initialised.

    Seeded: the same arguments give the same weights. `plain` is fairseq's own, untouched.
    """
    return make_model


@pytest.fixture(scope="session")
def batch():
    """batch(seed, sentences, length): a training batch, one source padded on the left."""
    return make_batch


@pytest.fixture(scope="session")
def logits():
    """logits(model, sample): [sentences, length, words], in eval mode."""
    return run
