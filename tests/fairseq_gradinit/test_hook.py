"""The hook in real fairseq runs: scales in force at update 1, once, on fresh weights only."""

import json
import logging
import shutil

import pytest
import torch
from corpus import binarise_target, write_corpus
from fairseq_runs import USER_DIR, checkpoint, command, norms, run, train, train_arguments

from fairseq_gradinit import hook

# Two iterations that move every scale by a factor of up to e, so that a loss of them shows.
FAST = [
    *("--gradinit-iters=2", "--gradinit-lr=0.5", "--gradinit-max-change=3"),
    *("--gradinit-lookahead=2", "--gradinit-trial=2"),
]
GRADINIT = ["--gradinit", *FAST]
FROM_1 = ["--gradinit-start=none", "--gradinit-unigram=off"]
SMALL_STEP = "--lr=1e-6"


@pytest.fixture
def calls(monkeypatch):
    """Every time scales are given, while really giving them."""
    record = []
    give = hook.give_scales
    monkeypatch.setattr(hook, "give_scales", lambda *args: (record.append(args), give(*args)))
    return record


def scales(save_dir):
    return json.loads((save_dir / "gradinit" / "scales.json").read_text())


def assert_in_force(save_dir, weights):
    """The blocks' norms are those after GradInit, and not those before."""
    found = norms(weights)
    blocks = [block for block in scales(save_dir)["blocks"] if block["norm_before"] > 0]
    moved = [b for b in blocks if abs(b["norm_after"] / b["norm_before"] - 1) > 0.2]
    assert len(moved) > len(blocks) / 2
    for block in blocks:
        assert found[block["name"]] == pytest.approx(block["norm_after"], rel=0.02), block


PRECISIONS = {
    "fp32": [],
    "bf16": ["common.bf16=true"],
    "fp16": ["--fp16", "--fp16-no-flatten-grads"],  # the flat form needs a GPU
    "memory-efficient-fp16": ["--memory-efficient-fp16"],
    "memory-efficient-bf16": ["common.bf16=true", "common.memory_efficient_bf16=true"],
    "update-freq": ["--update-freq=2"],
}


@pytest.mark.parametrize("flags", PRECISIONS.values(), ids=PRECISIONS)
def test_learned_scales_are_in_force_at_update_1(grammar, tmp_path, flags):
    train(grammar, tmp_path, *GRADINIT, SMALL_STEP, *flags)
    assert_in_force(tmp_path, checkpoint(tmp_path)["model"])


def test_ema_starts_from_the_scaled_weights(grammar, tmp_path):
    train(grammar, tmp_path, *GRADINIT, SMALL_STEP, "--store-ema", "--ema-decay=0.5")
    state = checkpoint(tmp_path)
    assert_in_force(tmp_path, state["model"])
    assert_in_force(tmp_path, state["extra_state"]["ema"])


def test_a_hook_at_begin_epoch_would_be_undone_by_the_fp32_masters(grammar, tmp_path, monkeypatch):
    """What the tests above guard against does happen, so they can fail."""
    late = {}
    monkeypatch.setattr(hook, "give_scales", lambda *args: late.update(args=args))
    monkeypatch.setattr(
        hook.GradInitHook,
        "begin_epoch",
        lambda self, epoch, model: give(*late["args"]),
        raising=False,
    )
    from fairseq_gradinit.before_training import give_scales as give

    train(grammar, tmp_path, *GRADINIT, SMALL_STEP, "common.bf16=true")
    with pytest.raises(AssertionError):
        assert_in_force(tmp_path, checkpoint(tmp_path)["model"])


def test_fresh_run_calls_it_once(grammar, tmp_path, calls):
    train(grammar, tmp_path, *GRADINIT, "--max-epoch=2", "--max-update=0")
    assert len(calls) == 1


@pytest.mark.parametrize(
    "flags",
    [
        ["--max-update=3"],
        ["--max-update=3", "--reset-optimizer"],
        [
            "--max-update=3",
            "--reset-optimizer",
            "--reset-dataloader",
            "--reset-meters",
            "--reset-lr-scheduler",
        ],
        ["--finetune-from-model={checkpoint}", "--save-dir={other}"],
        ["--restore-file={checkpoint}", "--save-dir={other}", "--max-update=3"],
        [
            "--restore-file={checkpoint}",
            "--save-dir={other}",
            "--reset-optimizer",
            "--reset-dataloader",
            "--reset-meters",
            "--reset-lr-scheduler",
        ],
    ],
    ids=["mid-epoch", "reset-optimizer", "reset-all", "finetune", "restore", "restore-reset"],
)
def test_loaded_weights_are_left_alone(grammar, tmp_path, calls, flags):
    train(grammar, tmp_path / "first", *GRADINIT)
    assert len(calls) == 1
    paths = {
        "checkpoint": tmp_path / "first" / "checkpoint_last.pt",
        "other": tmp_path / "other",
    }
    train(grammar, tmp_path / "first", *GRADINIT, *(flag.format(**paths) for flag in flags))
    assert len(calls) == 1


def test_resumed_run_equals_an_undisturbed_one(grammar, tmp_path):
    train(grammar, tmp_path / "whole", *GRADINIT, "--max-update=4")
    for updates in (2, 4):
        train(grammar, tmp_path / "parts", *GRADINIT, f"--max-update={updates}")
    whole, parts = (checkpoint(tmp_path / name)["model"] for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_restart_before_the_first_checkpoint_reuses_finished_scales(grammar, tmp_path):
    train(grammar, tmp_path, *GRADINIT, "--max-update=2")
    first = checkpoint(tmp_path)["model"]
    log = tmp_path / "gradinit" / "iterations.jsonl"
    log.write_text("untouched")
    (tmp_path / "checkpoint_last.pt").unlink()
    train(grammar, tmp_path, *GRADINIT, "--max-update=2")
    second = checkpoint(tmp_path)["model"]
    assert log.read_text() == "untouched"
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    "change, says",
    [
        ("--gradinit-lr=0.4", "config.lr is 0.4, was 0.5"),
        ("--lr=2e-3", "config.eta is 0.002, was 0.001"),
        ("--seed=2", "config.seed is 2, was 1"),
        ("--adam-eps=1e-6", "config.optimizer_config.eps is 1e-06, was 1e-08"),
        ("--activation-fn=gelu", "made_from.model.activation_fn is gelu, was relu"),
        ("--label-smoothing=0.2", "made_from.criterion.label_smoothing is 0.2, was 0.1"),
        ("--no-scale-embedding", "made_from.model.no_scale_embedding is True, was False"),
        ("--train-subset=valid", "made_from.batches.train_subset is valid, was train"),
        ("--update-freq=2", "made_from.batches.parts_of_an_update is 2"),
    ],
)
def test_scales_of_another_run_are_learned_anew(grammar, tmp_path, caplog, change, says):
    train(grammar, tmp_path, *GRADINIT)
    (tmp_path / "checkpoint_last.pt").unlink()
    caplog.set_level(logging.INFO)
    train(grammar, tmp_path, *GRADINIT, change)
    (told,) = [line for line in caplog.messages if line.startswith("learning anew")]
    assert says in told and "\n" not in told


def test_scales_of_other_data_under_the_same_path_are_learned_anew(grammar, tmp_path, caplog):
    data = tmp_path / "data"
    shutil.copytree(grammar, data)
    train(data, tmp_path / "run", *GRADINIT)
    (tmp_path / "run" / "checkpoint_last.pt").unlink()
    binary = data / "train.de-en.de.bin"
    content = bytearray(binary.read_bytes())
    content[:2], content[2:4] = content[2:4], content[:2]  # of the same size
    assert bytes(content) != binary.read_bytes()
    binary.write_bytes(content)
    caplog.set_level(logging.INFO)
    train(data, tmp_path / "run", *GRADINIT)
    assert "made_from.data.train.de-en.de.bin is" in caplog.text


@pytest.mark.parametrize("change", ["--max-update=2", "--save-interval-updates=5"])
def test_what_changes_no_scale_is_no_reason(grammar, tmp_path, caplog, change):
    """Neither is where the data lie."""
    train(grammar, tmp_path / "run", *GRADINIT)
    (tmp_path / "run" / "checkpoint_last.pt").unlink()
    shutil.copytree(grammar, tmp_path / "moved")
    caplog.set_level(logging.INFO)
    train(tmp_path / "moved", tmp_path / "run", *GRADINIT, change)
    assert "reusing" in caplog.text and "learning anew" not in caplog.text


def test_killed_while_learning_leaves_no_scales(grammar, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def kill(*_):
        raise Killed

    monkeypatch.setattr("fairseq_gradinit.files.os.replace", kill)
    with pytest.raises(Killed):
        train(grammar, tmp_path, *GRADINIT)
    monkeypatch.undo()
    assert not (tmp_path / "gradinit" / "scales.json").exists()
    train(grammar, tmp_path, *GRADINIT)
    assert scales(tmp_path)["iterations"] == 2


@pytest.mark.parametrize("preset", ["paper", "multistep"])
def test_record_tells_what_was_done(grammar, tmp_path, preset):
    lookahead = "1" if preset == "paper" else "2"
    flags = [f"--gradinit-preset={preset}", f"--gradinit-lookahead={lookahead}"]
    train(grammar, tmp_path, *GRADINIT, *flags, "--gradinit-trial=20", "--seed=3")
    record = scales(tmp_path)
    assert (record["seed"], record["iterations"], record["stop_reason"]) == (3, 2, "iterations")
    assert record["config"]["preset"] == preset
    assert record["config"]["eta"] == 1e-3
    assert record["config"]["optimizer"] == "adam"
    assert record["versions"]["torch"] == torch.__version__
    assert record["seconds"] > 0
    trials = record["prediction"]["trials"]
    assert len(trials) > 1 and trials[0]["learning_rate"] == 1e-3
    assert len({t["first_loss"] for t in trials}) == len(trials)  # new batches
    assert all(0 < t["encoder_spread"] < 1 and 0 < t["decoder_spread"] < 1 for t in trials)
    assert (record["unigram"] is None) == (preset == "paper")
    embedding = next(b for b in record["blocks"] if b["kind"] == "embedding")
    assert "decoder.output_projection.weight" in embedding["aliases"]
    text = (tmp_path / "gradinit" / "iterations.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["iteration"] for line in lines] == [0, 1]
    assert all(
        {"step", "loss", "lookahead_loss", "gradient_norm", "seconds"} <= set(x) for x in lines
    )
    assert not list(tmp_path.glob("gradinit/*.tmp"))


@pytest.mark.parametrize(
    "flags, algorithm",
    [
        (["--optimizer=sgd", "--momentum=0.9", "--lr=0.1"], "sgd"),
        (["--optimizer=nag", "--lr=0.1"], "sgd"),
        (["--optimizer=adam"], "adam"),
        (["--optimizer=adafactor"], "adam"),
        (["--optimizer=sgd", "--gradinit-preset=paper", "--gradinit-lookahead=1"], "sgd"),
    ],
    ids=["sgd", "nag", "adam", "adafactor", "paper-sgd"],
)
def test_algorithm_follows_the_optimizer(grammar, tmp_path, flags, algorithm):
    train(grammar, tmp_path, *GRADINIT, *flags)
    assert scales(tmp_path)["config"]["algorithm"] == algorithm


def test_look_ahead_takes_the_runs_own_hyper_parameters(grammar, tmp_path):
    """The first look-ahead differs with β₂, weight decay, momentum and clipping of the run."""
    variants = {
        "adam": [],
        "beta2": ["--adam-betas=(0.9, 0.5)"],
        "decay": ["--weight-decay=50"],
        "eta": ["--gradinit-eta=5e-3"],
        "sgd": ["--optimizer=sgd", "--lr=0.1"],
        "momentum": ["--optimizer=sgd", "--lr=0.1", "--momentum=0.9"],
        "clip": ["--optimizer=sgd", "--lr=0.1", "--clip-norm=0.01"],
    }
    losses = {}
    for name, flags in variants.items():
        train(grammar, tmp_path / name, *GRADINIT, *flags)
        lines = (tmp_path / name / "gradinit" / "iterations.jsonl").read_text().splitlines()
        losses[name] = json.loads(lines[0])["lookahead_loss"]
    assert len(set(losses.values())) == len(variants), losses


def test_scales_file_is_applied_without_learning(grammar, tmp_path):
    train(grammar, tmp_path / "learned", *GRADINIT, SMALL_STEP)
    path = tmp_path / "learned" / "gradinit" / "scales.json"
    train(grammar, tmp_path / "applied", f"--gradinit-scales={path}", SMALL_STEP)
    learned, applied = (checkpoint(tmp_path / n)["model"] for n in ("learned", "applied"))
    assert all(torch.equal(learned[name], applied[name]) for name in learned)
    assert not (tmp_path / "applied" / "gradinit" / "iterations.jsonl").exists()
    assert "applied from" in scales(tmp_path / "applied")["stop_reason"]


def test_no_iterations_train_as_without_gradinit(grammar, tmp_path):
    """GradInit leaves no trace in random states, data order, meters or gradients."""
    train(grammar, tmp_path / "off", "--max-update=5")
    train(grammar, tmp_path / "zero", "--gradinit", "--gradinit-iters=0", *FROM_1, "--max-update=5")
    same_training(checkpoint(tmp_path / "off"), checkpoint(tmp_path / "zero"))


def test_learning_leaves_data_order_and_random_states_alone(grammar, tmp_path, monkeypatch):
    """With scales that may not move, even a search that ran leaves training bit-identical."""
    train(grammar, tmp_path / "off", "--max-update=5")
    still = "--gradinit-max-change=1"
    train(grammar, tmp_path / "still", *GRADINIT, *FROM_1, still, "--max-update=5")
    same_training(checkpoint(tmp_path / "off"), checkpoint(tmp_path / "still"))


def same_training(one, other):
    assert all(torch.equal(one["model"][name], other["model"][name]) for name in one["model"])
    states = [c["last_optimizer_state"]["state"] for c in (one, other)]
    for index, state in states[0].items():
        assert torch.equal(state["exp_avg"], states[1][index]["exp_avg"])
    iterators = [c["extra_state"]["train_iterator"] for c in (one, other)]
    assert iterators[0] == iterators[1]


def test_off_is_bit_identical_to_stock_fairseq_and_decodes_there(grammar, tmp_path):
    """In processes of their own, since loading the user-dir replaces `translation`."""
    runs = {"stock": (False, []), "off": (True, []), "on": (True, GRADINIT)}
    for name, (user_dir, flags) in runs.items():
        arguments = train_arguments(
            grammar, tmp_path / name, "--max-update=4", *flags, user_dir=user_dir
        )
        result = command("train", *arguments)
        assert result.returncode == 0, result.stderr
    same_training(checkpoint(tmp_path / "stock"), checkpoint(tmp_path / "off"))
    decode = [
        str(grammar),
        f"--path={tmp_path / 'on' / 'checkpoint_last.pt'}",
        "--task=translation",
        "--cpu",
        "--beam=1",
        "--required-batch-size-multiple=1",  # fairseq drops the last batch otherwise
    ]
    result = command("generate", *decode, TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD="1")
    assert result.returncode == 0, result.stderr
    assert sum(line.startswith("H-") for line in result.stdout.splitlines()) == 20


def test_decoding_and_validating_never_learn(grammar, tmp_path):
    train(grammar, tmp_path, "--max-update=2")
    path = f"--path={tmp_path / 'checkpoint_last.pt'}"
    common = [str(grammar), path, *USER_DIR, "--task=translation", "--gradinit", "--cpu"]
    generate = command("generate", *common, "--gen-subset=train", "--beam=1")
    validate = command("validate", *common, "--valid-subset=train", "--max-tokens=300")
    for result in (generate, validate):
        assert result.returncode == 0, result.stderr
        assert "gradinit:" not in result.stdout + result.stderr
    assert not (tmp_path / "gradinit").exists()


def test_language_model_task(tmp_path):
    write_corpus(tmp_path, {"train": 200, "valid": 60})
    data = binarise_target(tmp_path)
    arguments = [
        str(data),
        *USER_DIR,
        "--task=language_modeling_gradinit",
        "--arch=transformer_lm",
        "--decoder-layers=2",
        "--decoder-embed-dim=16",
        "--decoder-ffn-embed-dim=32",
        "--decoder-attention-heads=2",
        "--tokens-per-sample=32",
        f"--save-dir={tmp_path / 'lm'}",
        "--optimizer=adam",
        "--lr-scheduler=fixed",
        SMALL_STEP,
        "--max-tokens=300",
        "--max-update=1",
        "--cpu",
        *GRADINIT,
    ]
    run(arguments)
    assert_in_force(tmp_path / "lm", checkpoint(tmp_path / "lm")["model"])
