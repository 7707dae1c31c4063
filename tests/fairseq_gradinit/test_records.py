"""scales.json: whole or absent, and checked when read."""

import json
import os

import pytest

from fairseq_gradinit.gradinit import Block, GradInitError, Iteration, LearnedScales
from fairseq_gradinit.records import (
    IterationLog,
    matching,
    read_scales,
    record_of,
    write_scales,
)

BLOCKS = [Block("a.weight", (), "weight", (2, 3)), Block("b", ("c",), "bias", (3,))]
LEARNED = LearnedScales(
    BLOCKS, [0.5, 2.0], [1.0, 1.5], [0.5, 3.0], [True, False], 7, "iterations", 1.25
)
ABOUT = {"config": {"eta": 1e-3}, "seed": 4, "versions": {}}


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "gradinit" / "scales.json"
    write_scales(path, record_of(LEARNED, None, ABOUT))
    return path


def test_what_is_written_is_read(written):
    record = read_scales(written)
    assert (record.iterations, record.stop_reason, record.seed) == (7, "iterations", 4)
    assert [block.scale for block in record.blocks] == [0.5, 2.0]
    assert record.blocks[1].aliases == ["c"]
    assert matching(written, record, BLOCKS) == record.blocks


@pytest.mark.parametrize("scale", [0.0, 1e-300])
def test_scales_that_wipe_a_matrix_out_are_refused(written, scale):
    """A bias may go to 0, and an embedding."""
    record = read_scales(written)
    record.blocks[1].scale = scale
    assert matching(written, record, BLOCKS)[1].scale == scale
    record.blocks[0].scale = scale
    with pytest.raises(GradInitError, match=r"the scale of a\.weight is .*, which wipes it out"):
        matching(written, record, BLOCKS)
    embedding = [Block("a.weight", (), "embedding", (2, 3)), BLOCKS[1]]
    assert matching(written, record, embedding)[0].scale == scale


def test_order_is_the_models(written):
    record = read_scales(written)
    assert [b.name for b in matching(written, record, BLOCKS[::-1])] == ["b", "a.weight"]


def test_nothing_half_written_when_the_disk_fails(tmp_path, monkeypatch):
    path = tmp_path / "scales.json"
    path.write_text("old")

    def full(_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(GradInitError, match=r"--save-dir: .*cannot be written .*No space left"):
        write_scales(path, record_of(LEARNED, None, ABOUT))
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["scales.json"]


def test_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "gradinit").write_text("a file in the way")
    path = tmp_path / "gradinit" / "scales.json"
    for write in (
        lambda: write_scales(path, record_of(LEARNED, None, ABOUT)),
        lambda: IterationLog(path),
    ):
        with pytest.raises(GradInitError, match=r"--save-dir: .*cannot be written"):
            write()


@pytest.mark.parametrize(
    "other, says",
    [
        ([BLOCKS[0]], "b is not in the model"),
        ([*BLOCKS, Block("d", (), "weight", (1,))], "d is not in the file"),
        (
            [BLOCKS[0], Block("b", (), "bias", (4,))],
            r"b is \(3,\) in the file, \(4,\) in the model",
        ),
        ([Block(f"x{i}", (), "weight", (1,)) for i in range(9)], "and 8 more"),
    ],
)
def test_scales_of_another_model_say_which_blocks_differ(written, other, says):
    with pytest.raises(GradInitError, match=says):
        matching(written, read_scales(written), other)


BLOCK = {"name": "a", "shape": [1], "norm_before": 1, "scale": 1}
BAD_BLOCKS = {
    "no scale": [{key: value for key, value in BLOCK.items() if key != "scale"}],
    "negative": [{**BLOCK, "scale": -1}],
    "huge": [{**BLOCK, "scale": 1e30}],
    "all 0": [{**BLOCK, "scale": 0}],
    "twice": [BLOCK, {**BLOCK, "scale": 2}],
    "shape": [{**BLOCK, "shape": 1}],
    "name": [{**BLOCK, "name": 1}],
    "number": [1],
    "none": [],
}
GOOD = {"format": 1, "config": {}, "blocks": [BLOCK]}
BAD_TEXTS = {
    **{name: json.dumps({**GOOD, "blocks": blocks}) for name, blocks in BAD_BLOCKS.items()},
    "empty": "",
    "cut": json.dumps(GOOD)[:-1],
    "list": "[]",
    "null": "null",
    "format": json.dumps({**GOOD, "format": 2}),
    "no config": json.dumps({key: value for key, value in GOOD.items() if key != "config"}),
    "NaN": json.dumps(GOOD).replace('"scale": 1', '"scale": NaN'),
    "400 digits": json.dumps(GOOD).replace('"scale": 1', '"scale": ' + "9" * 400),
    "deep": "[" * 100_000,
}


def test_a_record_with_the_least_in_it_is_read(tmp_path):
    (tmp_path / "scales.json").write_text(json.dumps(GOOD))
    assert read_scales(tmp_path / "scales.json").blocks[0].scale == 1


@pytest.mark.parametrize("text", BAD_TEXTS.values(), ids=BAD_TEXTS)
def test_file_that_is_no_record_is_refused(tmp_path, text):
    path = tmp_path / "scales.json"
    path.write_text(text)
    with pytest.raises(GradInitError, match=r"--gradinit-scales: .*scales\.json") as caught:
        read_scales(path)
    assert "\n" not in str(caught.value)


def test_missing_file_and_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name in ("absent", "binary", "."):
        with pytest.raises(GradInitError, match="--gradinit-scales"):
            read_scales(tmp_path / name)


def test_iterations_are_valid_json_lines_as_they_come(tmp_path):
    path = tmp_path / "gradinit" / "iterations.jsonl"
    with IterationLog(path) as log:
        log.write(Iteration(0, "lower_norm", 8.5, float("nan"), 1000.0, 0.25))
        (line,) = path.read_text().splitlines()
        assert json.loads(line) == {
            "iteration": 0,
            "step": "lower_norm",
            "loss": 8.5,
            "lookahead_loss": None,
            "gradient_norm": 1000.0,
            "seconds": 0.25,
        }


def test_a_link_in_the_place_of_the_log_is_replaced(tmp_path):
    target, path = tmp_path / "precious", tmp_path / "iterations.jsonl"
    target.write_text("kept")
    path.symlink_to(target)
    with IterationLog(path) as log:
        log.write(Iteration(0, "lower_loss", 8.5, 8.0, 1000.0, 0.25))
    assert target.read_text() == "kept"
    assert not path.is_symlink() and len(path.read_text().splitlines()) == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_one_line(tmp_path):
    log = IterationLog(tmp_path / "iterations.jsonl")
    log._file = open("/dev/full", "w")  # noqa: SIM115
    with pytest.raises(GradInitError, match=r"--save-dir: .*No space left"), log:
        log.write(Iteration(0, "lower_loss", 8.5, 8.0, 1000.0, 0.25))
