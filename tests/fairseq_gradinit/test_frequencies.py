"""Words are counted as the criterion sees them: padding out, end of sentence in."""

from __future__ import annotations

import torch

from fairseq_gradinit.frequencies import count_targets

PADDING, EOS = 1, 2


def test_padding_is_not_counted_and_the_end_of_a_sentence_is():
    rows = [[5, 4, EOS, PADDING], [5, 5, 6, EOS]]
    counts = count_targets([{"target": torch.tensor(rows)}], words=8, padding=PADDING)
    assert counts.tolist() == [0, 0, 2, 0, 1, 3, 1, 0]


def test_it_stops_once_enough_are_counted():
    def samples():
        for _ in range(3):
            yield {"target": torch.tensor([[5, EOS, PADDING]])}
        raise AssertionError("one more was drawn")

    assert count_targets(samples(), words=8, padding=PADDING, enough=6).sum() == 6
