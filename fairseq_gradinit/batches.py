"""GradInit's own supply of training batches, apart from the run's iterator."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn, cast

import numpy as np
from fairseq.data import FairseqDataset

from .gradinit import GradInitError
from .gradinit.gradient import Parts
from .sharing import Leader

MIN_SENTENCES = 3  # S and S̃ are the first and the last two thirds of a batch


def cut_batches(make: Callable[..., Any], *args: Any, **kwargs: Any) -> Sequence[Sequence[int]]:
    """Sentence indices of each batch that fairseq's `get_batch_iterator` makes of a split; none
    where no sentence of it is short enough."""
    try:
        return cast(Sequence[Sequence[int]], make(*args, **kwargs).frozen_batches)
    except IndexError:  # fairseq looks at the last batch, of none
        return []


class Supply:
    """Batches of the train split for ever, reshuffled each time round.

    Args:
        index_lists: sentence indices of each batch that fairseq made.
        update_freq: how many of them make a batch of one update.
        sentence_avg: the loss of an update is averaged over sentences, not tokens.
        leader: of the processes that share the passes over an update's batches.
    """

    def __init__(
        self,
        dataset: FairseqDataset,
        index_lists: Sequence[Sequence[int]],
        rng: np.random.Generator,
        update_freq: int = 1,
        sentence_avg: bool = False,
        leader: Leader | None = None,
    ) -> None:
        self._dataset, self._index_lists, self._rng = dataset, list(index_lists), rng
        self._update_freq, self._sentence_avg = update_freq, sentence_avg
        self._leader = leader
        if getattr(dataset, "supports_prefetch", False):
            dataset.prefetch([i for indices in index_lists for i in indices])

    def whole_batches(self, skip: int = 0) -> Iterator[Any]:
        """A collated sample for each update, or `Parts` of several; without the first `skip`."""
        return self._collated(self._whole(), skip)

    def overlapping_halves(self, skip: int = 0) -> Iterator[Any]:
        """S, S̃, S, S̃, … for ever: the first and last two thirds of each batch (Zhu et al. 2021).

        Sentences are permuted first, since fairseq stores a batch sorted by length. The few
        sentences that are left over where fairseq cuts batches, too few to be cut, are left out.

        skip: of the samples, not of the pairs.

        Raises:
            GradInitError: no batch can be cut.
        """
        large = [indices for indices in self._index_lists if len(indices) >= MIN_SENTENCES]
        if not large:
            self._refuse_to_cut()
        return self._collated(self._halves(large), skip)

    def _collated(self, plans: Iterator[list[Sequence[int]]], skip: int) -> Iterator[Any]:
        # What is skipped is drawn, so that the generator goes on as it would have, but not read.
        return map(self._batch, itertools.islice(plans, skip, None))

    def _whole(self) -> Iterator[list[Sequence[int]]]:
        shuffled = self._shuffled(self._index_lists)
        while True:
            yield [next(shuffled) for _ in range(self._update_freq)]

    def _halves(self, large: Sequence[Sequence[int]]) -> Iterator[list[Sequence[int]]]:
        shuffled = self._shuffled(large)
        while True:
            first: list[Sequence[int]] = []
            last: list[Sequence[int]] = []
            for indices in (next(shuffled) for _ in range(self._update_freq)):
                permuted = self._rng.permutation(indices).tolist()
                third = len(permuted) // 3
                first.append(permuted[: len(permuted) - third])
                last.append(permuted[third:])
            yield first
            yield last

    def _refuse_to_cut(self) -> NoReturn:
        most, all_of_them = max(map(len, self._index_lists)), sum(map(len, self._index_lists))
        needs = f"the {MIN_SENTENCES} sentences that S and S̃ need"
        if all_of_them < MIN_SENTENCES:
            raise GradInitError(
                f"--gradinit-preset paper: the train split has {all_of_them} sentence(s), not "
                f"{needs}; give more data, or --gradinit-preset multistep"
            )
        raise GradInitError(
            f"--gradinit-preset paper: no batch has {needs}, the largest has {most}; give a larger "
            "--gradinit-max-tokens, or a --batch-size of at least 8"
        )

    def _batch(self, parts: Sequence[Sequence[int]]) -> Any:
        samples = [collated(self._dataset, part) for part in parts]
        if len(samples) == 1:
            return samples[0]
        sizes = [
            len(part) if self._sentence_avg else int(sample["ntokens"])
            for part, sample in zip(parts, samples)
        ]
        shares = [size / sum(sizes) for size in sizes]
        others = None if self._leader is None else self._leader.over(parts, shares)
        return Parts(samples, shares, others)

    def _shuffled(self, index_lists: Sequence[Sequence[int]]) -> Iterator[Sequence[int]]:
        while True:
            for at in self._rng.permutation(len(index_lists)):
                yield index_lists[at]


def collated(dataset: FairseqDataset, indices: Sequence[int]) -> Any:
    """The sample that fairseq makes of these sentences."""
    return dataset.collater([dataset[i] for i in indices])
