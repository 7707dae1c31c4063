"""A few faults of every part; `make faults` has hundreds."""

import pytest
from faults.__main__ import PARTS, inject


@pytest.mark.parametrize("name, count", zip(PARTS, (12, 20, 15)))
def test_nothing_is_lost(tmp_path, name, count):
    counts = inject(name, count, seed=2, folder=tmp_path / name)
    assert sum(row["injected"] for row in counts.values()) >= count
    assert not {kind: row for kind, row in counts.items() if row["lost"]}
