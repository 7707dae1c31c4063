"""probes.jsonl, and `python -m fairseq_gradinit.probes` over it."""

import json
import math
import subprocess
import sys

import pytest

from fairseq_gradinit.files import FileError
from fairseq_gradinit.probes.charts import COLUMNS, page
from fairseq_gradinit.probes.record import Record, RecordLog, read_records, records_path


def record(update, **numbers):
    return Record(
        update=update,
        learning_rate=1e-3,
        egf_1=2.0,
        egf_2=1.0,
        gradient_norm={"encoder.layers.0.fc1": 0.5 / update, "decoder.layers.0.fc1": 0.0},
        update_ratio={"encoder.layers.0.fc1": 1e-3, "decoder.layers.0.fc1": 1e-4},
        token_spread={"encoder.layers.0": 0.3},
        attention_entropy={"encoder.layers.0.self_attn": 0.9},
        **numbers,
    )


@pytest.fixture
def path(tmp_path):
    return records_path(tmp_path)


def test_what_is_written_is_read_back(path):
    log = RecordLog(path)
    for update in (1, 50):
        log.write(record(update, gradient_sharpness=-3.25, top_eigenvalue=math.inf))
    found = read_records(path)
    assert [r.update for r in found] == [1, 50]
    assert found[1].gradient_norm["encoder.layers.0.fc1"] == 0.01
    assert found[0].gradient_sharpness == -3.25 and found[0].top_eigenvalue is None


def test_a_second_run_writes_over_what_lies_ahead_of_it(path):
    for updates in ((1, 50, 100), (100, 150), (50,)):
        log = RecordLog(path)
        for update in updates:
            log.write(record(update, egf_2_power_mean=float(len(updates))))
    assert [r.update for r in read_records(path)] == [1, 50]
    assert [r.egf_2_power_mean for r in read_records(path)] == [3.0, 1.0]


def test_a_killed_runs_unfinished_line_is_dropped(path):
    RecordLog(path).write(record(1))
    with open(path, "a") as file:
        file.write('{"update": 50, "lear')
    RecordLog(path).write(record(50))
    assert [r.update for r in read_records(path)] == [1, 50]


def test_a_foreign_line_is_one_line_with_a_remedy(path):
    path.parent.mkdir()
    path.write_text('{"update": "one"}\n')
    with pytest.raises(FileError, match=r"probes\.jsonl, line 1: .*; remove it, or give another"):
        RecordLog(path)


def test_flat_names_leave_out_what_was_not_measured():
    scalars = record(7, egf_1_per_active=math.nan).scalars()
    assert scalars["gradient_norm/decoder.layers.0.fc1"] == 0 and scalars["egf_1"] == 2.0
    assert not {"egf_1_per_active", "top_eigenvalue"} & scalars.keys()


def draw(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "fairseq_gradinit.probes", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_run_is_drawn_as_page_and_pictures(tmp_path, path):
    log = RecordLog(path)
    for update in (1, 2, 4):
        log.write(record(update, gradient_sharpness=-1.0 if update == 2 else 2.0))
    result = draw(tmp_path)
    assert result.returncode == 0, result.stderr
    assert [line.rpartition("/")[2] for line in result.stdout.split()] == [
        "probes.html",
        "probes.svg",
        "probes.png",
    ]
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    drawn = path.with_suffix(".svg").read_text()
    assert "encoder.layers.0.fc1" in drawn and "token spread" in drawn
    html = path.with_suffix(".html").read_text()
    assert "https://cdn" not in html and len(html) < 2_000_000


def test_rows_are_in_the_models_order_and_columns_are_updates():
    shown = page([record(1), record(2)], "run").to_dict()
    maps = [chart for row in shown["vconcat"] for chart in row["hconcat"]]
    norm = next(chart for chart in maps if chart["title"].startswith("gradient norm"))
    assert norm["encoding"]["y"]["sort"] == ["encoder.layers.0.fc1", "decoder.layers.0.fc1"]
    cells = {(v["layer"], v["update"]): v["value"] for v in norm["data"]["values"]}
    assert len(cells) == 4 and cells["encoder.layers.0.fc1", 2] == 0.25
    assert cells["decoder.layers.0.fc1", 1] > 0  # a logarithm has no colour for 0


def test_a_long_run_is_thinned_out():
    shown = page([record(update) for update in range(1, 1001)], "run").to_dict()
    drawn = json.dumps(shown)
    assert 0 < drawn.count('"layer": "encoder.layers.0"') <= COLUMNS


@pytest.mark.parametrize("content", [None, "", "{}\n"])
def test_nothing_to_draw_is_one_line(tmp_path, path, content):
    if content is not None:
        path.parent.mkdir()
        path.write_text(content)
    result = draw(tmp_path)
    assert result.returncode == 1 and not result.stdout
    assert str(path) in result.stderr and len(result.stderr.splitlines()) == 1


def test_numbers_of_a_line_are_json(path):
    RecordLog(path).write(record(1, gradient_norm_2=math.nan))
    assert json.loads(path.read_text(), parse_constant=pytest.fail)["gradient_norm_2"] is None
