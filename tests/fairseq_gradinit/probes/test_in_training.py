"""The probes in real fairseq runs, against float64 brute force on the run's own weights.

With SGD at lr 1 and nothing else the first update is θ₁ = θ₀ − g, so two checkpoints give the
gradient that the optimizer saw.
"""

import math

import pytest
import torch
from fairseq_runs import checkpoint, command, run, train, train_arguments

from fairseq_gradinit.probes.record import read_records, records_path

SGD = ["--optimizer=sgd", "--lr=1", "--seed=5"]
PROBES = "--gradient-flow-interval=1"
TIED = ("embed_tokens", "output_projection")
NOT_WEIGHTS = ("version", "_float_tensor")


def weights(save_dir):
    model = checkpoint(save_dir)["model"]
    return {n: w.double() for n, w in model.items() if not n.endswith(NOT_WEIGHTS)}


def first(save_dir):
    return read_records(records_path(save_dir))[0]


def is_layer(name, weight):
    return weight.dim() == 2 and not any(part in name for part in TIED)


@pytest.fixture(scope="session")
def start(grammar, tmp_path_factory):
    """θ₀ of seed 5."""
    folder = tmp_path_factory.mktemp("start")
    train(grammar, folder, *SGD, "--lr=1e-30")
    return weights(folder)


@pytest.fixture(scope="session")
def gradient_of(grammar, tmp_path_factory, start):
    """The unclipped gradient of the first update with --update-freq N, by name."""
    made = {}

    def of(updates):
        if updates not in made:
            folder = tmp_path_factory.mktemp(f"gradient{updates}")
            train(grammar, folder, *SGD, f"--update-freq={updates}")
            moved = weights(folder)
            made[updates] = {name: start[name] - moved[name] for name in start}
        return made[updates]

    return of


CASES = {
    "plain": ([], 1, 1e-4),
    "clipped": (["--clip-norm=0.01"], 1, 1e-4),
    "update-freq": (["--update-freq=2", "--clip-norm=0.01"], 2, 1e-4),
    "fp16": (["--fp16", "--fp16-no-flatten-grads", "--clip-norm=0.01"], 1, 2e-2),
    "memory-efficient-fp16": (["--memory-efficient-fp16", "--optimizer=adam"], 1, 2e-2),
    "bf16": (["common.bf16=true"], 1, 5e-2),
}


@pytest.mark.parametrize("flags, updates, tolerance", CASES.values(), ids=CASES)
def test_gradient_is_the_optimizers_before_clipping(
    grammar, tmp_path, start, gradient_of, flags, updates, tolerance
):
    train(grammar, tmp_path, *SGD, PROBES, *flags)
    record, gradient = first(tmp_path), gradient_of(updates)
    layers = {name: g for name, g in gradient.items() if is_layer(name, g)}
    assert len(layers) == 32 and len(record.gradient_norm) == 32

    def close(value):
        return pytest.approx(value, rel=tolerance, abs=1e-5)

    norms = {
        p: {n: float(g.abs().pow(p).sum() ** (1 / p)) for n, g in layers.items()} for p in (1, 2)
    }
    for name, norm in norms[2].items():
        assert record.gradient_norm[name.removesuffix(".weight")] == close(norm), name
    for p in (1, 2):
        assert getattr(record, f"egf_{p}") == close(sum(norms[p].values()) / 32)
        per_active = [norms[p][name] / layers[name].numel() for name in layers]
        assert getattr(record, f"egf_{p}_per_active") == close(sum(per_active) / 32)
    power = [norms[2][name] / layers[name].numel() ** 0.5 for name in layers]
    assert record.egf_2_power_mean == close(sum(power) / 32)
    untied = {n: g for n, g in gradient.items() if n not in tied(gradient)}
    assert record.gradient_norm_1 == close(sum(float(g.abs().sum()) for g in untied.values()))
    assert record.gradient_norm_2 == close(
        math.sqrt(sum(float(g.pow(2).sum()) for g in untied.values()))
    )
    biases = [g for n, g in untied.items() if n.endswith("bias") and "layer_norm" not in n]
    assert record.other_gradient_norm["bias"] == close(
        math.sqrt(sum(float(g.pow(2).sum()) for g in biases))
    )


def tied(gradient):
    """The one embedding's other names."""
    return {name for name in gradient if any(part in name for part in TIED)} - {
        "encoder.embed_tokens.weight"
    }


@pytest.mark.parametrize(
    "flags, tolerance",
    [
        ([], 1e-2),
        (["--fp16", "--fp16-no-flatten-grads"], 2e-2),
        (["common.bf16=true"], 5e-2),
    ],
    ids=["fp32", "fp16", "bf16"],
)
def test_update_ratio_is_of_the_weights_that_are_stepped(
    grammar, tmp_path, start, gradient_of, flags, tolerance
):
    """At lr 1e-4, where most 16-bit weights would not move at all, their fp32 masters do."""
    train(grammar, tmp_path, *SGD, PROBES, "--lr=1e-4", *flags)
    record = first(tmp_path)
    for name, gradient in gradient_of(1).items():
        if is_layer(name, gradient):
            wanted = 1e-4 * float(gradient.norm() / start[name].norm())
            found = record.update_ratio[name.removesuffix(".weight")]
            assert found == pytest.approx(wanted, rel=tolerance), name


@pytest.mark.parametrize("optimizer", ["adam", "gi_adam"])
def test_probed_training_is_the_training_it_would_have_been(grammar, tmp_path, optimizer):
    flags = ["--max-update=4", "--seed=2", f"--optimizer={optimizer}"]
    train(grammar, tmp_path / "plain", *flags)
    train(grammar, tmp_path / "probed", *flags, PROBES, "--sharpness-interval=2")
    plain, probed = weights(tmp_path / "plain"), weights(tmp_path / "probed")
    assert all(torch.equal(plain[name], probed[name]) for name in plain)


@pytest.mark.parametrize("flag", ["--checkpoint-activations", "--offload-activations"])
def test_activations_that_are_not_kept_do_not_change_what_is_measured(grammar, tmp_path, flag):
    flags = ["--gradient-flow-interval=1", "--sharpness-interval=1", "--dropout=0"]
    train(grammar, tmp_path / "kept", *flags)
    train(grammar, tmp_path / "not", *flags, flag)
    kept, without = first(tmp_path / "kept").scalars(), first(tmp_path / "not").scalars()
    kept.pop("seconds"), without.pop("seconds")
    assert without == pytest.approx(kept, rel=1e-3)


def test_curvature_and_forward_agree_with_float64(build):
    """The same measurement in 32 bit as the probes make it, and by differences in 64 bit, with an
    activation that has no kink for these to step over."""
    from fairseq_gradinit.probes.batch import part_of
    from fairseq_gradinit.probes.probes import Probes
    from fairseq_gradinit.probes.record import Record

    smooth = ("--seed=7", "--activation-fn=tanh")
    _, model, criterion, sample = build(*smooth)
    model.eval()
    loss, size, _ = criterion(model, sample)
    (loss * 128).backward()  # as a loss scale would leave it
    record = Record(update=1, learning_rate=1.0)
    Probes(model, 1, 0, lambda _: None)._measure_model(record, sample, criterion, 1 / 128 / size)

    _, exact, _, _ = build(*smooth, double=True)
    exact.eval()
    part = part_of(sample, criterion.padding_idx)
    parameters = [p for p in exact.parameters() if p.requires_grad]

    def gradient(of):
        return torch.autograd.grad(label_smoothed(exact, of, criterion), parameters)

    direction = gradient(sample)
    square = sum(float((d * d).sum()) for d in direction)
    epsilon, slopes = 1e-5, []
    for shift in (epsilon, -2 * epsilon):
        with torch.no_grad():
            for parameter, d in zip(parameters, direction):
                parameter.add_(d, alpha=shift)
        slopes.append(sum(float((g * d).sum()) for g, d in zip(gradient(part), direction)))
    wanted = (slopes[0] - slopes[1]) / (2 * epsilon) / square
    assert record.gradient_sharpness == pytest.approx(wanted, rel=1e-3)
    assert len(record.attention_entropy) == 6 and len(record.token_spread) == 4


def label_smoothed(model, sample, criterion):
    """fairseq's loss per token, all of it in the model's own 64 bit."""
    logits, target = model(**sample["net_input"])[0], sample["target"]
    losses = -logits.log_softmax(-1)
    other = criterion.eps / (losses.size(-1) - 1)
    picked = losses.gather(-1, target[..., None])[..., 0]
    each = (1 - criterion.eps - other) * picked + other * losses.sum(-1)
    return each[target != criterion.padding_idx].sum() / sample["ntokens"]


def test_shards_are_refused():
    from types import SimpleNamespace as Node

    from fairseq_gradinit.gradinit import GradInitError
    from fairseq_gradinit.probes.config import check_probes

    flags = Node(gradient_flow_interval=0, sharpness_interval=3)
    run = Node(distributed_training=Node(ddp_backend="fully_sharded"))
    with pytest.raises(GradInitError, match="--sharpness-interval: --ddp-backend fully_sharded"):
        check_probes(flags, run)


@pytest.fixture(scope="module")
def resumed(grammar, tmp_path_factory):
    """Six updates, of which the last two were taken twice: killed after 6, resumed at 4."""
    folder = tmp_path_factory.mktemp("resumed")
    flags = ["--gradient-flow-interval=2", "--sharpness-interval=4", "--log-interval=1"]
    train(grammar, folder, *flags, "--max-update=4")
    kept = (folder / "checkpoint_last.pt").read_bytes()
    train(grammar, folder, *flags, "--max-update=6")
    before = read_records(records_path(folder))
    (folder / "checkpoint_last.pt").write_bytes(kept)
    train(grammar, folder, *flags, "--max-update=6")
    return folder, before


def test_update_1_and_every_nth_is_recorded_once_through_a_resume(resumed):
    folder, before = resumed
    after = read_records(records_path(folder))
    assert [r.update for r in after] == [r.update for r in before] == [1, 2, 4, 6]
    for old, new in zip(before, after):
        assert new.egf_2 == pytest.approx(old.egf_2, rel=1e-4)


def test_eigenvalues_come_at_their_own_interval(resumed):
    at = {r.update: r for r in read_records(records_path(resumed[0]))}
    assert at[2].top_eigenvalue is None and at[6].preconditioned_eigenvalue is None
    for update in (1, 4):
        assert at[update].top_eigenvalue > 0
    assert at[1].preconditioned_eigenvalue is None  # Adam has no second moment yet
    # Adam's P is far below 1 here, and λ of P⁻¹H at least λ of H over the largest P.
    assert at[4].preconditioned_eigenvalue > at[4].top_eigenvalue


def test_numbers_reach_the_log_and_stay_in_it_between_probes(grammar, tmp_path):
    arguments = train_arguments(
        grammar, tmp_path, "--gradient-flow-interval=2", "--max-update=3", "--log-interval=1"
    )
    result = command("train", *arguments)
    lines = [line for line in result.stdout.splitlines() if "train_inner" in line]
    shown = [dict(part.split("=") for part in line.split(", ") if "=" in part) for line in lines]
    records = {r.update: r for r in read_records(records_path(tmp_path))}
    for update, values in zip((1, 2, 2), shown, strict=True):
        assert float(values["egf_1"]) == pytest.approx(records[update].egf_1, rel=1e-3)
        assert "None" not in values.values()
    # fairseq's own norm of the same gradient
    assert float(shown[0]["gnorm"]) == pytest.approx(records[1].gradient_norm_2, rel=1e-3)


def test_tensorboard_gets_every_number(grammar, tmp_path, monkeypatch):
    """TensorBoard's writer is a dependency of its own: what it is handed is kept here."""
    from fairseq.logging import progress_bar

    given = {}

    class Writer:
        def __init__(self, folder):
            self.tag = folder.rpartition("/")[2]

        def add_scalar(self, name, value, step):
            given[self.tag, name, step] = value

        def add_text(self, *_):
            pass

        def flush(self):
            pass

    monkeypatch.setattr(progress_bar, "SummaryWriter", Writer)
    monkeypatch.setattr(progress_bar, "_tensorboard_writers", {})
    train(grammar, tmp_path, PROBES, f"--tensorboard-logdir={tmp_path / 'board'}")
    numbers = first(tmp_path).scalars()
    assert len(numbers) > 80
    for name, value in numbers.items():
        assert given["probes", name, 1] == pytest.approx(value, rel=1e-5), name


def test_language_model_is_probed_too(tmp_path):
    from corpus import binarise_target, write_corpus

    write_corpus(tmp_path, {"train": 200, "valid": 60})
    data = binarise_target(tmp_path)
    run(
        [
            *train_arguments(data, tmp_path / "out", PROBES)[:3],
            *("--task=language_modeling_gradinit", "--arch=transformer_lm", "--optimizer=adam"),
            *("--decoder-layers=2", "--decoder-embed-dim=16", "--decoder-ffn-embed-dim=32"),
            *("--decoder-attention-heads=2", "--max-tokens=300", "--max-update=1", "--cpu"),
            *("--tokens-per-sample=32", "--lr=1e-3", PROBES, f"--save-dir={tmp_path / 'out'}"),
        ]
    )
    record = first(tmp_path / "out")
    assert len(record.attention_entropy) == 2 == len(record.token_spread)


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--gradient-flow-interval=-1"], "--gradient-flow-interval: found -1"),
        (["--sharpness-interval=-5"], "--sharpness-interval: found -5"),
        ([PROBES, "--tpu"], "--gradient-flow-interval: needs the whole model"),
    ],
)
def test_bad_flags_are_one_line(grammar, tmp_path, flags, words):
    with pytest.raises(SystemExit) as stopped:
        train(grammar, tmp_path, *flags)
    assert words in str(stopped.value) and "\n" not in str(stopped.value)


def test_another_file_in_the_records_place_is_one_line_before_training(grammar, tmp_path):
    records_path(tmp_path).parent.mkdir(parents=True)
    records_path(tmp_path).write_text('{"loss": 3}\n')
    with pytest.raises(SystemExit, match=r"probes\.jsonl, line 1: not what it should be"):
        train(grammar, tmp_path, PROBES)


def test_a_gradient_that_is_not_finite_is_recorded(grammar, tmp_path):
    """fairseq stops there, so that it is the record that tells which layer it was."""
    with pytest.raises((FloatingPointError, StopIteration)):  # the latter from its own detector
        train(grammar, tmp_path, PROBES, "--max-update=20", "--optimizer=sgd", "--lr=1e30")
    last = read_records(records_path(tmp_path))[-1]
    assert last.gradient_norm_2 is None and last.update > 1
