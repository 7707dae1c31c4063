"""`python -m fairseq_gradinit.lr_range`: a whole run, what it writes, and what it refuses."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from fairseq_runs import train_arguments

from fairseq_gradinit import lr_range
from fairseq_gradinit.files import read_json
from fairseq_gradinit.lr_range_record import EtaInit, LrRange, Rate

GRID = ["--points=4", "--updates=3", "--lowest=1e-4", "--highest=1"]


@pytest.fixture(scope="module")
def found(grammar, tmp_path_factory) -> tuple[Path, LrRange]:
    out = tmp_path_factory.mktemp("range") / "out"
    flags = train_arguments(grammar, out, "--max-tokens=200")
    lr_range.main([*flags, f"--out={out}", *GRID])
    return out, read_json(out / "lr_range.json", LrRange)


def test_every_rate_of_the_grid_is_tried_from_the_same_weights(found):
    _, record = found
    rates = [rate.learning_rate for rate in record.rates]
    assert rates == pytest.approx([1e-4, 10 ** (-8 / 3), 10 ** (-4 / 3), 1])
    assert len({rate.first_loss for rate in record.rates}) == 1
    assert len({rate.last_loss for rate in record.rates}) == 4
    assert all(math.isfinite(rate.source_worth) for rate in record.rates)
    assert set(record.eta_init) == {"loss", "source", "spread"}


def test_a_picture_and_numbers(found):
    out, _ = found
    assert (out / "lr_range.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (out / "lr_range.svg").read_text()


def rate(learning_rate: float, last: float, spread: float = 0.5) -> Rate:
    trains = last < 5 and spread > 0.1
    return Rate(learning_rate, 5.0, last, 0.1, spread, trains)


def test_the_marks_are_what_they_say():
    eta_init = {"loss": EtaInit(0.1, "bracket"), "source": None, "spread": None}
    rates = [rate(0.1, 4.9), rate(0.2, 4.5), rate(0.4, 4.0, 1e-9), rate(0.8, 3.9), rate(1.6, 9.0)]
    record = LrRange.of(rates, 20, eta_init)
    assert record.unstable == 1.6
    assert record.vouched_for == 0.2  # not 0.8, above one that has collapsed
    nothing = LrRange.of([rate(0.1, 6.0)], 20, eta_init)
    assert (nothing.unstable, nothing.vouched_for) == (0.1, None)


@pytest.mark.parametrize(
    "flags, says",
    [
        (["--points=1"], "--points: found 1; give 2 or more"),
        (["--updates=0"], "--updates: found 0; give 1 or more"),
        (["--lowest=1", "--highest=0.1"], "give 0 < lowest < highest"),
        (["--highest=inf"], "give 0 < lowest < highest"),
    ],
)
def test_bad_input_is_one_line(grammar, tmp_path, flags, says):
    given = train_arguments(grammar, tmp_path, "--max-tokens=200")
    with pytest.raises(SystemExit, match=says) as refused:
        lr_range.main([*given, f"--out={tmp_path}", *flags])
    assert "\n" not in str(refused.value)


def test_a_folder_that_is_not_there_is_one_line(tmp_path):
    given = train_arguments(tmp_path / "none", tmp_path)
    with pytest.raises(SystemExit, match="no such folder; give one that fairseq-preprocess"):
        lr_range.main([*given, f"--out={tmp_path}"])
