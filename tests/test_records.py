"""scales.json: whole or absent, and checked when read."""

import json
import os

import pytest

from fairseq_gradinit.gradinit import Block, GradInitError, Iteration, LearnedScales
from fairseq_gradinit.records import IterationLog, matching, read_scales, write_scales

BLOCKS = [Block("a.weight", (), "weight", (2, 3)), Block("b", ("c",), "bias", (3,))]
LEARNED = LearnedScales(BLOCKS, [0.5, 2.0], [1.0, 1.5], [0.5, 3.0], 7, "settled", 1.25)


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "gradinit" / "scales.json"
    write_scales(path, LEARNED, {"config": {"eta": 1e-3}, "seed": 4, "versions": {}})
    return path


def test_what_is_written_is_read(written):
    record = read_scales(written)
    assert (record["iterations"], record["stop_reason"], record["seed"]) == (7, "settled", 4)
    assert [block["scale"] for block in record["blocks"]] == [0.5, 2.0]
    assert record["blocks"][1]["aliases"] == ["c"]
    assert matching(written, record, BLOCKS) == record["blocks"]


def test_order_is_the_models(written):
    record = read_scales(written)
    assert [b["name"] for b in matching(written, record, BLOCKS[::-1])] == ["b", "a.weight"]


def test_nothing_half_written_when_the_disk_fails(tmp_path, monkeypatch):
    path = tmp_path / "scales.json"
    path.write_text("old")

    def full(_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(GradInitError, match=r"--save-dir: cannot write .*No space left"):
        write_scales(path, LEARNED, {})
    assert path.read_text() == "old"
    assert not path.with_name("scales.json.tmp").exists()


def test_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "gradinit").write_text("a file in the way")
    path = tmp_path / "gradinit" / "scales.json"
    for write in (lambda: write_scales(path, LEARNED, {}), lambda: IterationLog(path)):
        with pytest.raises(GradInitError, match="--save-dir: cannot write"):
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


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"format": 1}',
        '{"format": 2, "blocks": []}',
        '{"format": 1, "blocks": [1]}',
        '{"format": 1, "blocks": [{"name": "a", "shape": [1], "norm_before": 1}]}',
        '{"format": 1, "blocks": [{"name": "a", "shape": [1], "norm_before": 1, "scale": NaN}]}',
        '{"format": 1, "blocks": [{"name": "a", "shape": [1], "norm_before": 1, "scale": -1}]}',
        '{"format": 1, "blocks": [{"name": "a", "shape": 1, "norm_before": 1, "scale": 1}]}',
        '{"format": 1, "blocks": [{"name": 1, "shape": [1], "norm_before": 1, "scale": 1}]}',
    ],
)
def test_file_that_is_no_record_is_refused(tmp_path, text):
    path = tmp_path / "scales.json"
    path.write_text(text)
    with pytest.raises(GradInitError, match=r"--gradinit-scales: .*scales\.json") as caught:
        read_scales(path)
    assert "\n" not in str(caught.value)


def test_missing_file_and_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name in ("absent", "binary"):
        with pytest.raises(GradInitError, match="--gradinit-scales"):
            read_scales(tmp_path / name)


def test_iterations_are_valid_json_lines_as_they_come(tmp_path):
    path = tmp_path / "gradinit" / "iterations.jsonl"
    with IterationLog(path) as log:
        log.write(Iteration(0, "constraint", 8.5, float("nan"), 1000.0, 0.25))
        (line,) = path.read_text().splitlines()
        assert json.loads(line) == {
            "iteration": 0,
            "branch": "constraint",
            "loss": 8.5,
            "lookahead_loss": None,
            "gradient_norm": 1000.0,
            "seconds": 0.25,
        }
