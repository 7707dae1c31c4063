"""A few faults of every part; `make faults` has hundreds."""

import pytest
from faults.__main__ import PARTS, inject
from faults.injector import LOST
from faults.kept import Kept


@pytest.mark.parametrize("name, count", zip(PARTS, (14, 20, 15)))
def test_nothing_is_lost(tmp_path, name, count):
    found = list(inject(name, list(range(count)), seed=2, folder=tmp_path / name))
    assert len(found) == count
    assert not [piece for piece in found if piece["outcome"] == LOST]


def test_a_run_that_was_killed_goes_on(tmp_path):
    """Each fault is decided by its number; those that are kept are not made again."""
    conditions = {"seed": 3}
    kept = Kept(tmp_path / "faults.jsonl", conditions)
    for piece in inject("data_prep", [0, 1], 3, tmp_path / "first"):
        kept.add(piece)
    with open(tmp_path / "faults.jsonl", "a") as file:
        file.write('{"part": "data_pr')  # the kill
    again = Kept(tmp_path / "faults.jsonl", conditions)
    assert again.pieces == kept.pieces
    assert again.pieces == list(inject("data_prep", [0, 1], 3, tmp_path / "second"))
    again.add({"part": "data_prep"})
    assert len(Kept(tmp_path / "faults.jsonl", conditions).pieces) == 3
    assert not Kept(tmp_path / "faults.jsonl", {"seed": 4}).pieces
