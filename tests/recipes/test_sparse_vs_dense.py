"""Rank correlation of gradient flow with BLEU, over what cells leave behind."""

import json
import random

import pytest

from recipes.sparse_vs_dense import correlations, interval, kendall, main, read_runs


@pytest.mark.parametrize("seed", range(20))
def test_kendall_is_scipys(seed):
    stats = pytest.importorskip("scipy.stats")
    rng = random.Random(seed)
    pairs = [(rng.randrange(6) / 2, rng.randrange(4) / 1.0) for _ in range(rng.randrange(5, 30))]
    assert kendall(pairs) == pytest.approx(stats.kendalltau(*zip(*pairs)).statistic)


def test_order_alone_matters():
    rising = [(x, x**3) for x in (0.1, 2.0, 5.0, 9.0)]
    assert kendall(rising) == 1 and interval(rising) == (1, 1)
    assert kendall([(x, -y) for x, y in rising]) == -1
    assert kendall([(1.0, y) for _, y in rising]) is None
    assert kendall(rising[:2]) is None and interval(rising[:2]) == (None, None)


def test_interval_holds_the_correlation_and_narrows_with_more_cells():
    rng = random.Random(3)
    pairs = [(x := rng.random(), x + rng.random()) for _ in range(80)]
    few, many = interval(pairs[:12]), interval(pairs)
    assert many[0] < kendall(pairs) < many[1] and many[1] - many[0] < few[1] - few[0]


def write_cell(out, name, init, bleu, flows):
    folder = out / "adam" / "grid" / "cells" / name
    (folder / "checkpoints" / "gradinit").mkdir(parents=True)
    config = {"name": name, "values": {"lr": "1e-3", "init": init}}
    (folder / "cell.json").write_text(json.dumps(config))
    score = {"status": "done", "bleu": {"score": bleu, "signature": "s"}}
    (folder / "score.json").write_text(json.dumps(score))
    lines = [
        {
            "update": n,
            "learning_rate": 1e-3,
            "egf_1": f,
            "egf_2": f,
            "gradient_norm_2": 1.0,
            "x": {},
        }
        for n, f in enumerate(flows, start=1)
    ]
    probes = folder / "checkpoints" / "gradinit" / "probes.jsonl"
    probes.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture
def out(tmp_path):
    for index in range(4):
        write_cell(
            tmp_path, f"d{index}", "dense-8-none", 10.0 + index, [index + 1.0, None, index + 3.0]
        )
        write_cell(tmp_path, f"s{index}", "sparse-16-like-8-none", 10.0 - index, [index + 1.0])
    return tmp_path


def test_cells_are_read_and_correlated_by_kind(out):
    runs = read_runs(out)
    assert len(runs) == 8 and runs[0].flow["egf_1"] == 2.0  # a null is left out of the mean
    found = {(c.kind, c.measure): c for c in correlations(runs)}
    assert found["dense", "egf_1"].tau == 1 and found["sparse", "egf_1"].tau == -1
    assert found["all", "egf_1"].cells == 8
    assert found["all", "gradient_norm_2"].tau is None  # it never differs


def test_report_has_every_cell(out, capsys):
    assert main([str(out)]) == 0
    text = (out / "gradient_flow.md").read_text()
    assert text.count("dense-8-none") == 4 and text.count("sparse-16-like-8-none") == 4
    assert "| adam | dense | egf_1 | 4 | 1.00 | 1.00 to 1.00 |" in text
    assert len(json.loads((out / "gradient_flow.json").read_text())["runs"]) == 8


def test_a_cell_without_score_or_probes_is_left_out(out):
    write_cell(out, "running", "dense-8-none", 1.0, [1.0]).joinpath("score.json").unlink()
    assert len(read_runs(out)) == 8


def test_cells_of_another_grid_are_one_line(out, capsys):
    file = write_cell(out, "foreign", "dense-8-none", 1.0, [1.0]) / "cell.json"
    file.write_text(json.dumps({"values": {"init": "dense-8-none", "beta2": "0.9"}}))
    assert main([str(out)]) == 0  # an axis that only some have
    file.write_text(json.dumps({"values": {"lr": "1e-3"}}))
    capsys.readouterr()
    assert main([str(out)]) == 1
    assert "has no axis init; give an --out of sparse_vs_dense.sh" in capsys.readouterr().err


def test_nothing_to_read_is_one_line(tmp_path, capsys):
    assert main([str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path}: no scored cell") and len(error.splitlines()) == 1
