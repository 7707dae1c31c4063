"""Each optimizer in real fairseq-train runs: resume, 16 bit, several batches an update, refusals."""

import math

import pytest
import torch
from corpus import binarise_target, write_corpus
from fairseq_runs import checkpoint, command, run, train, train_arguments

RUNS = {
    "modular_adam": ["--lr=0.2"],
    "modular_sgd": ["--lr=0.2", "--modular-units=stock", "--modular-rows=start"],
    "muon": ["--lr=2e-3"],
    "rotational": ["--lr=2e-3", "--weight-decay=0.1"],
    "adamw2": ["--lr=2e-3", "--weight-decay=0.1"],
    "radam": ["--lr=2e-3"],
    "schedule_free": ["--lr=2e-3"],
}
BY_MATRIX = ("modular_adam", "modular_sgd", "muon", "rotational", "adamw2")


def flags(name: str) -> list[str]:
    return [f"--optimizer={name}", *RUNS[name], "--disable-validation"]


def weights(save_dir) -> dict[str, torch.Tensor]:
    return checkpoint(save_dir)["model"]


@pytest.fixture(scope="module")
def straight(grammar, tmp_path_factory):
    """Checkpoints after six updates of each optimizer."""
    folder = tmp_path_factory.mktemp("optimizers")
    for name in RUNS:
        train(grammar, folder / name, *flags(name), "--max-update=6")
    return folder


@pytest.mark.parametrize("name", RUNS)
def test_trains_and_resumes_to_the_bit(name, straight, grammar, tmp_path):
    train(grammar, tmp_path, *flags(name), "--max-update=2")
    begun = weights(tmp_path)
    train(grammar, tmp_path, *flags(name), "--max-update=6")
    resumed = weights(tmp_path)
    for key, expected in weights(straight / name).items():
        assert torch.equal(expected, resumed[key]), key
        assert torch.isfinite(expected).all(), key
    moved = [key for key in begun if not torch.equal(begun[key], resumed[key])]
    # schedule-free RAdam is silent before update 5, and fairseq keeps buffers beside weights.
    assert len(moved) > 0.9 * len([k for k in begun if "version" not in k and "float" not in k])


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("name", RUNS)
def test_trains_in_16_bit(name, precision, straight, grammar, tmp_path):
    """fp16 without --fp16-no-flatten-grads, which is turned on where it is needed; where it is
    not, flat masters want a GPU."""
    extra = ["common.bf16=true"]
    if precision == "fp16":
        extra = ["--fp16", *([] if name in BY_MATRIX else ["--fp16-no-flatten-grads"])]
    train(grammar, tmp_path, *flags(name), *extra, "--max-update=6")
    half = weights(tmp_path)
    for key, expected in weights(straight / name).items():
        # Signs of small gradients differ in 16 bit, and with them whole steps of Adam's kind.
        gap = (half[key].float() - expected.float()).norm()
        assert math.isfinite(gap) and gap <= 0.3 * expected.float().norm() + 0.1, key


@pytest.mark.parametrize("name", RUNS)
def test_two_half_batches_are_one_batch(name, grammar, tmp_path):
    """--update-freq: the gradient is summed before the optimizer sees it."""
    common = [*flags(name), "--max-update=2", "--dropout=0", "--max-tokens=9999"]
    train(grammar, tmp_path / "whole", *common, "--batch-size=40", "--curriculum=9")
    halves = ["--batch-size=20", "--update-freq=2", "--curriculum=9"]
    train(grammar, tmp_path / "halves", *common, *halves)
    found = weights(tmp_path / "halves")
    for key, expected in weights(tmp_path / "whole").items():
        gap = (found[key] - expected).float().norm()
        assert gap <= 0.1 * expected.float().norm() + 0.02, key


@pytest.mark.parametrize("name", ["modular_adam", "muon", "schedule_free"])
def test_runs_after_gradinit(name, grammar, tmp_path):
    fast = ["--gradinit", "--gradinit-iters=2", "--gradinit-lookahead=2", "--gradinit-rehearsal=2"]
    train(grammar, tmp_path, *flags(name), *fast, "--max-update=2")
    assert (tmp_path / "gradinit" / "scales.json").exists()
    assert all(torch.isfinite(value).all() for value in weights(tmp_path).values())


def test_a_language_model_trains_in_the_modular_norm(tmp_path):
    write_corpus(tmp_path, {"train": 200, "valid": 10})
    data = binarise_target(tmp_path)
    arguments = [
        str(data),
        *train_arguments(data, tmp_path / "run", *flags("modular_adam"), "--max-update=3")[1:],
    ]
    dropped = ("--share-all", "--encoder-", "--label-smoothing", "--criterion", "--arch")
    arguments = [argument for argument in arguments if not argument.startswith(dropped)]
    arguments += ["--task=language_modeling_gradinit", "--arch=transformer_lm"]
    arguments += ["--tokens-per-sample=32", "--share-decoder-input-output-embed"]
    run(arguments)
    rows = weights(tmp_path / "run")["decoder.embed_tokens.weight"].norm(dim=1)
    assert rows[4:].tolist() == pytest.approx([1.0] * len(rows[4:]), rel=1e-5)


REFUSED = {
    "rotational without decay": (
        ["--optimizer=rotational"],
        "--weight-decay: found 0.0",
    ),
    "memory efficient": (
        ["--optimizer=muon", "--memory-efficient-fp16"],
        "--memory-efficient-fp16",
    ),
    "sharded": (["--optimizer=muon", "--ddp-backend=fully_sharded"], "--ddp-backend"),
    "another task": (
        ["--optimizer=modular_adam", "--task=translation_from_pretrained_bart", "--langs=de,en"],
        "do not say what they are in the model",
    ),
}


@pytest.mark.parametrize(("extra", "message"), REFUSED.values(), ids=REFUSED)
def test_refusals_are_one_line_and_an_exit_code(extra, message, grammar, tmp_path):
    done = command("train", *train_arguments(grammar, tmp_path, *extra))
    assert done.returncode != 0
    errors = [line for line in done.stderr.splitlines() if "fairseq-train: error:" in line]
    assert len(errors) == 1 and message in errors[0]
    assert "Traceback" not in done.stderr


def test_help_shows_the_flags(grammar, tmp_path):
    done = command(
        "train", *train_arguments(grammar, tmp_path, "--optimizer=modular_adam", "--help")
    )
    for flag in ("--modular-betas", "--modular-blocks-mass", "--modular-published"):
        assert flag in done.stdout
