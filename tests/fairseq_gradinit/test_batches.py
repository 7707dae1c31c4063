"""S and S̃, and whole batches, from a fairseq dataset."""

from itertools import islice

import numpy as np
import pytest

from fairseq_gradinit.batches import Supply
from fairseq_gradinit.gradinit import GradInitError


class Sentences:
    """A dataset whose sample is the list of its sentences' numbers."""

    supports_prefetch = False

    def __getitem__(self, index):
        return index

    def collater(self, items):
        return items


whole_batches, overlapping_halves = Supply.whole_batches, Supply.overlapping_halves


def draw(method, index_lists, count, seed=0):
    supply = Supply(Sentences(), index_lists, np.random.default_rng(seed))
    return list(islice(method(supply), count))


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


def test_batches_too_small_to_cut_are_left_out():
    """fairseq cuts batches in multiples of 8, and what is left over can be one or two sentences."""
    lists = [[0, 1], [2, 3, 4], [5], [6, 7, 8, 9]]
    assert {i for sample in draw(overlapping_halves, lists, 40) for i in sample} == {
        2,
        3,
        4,
        6,
        7,
        8,
        9,
    }
    with pytest.raises(GradInitError, match="the largest has 2") as caught:
        draw(overlapping_halves, [[0, 1], [2]], 1)
    assert "--gradinit-max-tokens" in str(caught.value)


class Tokens(Sentences):
    """Sentence i has i tokens."""

    def collater(self, items):
        return {"items": items, "ntokens": sum(items)}


@pytest.mark.parametrize("sentence_avg, shares", [(False, [2 / 7, 5 / 7]), (True, [0.5, 0.5])])
def test_an_update_in_parts_weighs_them_as_training_does(sentence_avg, shares):
    lists = [[1, 1], [3, 2]]
    supply = Supply(Tokens(), lists, np.random.default_rng(1), 2, sentence_avg)
    batch = next(supply.whole_batches())
    found = dict(zip((tuple(sample["items"]) for sample in batch.batches), batch.shares))
    assert found == pytest.approx({(1, 1): shares[0], (3, 2): shares[1]})


def test_halves_of_an_update_in_parts():
    lists = [list(range(i, i + 6)) for i in range(0, 60, 6)]
    supply = Supply(Tokens(), lists, np.random.default_rng(1), 4)
    s, s_tilde = islice(supply.overlapping_halves(), 2)
    assert len(s.batches) == len(s_tilde.batches) == 4
    for one, other in zip(s.batches, s_tilde.batches):
        assert len(set(one["items"]) & set(other["items"])) == 2


def test_dataset_that_prefetches_is_prefetched_whole():
    class Prefetching(Sentences):
        supports_prefetch = True
        prefetched = None

        def prefetch(self, indices):
            self.prefetched = list(indices)

    dataset = Prefetching()
    next(Supply(dataset, [[0, 1], [2]], np.random.default_rng(0)).whole_batches())
    assert dataset.prefetched == [0, 1, 2]
