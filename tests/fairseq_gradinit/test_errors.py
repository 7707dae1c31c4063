"""Bad input through fairseq-train: one line with flag, value and remedy, and no trace."""

import contextlib
import json
import shutil
from dataclasses import fields

import pytest
from fairseq_runs import USER_DIR, command, run, train, train_arguments

from fairseq_gradinit.flags import GradInitConfig

GRADINIT = [
    *("--gradinit", "--gradinit-iters=1", "--gradinit-lookahead=1", "--gradinit-trial=2"),
]

BAD_FLAGS = {
    "eta": (["--gradinit-eta=0"], "--lr or --gradinit-eta: found 0.0; give a finite number"),
    "negative-lr": (["--gradinit-lr=-1"], "--gradinit-lr: found -1.0"),
    "negative-iters": (["--gradinit-iters=-1"], "--gradinit-iters: found -1"),
    "lookahead": (["--gradinit-lookahead=0"], "--gradinit-lookahead: found 0"),
    "lookahead-lr": (["--gradinit-lookahead-lr=-2"], "--gradinit-lookahead-lr: found -2.0; give a"),
    "paper-lookahead": (
        ["--gradinit-preset=paper", "--gradinit-lookahead=3"],
        "--gradinit-preset multistep",
    ),
    "gamma": (["--gradinit-gamma=-5"], "--gradinit-gamma: found -5.0"),
    "betas": (["--gradinit-betas=0.9"], "--gradinit-betas: found 0.9; give two numbers"),
    "betas-words": (["--gradinit-betas=(a, b)"], "--gradinit-betas"),
    "min-scale": (["--gradinit-min-scale=0"], "--gradinit-min-scale: found 0.0"),
    "max-scale": (["--gradinit-max-scale=0.5"], "upper bounds 0.5"),
    "branch-scale": (["--gradinit-branch-scale=0"], "--gradinit-branch-scale: found 0.0; give"),
    "branch-scale-inf": (["--gradinit-branch-scale=inf"], "--gradinit-branch-scale: found inf"),
    "branch-scale-nan": (["--gradinit-branch-scale=nan"], "--gradinit-branch-scale: found nan"),
    "branch-scale-huge": (["--gradinit-branch-scale=1e7"], "give a number between 0.01 and 1e+06"),
    "huge-trial": (["--gradinit-trial=99999999999"], "found 99999999999; give 0 to 10000"),
    "huge-lookahead": (["--gradinit-lookahead=1000000"], "found 1000000; give 1 to 1000"),
    "no-lr": (["--lr=[]"], "--lr: found []; give a number"),
    "update-freq": (["--update-freq=0"], "--update-freq: found 0; give a whole number from 1 on"),
    "no-update-freq": (["--update-freq=[]"], "--update-freq: found []; give a number"),
    "scales-folder": (["--gradinit-scales=/tmp"], "/tmp: is not a regular file; give a file"),
    "encoder-scale": (
        ["--gradinit-start=fixed", "--gradinit-encoder-scale=0"],
        "--gradinit-encoder-scale: found 0.0; give",
    ),
    "drift": (["--gradinit-drift=0"], "--gradinit-drift: found 0.0; give"),
    "watch": (["--gradinit-watch=-1"], "--gradinit-watch: found -1; give 0 or more"),
    "trial": (["--gradinit-trial=-1"], "--gradinit-trial: found -1; give 0 to 10000"),
    "max-change": (["--gradinit-max-change=0.1"], "--gradinit-max-change: found 0.1; give 1 or"),
    "run-lr": (["--lr=0"], "--gradinit-eta: found 0.0"),
    "unknown-first-step": (
        ["--optimizer=adafactor", "--gradinit-preset=paper"],
        "give adam or sgd, or --gradinit-preset multistep",
    ),
    "negative-max-tokens": (["--gradinit-max-tokens=-1"], "--gradinit-max-tokens: found -1"),
    "max-tokens": (["--gradinit-max-tokens=4"], "smaller than the longest sentence"),
    "max-tokens-valid": (["--max-tokens-valid=4"], "or give a larger --max-tokens-valid"),
    "scales-absent": (["--gradinit-scales=/nowhere/scales.json"], "/scales.json: cannot be read"),
    "tpu": (["--tpu"], "--tpu"),
    "fsdp": (
        ["distributed_training.ddp_backend=fully_sharded"],
        "--ddp-backend fully_sharded",
    ),
    "model-parallel": (["common.model_parallel_size=2"], "--model-parallel-size"),
}


@pytest.mark.parametrize("flags, says", BAD_FLAGS.values(), ids=BAD_FLAGS)
def test_bad_flag(grammar, tmp_path, flags, says, monkeypatch):
    # The refusal comes before fairseq meets a backend that this machine has not got.
    monkeypatch.setattr("fairseq_runs.call_main", lambda config, main: main(config))
    monkeypatch.setattr("fairseq_cli.train.fsdp_enable_wrap", contextlib.nullcontext)
    monkeypatch.setattr("fairseq_cli.train.fsdp_wrap", lambda module: module)
    with pytest.raises(SystemExit) as caught:
        train(grammar, tmp_path, *GRADINIT, *flags)
    message = str(caught.value)
    assert says in message
    assert message.startswith("fairseq-train: error: --") and "\n" not in message
    assert not (tmp_path / "gradinit" / "scales.json").exists()


@pytest.mark.parametrize(
    "flag", ["--gradinit-preset=papr", "--gradinit-constraint=x", "--gradinit-algorithm=x"]
)
def test_unknown_choice_is_refused_by_the_parser(grammar, tmp_path, flag, capsys):
    with pytest.raises(SystemExit) as caught:
        train(grammar, tmp_path, *GRADINIT, flag)
    assert caught.value.code != 0
    error = capsys.readouterr().err.splitlines()[-1]
    assert flag.split("=")[0] in error and "choose from" in error


def test_missing_train_split(grammar, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(grammar, data)
    for file in data.glob("train.*"):
        file.unlink()
    with pytest.raises(SystemExit, match=r"--gradinit: no train split .*--trainpref"):
        train(data, tmp_path / "run", *GRADINIT)
    with pytest.raises(SystemExit, match=r"--gradinit: no nine split .*--trainpref, or name it"):
        train(data, tmp_path / "run", *GRADINIT, "--train-subset=nine")


def test_file_where_the_folder_should_be(grammar, tmp_path):
    (tmp_path / "gradinit").write_text("in the way")
    with pytest.raises(SystemExit, match=r"--save-dir: .*cannot be written"):
        train(grammar, tmp_path, *GRADINIT)


@pytest.mark.parametrize("name", ["scales.json", "progress.json", "iterations.jsonl"])
def test_folder_where_a_file_should_be(grammar, tmp_path, name):
    (tmp_path / "gradinit" / name).mkdir(parents=True)
    with pytest.raises(SystemExit, match=rf"{name}: cannot be (removed|written) \(Is a directory"):
        train(grammar, tmp_path, *GRADINIT)


def test_scales_of_another_model(grammar, tmp_path):
    train(grammar, tmp_path / "two", *GRADINIT)
    flag = f"--gradinit-scales={tmp_path / 'two' / 'gradinit' / 'scales.json'}"
    with pytest.raises(SystemExit, match=r"encoder\.layers\.2.* is not in the file"):
        train(grammar, tmp_path / "three", flag, "--encoder-layers=3")


def test_loss_that_explodes_names_block_and_iteration(grammar, tmp_path):
    flags = ["--gradinit", "--gradinit-eta=1e30", "--optimizer=sgd", "--gradinit-gamma=1e9"]
    searched = ["--gradinit-start=fixed", "--gradinit-iters=3"]
    with pytest.raises(SystemExit, match=r"GradInit iteration 0, .*lower --lr"):
        train(grammar, tmp_path, *flags, *searched)
    with pytest.raises(SystemExit, match=r"the measured start: .*encoder.*lower --lr"):
        train(grammar, tmp_path, *flags)


@pytest.mark.parametrize(
    "eta, says", [("1e30", "nor at any down to 6.25e+28; warm up"), ("1e-2", None)]
)
def test_a_learning_rate_beyond_rescue_is_said(grammar, tmp_path, caplog, eta, says):
    flags = ["--gradinit", "--gradinit-start=fixed", "--gradinit-trial=20"]
    train(grammar, tmp_path, *flags, f"--gradinit-eta={eta}", "--optimizer=sgd", "--max-update=1")
    warned = [line for line in caplog.text.splitlines() if "not fit to train" in line]
    assert len(warned) == (says is not None)
    assert says is None or (says in warned[0] and "at learning rate 1e+30" in warned[0])
    text = (tmp_path / "gradinit" / "scales.json").read_text()
    json.loads(text, parse_constant=pytest.fail)  # NaN and Infinity are not JSON


def test_a_lower_learning_rate_that_trains_is_named(grammar, tmp_path, caplog):
    flags = ["--gradinit", "--gradinit-start=fixed", "--gradinit-trial=30", "--optimizer=sgd"]
    train(grammar, tmp_path, *flags, "--gradinit-eta=4", "--max-update=1")
    (warned,) = [line for line in caplog.text.splitlines() if "not fit to train" in line]
    record = json.loads((tmp_path / "gradinit" / "scales.json").read_text())["prediction"]
    highest = record["highest_learning_rate"]
    assert not record["trains"] and highest < 4
    assert f"--lr {highest:.3g}, the highest" in warned


def test_a_model_without_branches_is_said(grammar, tmp_path, caplog):
    transformer = ("--encoder-ffn", "--decoder-ffn", "--encoder-attention", "--decoder-attention")
    flags = ["--gradinit", "--gradinit-iters=1", "--gradinit-lookahead=1", "--gradinit-trial=0"]
    given = train_arguments(grammar, tmp_path, *flags, "--arch=lstm", "--decoder-out-embed-dim=16")
    run([flag for flag in given if not flag.startswith(transformer)])
    record = json.loads((tmp_path / "gradinit" / "scales.json").read_text())
    assert all(1 / 1.21 < block["scale"] < 1.21 for block in record["blocks"])
    assert "no residual branches between LayerNorms" in caplog.text


def test_no_trace_and_an_exit_code_in_a_shell(grammar, tmp_path):
    result = command("train", *train_arguments(grammar, tmp_path, *GRADINIT, "--gradinit-eta=-1"))
    assert result.returncode != 0
    assert "Traceback" not in result.stderr + result.stdout
    assert result.stderr.splitlines()[-1].startswith("fairseq-train: error: --lr or --grad")


def test_every_flag_is_in_help():
    result = command("train", *USER_DIR, "--help")
    assert result.returncode == 0
    names = [field.name for field in fields(GradInitConfig) if field.name != "_name"]
    assert len(names) > 15
    for name in names:
        assert f"--{name.replace('_', '-')}" in result.stdout.split(), name
