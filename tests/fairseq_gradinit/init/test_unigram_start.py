"""The unigram start on every variant: log p at the start where the decoder ends in a LayerNorm,
whatever is added up before it; left alone and said so where there is none."""

from __future__ import annotations

import json

import pytest
import torch
from fairseq_runs import train

from fairseq_gradinit import init
from fairseq_gradinit.frequencies import NoUnigramStart, softmax_layer
from fairseq_gradinit.gradinit.unigram import give_frequencies, target_distribution

WITHOUT = ("tfixup", "rezero")  # of no LayerNorm at all
WITH = [name for name in init.NAMES if name not in WITHOUT]
LAYOUTS = [{"share_all_embeddings": True}, {"decoder_normalize_before": True}]


def started(build, name, seed, **layout):
    """The model, its last LayerNorm, log p centred over the words but padding, and these."""
    model = build(name, **layout)
    norm, embeddings, padding = softmax_layer(model)
    counts = torch.arange(len(embeddings)) ** 2
    counts[padding] = 0
    p = target_distribution(counts, smoothing=0.1)
    give_frequencies(norm, embeddings, p, torch.Generator().manual_seed(seed), skip=(padding,))
    words = [word for word in range(len(embeddings)) if word != padding]
    log_p = p.log()[words]
    return model, norm, log_p - log_p.mean(), words


def centred(found, words):
    return found[..., words].double() - found[..., words].double().mean(-1, keepdim=True)


@pytest.mark.parametrize("name", WITH)
def test_the_bias_alone_predicts_the_frequencies_at_every_position(name, build, batch, logits):
    """So the forward pass hands the LayerNorm's output to the softmax, and nothing adds to it."""
    model, norm, log_p, words = started(build, name, seed=0, **LAYOUTS[0])
    with torch.no_grad():
        norm.weight.zero_()
    found = centred(logits(model, batch()), words)
    torch.testing.assert_close(found, log_p.expand_as(found), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", WITH)
def test_signs_make_noise_of_the_rest(name, build, batch, logits):
    """What a state adds to log p has the signs of the gain: over many draws its mean goes to 0."""
    off = []
    for seed in range(25):
        model, norm, log_p, words = started(build, name, seed, **LAYOUTS[0])
        assert {-1.0, 1.0} >= set(norm.weight.tolist())
        off.append(centred(logits(model, batch()), words) - log_p)
    draws = torch.stack(off)
    assert draws.mean(0).square().mean() < 2.5 / 25 * draws.square().mean()


POST_LN = [name for name in WITH if init.VARIANTS[name].post_ln]


@pytest.mark.parametrize("name", [name for name in WITH if name not in POST_LN])
def test_pre_ln_ends_in_the_stack_s_own_norm(name, build):
    model = build(name, **LAYOUTS[1])
    assert softmax_layer(model)[0] is model.decoder.layer_norm


@pytest.mark.parametrize("name", WITHOUT)
def test_without_a_layer_norm_it_is_said_in_one_line(name, build):
    with pytest.raises(NoUnigramStart, match="does not end in LayerNorm → softmax layer") as error:
        softmax_layer(build(name))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["admin", "rezero"])
def test_through_fairseq_train(name, grammar, tmp_path, caplog):
    """Admin's ω is measured first; a model without a place for frequencies trains without them."""
    with caplog.at_level("INFO"):
        train(grammar, tmp_path, "--gradinit", "--gradinit-trial=0", f"--init={name}")
    record = json.loads((tmp_path / "gradinit" / "scales.json").read_text())
    told = "no unigram start: the model does not end" in caplog.text
    assert told == (record["unigram"] is None) == (name in WITHOUT)
