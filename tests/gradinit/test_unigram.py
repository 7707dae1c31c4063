"""The unigram start: word frequencies before update 1, and nothing else."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from fairseq_gradinit.gradinit import GradInitError
from fairseq_gradinit.gradinit.unigram import give_frequencies, target_distribution

WORDS, WIDTH, PADDING = 300, 64, 1


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def zipf() -> torch.Tensor:
    counts = (1000 / torch.arange(1, WORDS + 1)).long()
    counts[PADDING] = 0
    return target_distribution(counts, smoothing=0.1)


def fresh(bias: bool = True) -> tuple[nn.LayerNorm, torch.Tensor]:
    torch.manual_seed(3)
    embeddings = torch.randn(WORDS, WIDTH) / math.sqrt(WIDTH)
    embeddings[PADDING] = 0
    return nn.LayerNorm(WIDTH, bias=bias), embeddings


def test_the_mean_target_distribution_of_label_smoothing() -> None:
    """By its definition: the mean over targets of (1 − ε)·one-hot + ε/V."""
    targets = torch.tensor([0, 2, 2, 4])
    one_hot = torch.nn.functional.one_hot(targets, 5).double()
    mean = (0.9 * one_hot + 0.1 / 5).mean(0)
    counts = torch.bincount(targets, minlength=5)
    torch.testing.assert_close(target_distribution(counts, 0.1), mean)


def test_without_smoothing_no_word_is_impossible() -> None:
    p = target_distribution(torch.tensor([8, 0, 1]))
    assert p.min() > 0 and p.sum().item() == pytest.approx(1)


def test_no_target_at_all_is_refused() -> None:
    with pytest.raises(GradInitError, match="no target"):
        target_distribution(torch.zeros(4))


def test_the_common_part_of_the_states_predicts_the_frequencies() -> None:
    norm, embeddings = fresh()
    p = zipf()
    give_frequencies(norm, embeddings, p, generator(), skip=(PADDING,))
    words = [word for word in range(WORDS) if word != PADDING]
    predicted = torch.softmax((embeddings @ norm.bias.detach())[words].double(), 0)
    torch.testing.assert_close(predicted, p[words] / p[words].sum(), rtol=1e-4, atol=1e-9)


def test_a_masked_softmax_layer_predicts_them_with_its_active_weights() -> None:
    norm, embeddings = fresh()
    p = zipf()
    mask = torch.rand(WORDS, WIDTH, generator=generator(1)) < 0.2
    mask[7] = False
    mask[PADDING, :2] = True
    embeddings *= mask
    give_frequencies(norm, embeddings, p, generator(), skip=(PADDING,), mask=mask)
    assert not bool(embeddings[~mask].any()) and bool(embeddings.isfinite().all())
    words = [word for word in range(WORDS) if word not in (PADDING, 7)]
    predicted = torch.softmax((embeddings @ norm.bias.detach())[words].double(), 0)
    torch.testing.assert_close(predicted, p[words] / p[words].sum(), rtol=1e-4, atol=1e-9)


def test_the_loss_starts_at_the_entropy_and_a_little_noise() -> None:
    norm, embeddings = fresh()
    p = zipf()
    start = give_frequencies(norm, embeddings, p, generator(), skip=(PADDING,))
    states = torch.randn(5000, WIDTH)
    targets = torch.multinomial(p, 5000, replacement=True, generator=generator())
    logits = norm(states) @ embeddings.T
    loss = torch.nn.functional.cross_entropy(logits, targets).item()
    assert start.entropy == pytest.approx(-(p * p.log()).sum().item())
    assert start.entropy < loss < start.entropy + 0.8


def test_tied_embeddings_do_not_repeat_the_word_before() -> None:
    """x̂ of the word itself: its own logit is noise, with fresh gains it is √d above the rest."""
    norm, embeddings = fresh()
    before = torch.diagonal(norm(embeddings * 8) @ embeddings.T).mean().item()
    give_frequencies(norm, embeddings, zipf(), generator(), skip=(PADDING,))
    with torch.no_grad():
        own = torch.diagonal((norm(embeddings * 8) - norm.bias) @ embeddings.T).mean().item()
    assert before > 0.8 * math.sqrt(WIDTH) and abs(own) < 0.25 * math.sqrt(WIDTH)


def test_a_word_keeps_what_is_its_own() -> None:
    """Only the coordinate along u is written; padding's row stays zero."""
    norm, embeddings = fresh()
    before = embeddings.clone()
    give_frequencies(norm, embeddings, zipf(), generator(), skip=(PADDING,))
    u = norm.bias.detach()
    across = torch.eye(WIDTH) - torch.outer(u, u) / u.dot(u)
    torch.testing.assert_close(embeddings @ across, before @ across, rtol=1e-4, atol=1e-5)
    assert not embeddings[PADDING].any()
    assert norm.weight.abs().eq(1).all() and norm.bias.abs().eq(1).all()


def test_the_seed_decides_the_signs() -> None:
    starts = []
    for seed in (0, 0, 1):
        norm, embeddings = fresh()
        give_frequencies(norm, embeddings, zipf(), generator(seed))
        starts.append((norm.weight.detach(), embeddings))
    assert all(torch.equal(a, b) for a, b in zip(starts[0], starts[1]))
    assert not torch.equal(starts[0][1], starts[2][1])


def test_a_norm_without_a_bias_is_refused() -> None:
    norm, embeddings = fresh(bias=False)
    before = embeddings.clone()
    with pytest.raises(GradInitError, match="no gain and bias"):
        give_frequencies(norm, embeddings, zipf(), generator())
    assert torch.equal(embeddings, before)
