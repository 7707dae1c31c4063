"""Numbers that are not finite, gradients of zero, losses that do not ask the model: each has an
answer, and what is added to a training never ends it once it runs."""

import json
import logging
import math
import os

import pytest
import torch
from corpus import binarise, write_corpus
from fairseq_runs import build, checkpoint, train
from torch import nn
from torch.nn import functional as F
from toy_models import ToyTransformer, random_batches

from fairseq_gradinit.files import append_json_line, read_json_lines
from fairseq_gradinit.gradinit import GradInitError, Settings, learn_scales
from fairseq_gradinit.gradinit.blocks import Blocks
from fairseq_gradinit.gradinit.gradient import central_difference, gradient_of
from fairseq_gradinit.gradinit.paper import FirstStep
from fairseq_gradinit.gradinit.scales import Scales
from fairseq_gradinit.gradinit.trial import try_updates
from fairseq_gradinit.reading import reading

PRESETS = ("multistep", "paper")
FEW = {"iters": 3, "trial": 3}


def settings_of(preset, **given):
    more = {"lookahead": 2} if preset == "multistep" else {}
    return Settings.of(preset, **{**FEW, **more, **given})


class Scaled(nn.Module):
    """x ↦ Wx·b over batches of real vectors, which can hold anything."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(3, 3), nn.Linear(3, 1)

    def forward(self, batch):
        return self.outer(self.inner(batch)).pow(2).mean()


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_batch_that_is_not_finite_is_named_and_the_weights_come_back(preset, value):
    torch.manual_seed(0)
    model = Scaled()
    before = [p.detach().clone() for p in model.parameters()]
    batches = [torch.randn(4, 3) for _ in range(12)]
    batches[6][1, 2] = value
    with pytest.raises(
        GradInitError, match=r"GradInit iteration \d.* is (nan|inf).*check the data"
    ):
        learn_scales(model, model, batches, settings_of(preset, iters=8))
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters()))


def test_a_trial_on_such_a_batch_does_not_train():
    torch.manual_seed(0)
    model = Scaled()
    batches = [torch.randn(4, 3), torch.full((4, 3), math.nan), torch.randn(4, 3)]
    settings = settings_of("multistep")
    found = try_updates(model, model, batches, settings, lambda p: torch.optim.SGD(p, lr=0.1))
    assert not found.trains and math.isnan(found.last_loss)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("algorithm", ["adam", "sgd"])
@pytest.mark.parametrize("constraint", ["exact", "finite-difference"])
def test_gradients_of_zero_move_no_scale(preset, algorithm, constraint):
    model = ToyTransformer(seed=1)
    settings = settings_of(
        preset, algorithm=algorithm, constraint=constraint, start="none", gamma=1e-9
    )
    found = learn_scales(model, lambda batch: 0.0 * model(batch), random_batches(8), settings)
    assert set(found.scales) == {1.0}


def test_the_difference_quotient_of_a_gradient_of_zero_is_zero():
    model = ToyTransformer(seed=1)
    blocks = Blocks(model)
    batch = random_batches(1)[0]
    for order in (1, 2):
        _, gradient = gradient_of(lambda batch: 0.0 * model(batch), blocks, batch)
        found = central_difference(model, blocks, batch, gradient, order)
        assert all(g is None or not g.any() for g in found)


def test_a_normalised_step_along_a_gradient_of_zero_stays():
    parameter = nn.Parameter(torch.ones(3))
    parameter.grad = torch.zeros(3)
    settings = settings_of("paper", algorithm="sgd", normalize_gradient=True)
    FirstStep([parameter], settings).step()
    assert torch.equal(parameter, torch.ones(3))


@pytest.mark.parametrize("preset", PRESETS)
def test_the_half_of_a_model_that_the_loss_does_not_use_keeps_its_start(preset):
    model = ToyTransformer(seed=1)

    def encoder_alone(batch):
        states = model.encoder(model.embedding(batch.source))
        return F.cross_entropy(model.output(states).flatten(0, 1), batch.source.flatten())

    found = learn_scales(model, encoder_alone, random_batches(20), settings_of(preset))
    start = 0.03 if preset == "multistep" else 1.0
    for block, scale in zip(found.blocks, found.scales):
        if block.name.startswith("decoder"):
            assert scale in (1.0, start), block.name
    assert any(s != 1 for b, s in zip(found.blocks, found.scales) if b.name.startswith("encoder"))


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    "loss_fn",
    [
        lambda batch: torch.tensor(1.0),
        lambda batch: torch.tensor(1.0, requires_grad=True) * 2,
    ],
    ids=["constant", "of-another-parameter"],
)
def test_a_loss_that_asks_no_parameter_is_refused(preset, loss_fn):
    with pytest.raises(GradInitError, match="does not depend on any parameter") as caught:
        learn_scales(ToyTransformer(seed=1), loss_fn, random_batches(20), settings_of(preset))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("log_space", [True, False])
def test_a_scale_that_explodes_is_refused(log_space):
    ones, unbounded = torch.ones(1, dtype=torch.float64), torch.full((1,), math.inf)
    settings = settings_of("multistep", lr=1e7, log_space=log_space)
    scales = Scales(ones, 0 * ones, unbounded, settings)
    with pytest.raises(GradInitError, match=r"a scale went to .*lower `lr`"):
        scales.step(-ones, "lower_loss")


def test_a_reading_of_nothing_is_not_a_number(grammar, tmp_path):
    _, _, trainer = build(grammar, tmp_path)
    found = reading(trainer.model, [])
    assert math.isnan(found.loss) and found.source_worth is None and not found.collapsed


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_watch_that_cannot_be_written_ends_no_training(grammar, tmp_path, caplog):
    (tmp_path / "gradinit").mkdir()
    (tmp_path / "gradinit" / "watch.jsonl").symlink_to("/dev/full")
    caplog.set_level(logging.WARNING)
    flags = ["--gradinit", "--gradinit-trial=0", "--gradinit-watch=1", "--max-update=3"]
    train(grammar, tmp_path, *flags)
    told = [line for line in caplog.messages if line.startswith("--gradinit-watch")]
    assert len(told) == 1 and "not kept" in told[0]
    assert checkpoint(tmp_path)["optimizer_history"][-1]["num_updates"] == 3


def test_a_line_cut_by_a_kill_makes_way_for_the_next(tmp_path):
    path = tmp_path / "lines.jsonl"
    for cut in (b'{"a": 1', b"x" * 10_000):
        path.write_bytes(b'{"a": 0}\n' + cut)
        append_json_line(path, {"a": 2})
        assert read_json_lines(path, dict) == [{"a": 0}, {"a": 2}]
    path.write_bytes(b"x" * 5000)
    append_json_line(path, {"a": 2})
    assert read_json_lines(path, dict) == [{"a": 2}]


MULTIPLE = "--required-batch-size-multiple=1"


@pytest.mark.parametrize(
    "count, flags, says",
    [
        (1, [], "has 1 sentence.* in multiples of 8; give more data, or --required-batch-size-mul"),
        (2, [], "has 2 sentence.* in multiples of 8; give more data, or --required-batch-size-mul"),
        (2, ["--gradinit-preset=paper", MULTIPLE], r"has 2 sentence\(s\).*give more data, or"),
        (2, [MULTIPLE], None),
    ],
)
def test_a_train_split_of_one_or_two_sentences(tmp_path, count, flags, says):
    write_corpus(tmp_path, {"train": count})
    data, few = binarise(tmp_path), ["--gradinit-iters=2", "--gradinit-trial=2"]
    arguments = ["--gradinit", *few, *flags, "--disable-validation"]
    if says is None:
        train(data, tmp_path / "run", *arguments)
        record = json.loads((tmp_path / "run" / "gradinit" / "scales.json").read_text())
        assert record["iterations"] == 2
        return
    with pytest.raises(SystemExit, match=says) as told:
        train(data, tmp_path / "run", *arguments)
    assert "max-tokens" not in str(told.value)
