"""The unigram start of a fairseq model: word frequencies of the train split, given to the layers
that end its decoder."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from fairseq.data import FairseqDataset
from torch import Tensor, nn

from .batches import collated
from .gradinit import GradInitError
from .gradinit.unigram import UnigramStart, give_frequencies, target_distribution

ENOUGH = 5_000_000  # target tokens; rarer words than that shows are rare whatever their count


class NoUnigramStart(GradInitError):
    """This model has no place for word frequencies; the message says why."""


def give_word_frequencies(
    model: nn.Module,
    criterion: nn.Module,
    dataset: FairseqDataset,
    index_lists: Sequence[Sequence[int]],
    seed: int,
) -> UnigramStart:
    """Has a fresh model predict the training targets' frequencies, as `criterion` sees them:
    end of sentence in, padding out, label smoothing in.

    Args:
        model: any fairseq model whose decoder ends in LayerNorm → softmax.
        index_lists: sentence indices of each batch of the train split.
        seed: of the random signs.

    Raises:
        NoUnigramStart: the model has no such end.
    """
    started = time.monotonic()
    norm, embeddings, padding = softmax_layer(model)
    samples = spread_samples(dataset, index_lists)
    counts = count_targets(samples, len(embeddings), padding)
    smoothing = float(getattr(criterion, "eps", 0.0))
    start = give_frequencies(
        norm,
        embeddings,
        target_distribution(counts, smoothing),
        torch.Generator().manual_seed(seed),
        skip=(padding,),
        # What sparse.py fixes, where the output layer is a layer of its own.
        mask=getattr(model.get_submodule("decoder.output_projection"), "weight_mask", None),
    )
    return replace(start, seconds=time.monotonic() - started)


def softmax_layer(model: nn.Module) -> tuple[nn.LayerNorm, Tensor, int]:
    """The LayerNorm before the softmax, the output embeddings [words, width], padding's index.

    Raises:
        NoUnigramStart: adaptive softmax, no LayerNorm at the end, or a layer between the two.
    """
    decoder = getattr(model, "decoder", None)
    if getattr(decoder, "adaptive_softmax", None) is not None:
        raise NoUnigramStart("the adaptive softmax has no single output layer")
    output = getattr(decoder, "output_projection", None)
    norm = getattr(decoder, "layer_norm", None)  # Pre-LN
    layers = getattr(decoder, "layers", None)
    if norm is None and layers is not None and len(layers) > 0:  # Post-LN
        last = layers[-1]
        if not getattr(last, "normalize_before", True):
            norm = getattr(last, "final_layer_norm", None)
    # Not by its class: apex's fused LayerNorm has another.
    if not hasattr(norm, "normalized_shape") or not isinstance(output, nn.Linear):
        raise NoUnigramStart("the model does not end in LayerNorm → softmax layer")
    if output.bias is not None or getattr(decoder, "project_out_dim", None) is not None:
        raise NoUnigramStart("there is a bias or a projection between LayerNorm and softmax")
    return cast(nn.LayerNorm, norm), output.weight.detach(), decoder.dictionary.pad()


def spread_samples(dataset: FairseqDataset, index_lists: Sequence[Sequence[int]]) -> Iterator[Any]:
    """Collated batches, all of them or, of a large split, some from everywhere in it."""
    # Batches lie sorted by length; the permutation is the same in every run.
    order = torch.randperm(len(index_lists), generator=torch.Generator().manual_seed(0))
    for at in order.tolist():
        yield collated(dataset, index_lists[at])


def count_targets(samples: Iterable[Any], words: int, padding: int, enough: int = ENOUGH) -> Tensor:
    """How often each word is a target in the samples, until `enough` are counted. [words]"""
    counts = torch.zeros(words, dtype=torch.long)
    for sample in samples:
        counts += torch.bincount(sample["target"].flatten(), minlength=words)
        counts[padding] = 0
        if counts.sum() >= enough:
            break
    return counts
