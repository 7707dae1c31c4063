"""S and S̃, and whole batches, from a fairseq dataset."""

from itertools import islice

import numpy as np
import pytest

from fairseq_gradinit.batches import overlapping_halves, whole_batches
from fairseq_gradinit.gradinit import GradInitError


class Sentences:
    """A dataset whose sample is the list of its sentences' numbers."""

    supports_prefetch = False

    def __getitem__(self, index):
        return index

    def collater(self, items):
        return items


def draw(supply, index_lists, count, seed=0):
    return list(islice(supply(Sentences(), index_lists, np.random.default_rng(seed)), count))


@pytest.mark.parametrize("size", range(3, 20))
def test_halves_share_half_of_their_sentences(size):
    s, s_tilde = draw(overlapping_halves, [list(range(size))], 2)
    assert len(s) == len(s_tilde) == size - size // 3
    assert set(s) | set(s_tilde) == set(range(size))
    shared = len(set(s) & set(s_tilde))
    assert shared == size - 2 * (size // 3)
    if size % 3 == 0:
        assert shared == len(s) / 2


def test_sentences_are_permuted_before_the_cut():
    """fairseq stores a batch sorted by length: uncut, S would be the short ones."""
    firsts = {tuple(sorted(s)) for s in draw(overlapping_halves, [list(range(9))], 40)[::2]}
    assert len(firsts) > 5


@pytest.mark.parametrize("supply", [whole_batches, overlapping_halves])
def test_same_seed_same_draws(supply):
    lists = [list(range(i, i + 6)) for i in range(0, 60, 6)]
    assert draw(supply, lists, 30, seed=1) == draw(supply, lists, 30, seed=1)
    assert draw(supply, lists, 30, seed=1) != draw(supply, lists, 30, seed=2)


def test_every_batch_comes_once_before_any_comes_twice():
    lists = [[i] for i in range(10)]
    drawn = [sample[0] for sample in draw(whole_batches, lists, 30)]
    rounds = [drawn[i : i + 10] for i in (0, 10, 20)]
    assert all(sorted(one) == list(range(10)) for one in rounds)
    assert rounds[0] != rounds[1]


def test_batch_too_small_to_cut_is_refused():
    with pytest.raises(GradInitError, match="batch of 2 sentence") as caught:
        draw(overlapping_halves, [[0, 1]], 2)
    assert "--gradinit-max-tokens" in str(caught.value)


def test_dataset_that_prefetches_is_prefetched_whole():
    class Prefetching(Sentences):
        supports_prefetch = True
        prefetched = None

        def prefetch(self, indices):
            self.prefetched = list(indices)

    dataset = Prefetching()
    next(whole_batches(dataset, [[0, 1], [2]], np.random.default_rng(0)))
    assert dataset.prefetched == [0, 1, 2]
