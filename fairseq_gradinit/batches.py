"""GradInit's own supply of training batches, apart from the run's iterator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from fairseq.data import FairseqDataset

from .gradinit import GradInitError

MIN_SENTENCES = 3  # S and S̃ are the first and the last two thirds of a batch


def whole_batches(
    dataset: FairseqDataset, index_lists: Sequence[Sequence[int]], rng: np.random.Generator
) -> Iterator[Any]:
    """Collated samples for ever, reshuffled each time round.

    index_lists: a list of sentence indices per batch.
    """
    for indices in _shuffled(dataset, index_lists, rng):
        yield dataset.collater([dataset[i] for i in indices])


def overlapping_halves(
    dataset: FairseqDataset, index_lists: Sequence[Sequence[int]], rng: np.random.Generator
) -> Iterator[Any]:
    """S, S̃, S, S̃, … for ever: the first and last two thirds of each batch (Zhu et al. 2021).

    Sentences are permuted first, since fairseq stores a batch sorted by length.

    Raises:
        GradInitError: a batch has too few sentences to be cut.
    """
    for indices in _shuffled(dataset, index_lists, rng):
        if len(indices) < MIN_SENTENCES:
            raise GradInitError(
                f"--gradinit-max-tokens: a batch of {len(indices)} sentence(s) cannot be cut into "
                f"S and S̃, which need {MIN_SENTENCES}; give more tokens"
            )
        permuted = rng.permutation(indices)
        third = len(permuted) // 3
        for half in (permuted[: len(permuted) - third], permuted[third:]):
            yield dataset.collater([dataset[int(i)] for i in half])


def _shuffled(
    dataset: FairseqDataset, index_lists: Sequence[Sequence[int]], rng: np.random.Generator
) -> Iterator[Sequence[int]]:
    if getattr(dataset, "supports_prefetch", False):
        dataset.prefetch([i for indices in index_lists for i in indices])
    while True:
        for at in rng.permutation(len(index_lists)):
            yield index_lists[at]
