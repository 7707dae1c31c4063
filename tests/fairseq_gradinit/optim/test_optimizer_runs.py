"""What the common table of tests does not ask: flags set or refused, a language model."""

import math

import pytest
import torch
from corpus import binarise_target, write_corpus
from fairseq import optim
from fairseq_runs import build, checkpoint, command, run, train, train_arguments
from omegaconf import OmegaConf
from optimizer_rows import ROWS

from fairseq_gradinit.gradinit import GradInitError
from fairseq_gradinit.optim.wrapped import prepare

BY_MATRIX = ("modular_adam", "modular_sgd", "muon", "rotational", "adamw2")


@pytest.mark.parametrize("name", ["modular_adam", "muon"])
def test_fp16_keeps_the_matrices_without_being_told(name, grammar, tmp_path):
    """Flat masters would need a GPU here, and would have no matrices."""
    train(grammar, tmp_path, f"--optimizer={name}", "--fp16", "--fp16-init-scale=4")
    saved = checkpoint(tmp_path)
    assert saved["cfg"]["common"]["fp16_no_flatten_grads"] is True
    assert all(torch.isfinite(value).all() for value in saved["model"].values())


def test_a_language_model_trains_in_the_modular_norm(tmp_path):
    write_corpus(tmp_path, {"train": 200, "valid": 10})
    data, widths = binarise_target(tmp_path), ("embed", "input", "output")
    arguments = train_arguments(
        data,
        tmp_path / "run",
        *("--optimizer=modular_adam", "--lr=0.2", "--max-update=3", "--disable-validation"),
        *("--task=language_modeling_gradinit", "--arch=transformer_lm"),
        *("--tokens-per-sample=32", "--share-decoder-input-output-embed"),
        *(f"--decoder-{width}-dim=16" for width in widths),
    )
    dropped = (
        "--share-all",
        "--encoder-",
        "--label-smoothing",
        "--criterion",
        "--arch=transformer",
    )
    run([a for a in arguments if not a.startswith(dropped) or a == "--arch=transformer_lm"])
    rows = checkpoint(tmp_path / "run")["model"]["decoder.embed_tokens.weight"].norm(dim=1)
    assert rows[4:].tolist() == pytest.approx([1.0] * len(rows[4:]), rel=1e-5)


def config(name, **changes):
    common = {"fp16": False, "fp16_no_flatten_grads": False}
    common |= {"memory_efficient_fp16": False, "memory_efficient_bf16": False}
    spread = {"ddp_backend": "pytorch_ddp", "zero_sharding": "none"}
    for key, value in changes.items():
        (common if key in common else spread)[key] = value
    return OmegaConf.create(
        {"optimizer": {"_name": name}, "common": common, "distributed_training": spread}
    )


REFUSED = {
    "memory_efficient_fp16": (True, "--memory-efficient-fp16"),
    "memory_efficient_bf16": (True, "--memory-efficient-bf16"),
    "ddp_backend": ("fully_sharded", "--ddp-backend fully_sharded"),
    "zero_sharding": ("os", "--zero-sharding os"),
}


@pytest.mark.parametrize("flag", REFUSED)
@pytest.mark.parametrize("name", BY_MATRIX)
def test_ways_of_training_that_cannot_be_are_one_line(name, flag):
    value, message = REFUSED[flag]
    with pytest.raises(GradInitError) as error:
        prepare(config(name, **{flag: value}), torch.nn.Linear(2, 2))
    assert message in str(error.value) and name in str(error.value)
    assert "\n" not in str(error.value)


def test_fairseq_s_own_optimizers_are_left_alone():
    run = config("adam", fp16=True, ddp_backend="fully_sharded")
    model = torch.nn.Linear(2, 2)
    prepare(run, model)
    assert not run.common.fp16_no_flatten_grads and not hasattr(model.weight, "param_group")


@pytest.mark.parametrize("name", ["modular_adam", "muon"])
def test_a_task_that_does_not_say_what_parameters_are_is_one_line(name):
    cfg = OmegaConf.create({"_name": name, "lr": [0.1]})
    with pytest.raises(SystemExit, match="2 of 2 parameters do not say what they are"):
        optim.build_optimizer(cfg, list(torch.nn.Linear(2, 2).parameters()))


@pytest.mark.parametrize("name", BY_MATRIX)
def test_one_flat_vector_is_one_line(name):
    cfg = OmegaConf.create({"_name": name, "lr": [0.1], "weight_decay": 0.1})
    with pytest.raises(SystemExit, match="--fp16-no-flatten-grads"):
        optim.build_optimizer(cfg, [torch.nn.Parameter(torch.zeros(9))])


WILD = {
    "weight_decay": ("-1", "nan", "inf"),
    "adam_eps": ("0", "-1", "nan", "inf"),
    "adam_betas": ("two", "(0.9,)", "(0.9, 1.0)"),
    "modular_betas": ("two", "0.9"),
    "modular_momentum": ("1", "nan"),
    "modular_blocks_mass": ("0", "nan", "inf"),
    "muon_momentum": ("-1", "nan"),
    "rotational_average": ("1", "nan"),
    "adamw2_tau": ("0", "nan"),
}


@pytest.mark.parametrize("name", [row.name for row in ROWS if row.name != "gi_adam"])
def test_numbers_that_cannot_be_are_one_line(name, grammar, tmp_path):
    _, _, trainer = build(grammar, tmp_path, f"--optimizer={name}", "--weight-decay=0.1")
    plain = OmegaConf.to_container(trainer.cfg.optimizer, resolve=True)
    parameters = list(trainer.model.parameters())
    wild = [(key, value) for key, values in WILD.items() if key in plain for value in values]
    wild += [("lr", [-1.0]), ("lr", [math.nan]), ("lr", [])]
    assert len(wild) > 5
    for key, value in wild:
        given = float(value) if isinstance(plain[key], float) else value
        cfg = OmegaConf.create({**plain, key: given})
        with pytest.raises(SystemExit, match=f"--{key.replace('_', '-')}: found") as caught:
            optim.build_optimizer(cfg, parameters)
        assert "\n" not in str(caught.value), (key, value)


def test_a_refusal_from_the_command_line_has_an_exit_code_and_no_trace(grammar, tmp_path):
    done = command("train", *train_arguments(grammar, tmp_path, "--optimizer=rotational"))
    assert done.returncode != 0
    errors = [line for line in done.stderr.splitlines() if "fairseq-train: error:" in line]
    assert len(errors) == 1 and "--weight-decay: found 0.0" in errors[0]
    assert "Traceback" not in done.stderr
