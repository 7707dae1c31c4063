"""Schedule-free: x wherever fairseq can see the weights, y where a gradient is taken."""

import importlib
import itertools

import numpy as np
import optim_references as reference
import pytest
import schedulefree
import torch
from fairseq.optim import FP16Optimizer
from fairseq_runs import checkpoint, train
from omegaconf import OmegaConf

from fairseq_gradinit.gradinit import GradInitError
from fairseq_gradinit.optim.schedule_free import (
    FairseqScheduleFree,
    ScheduleFreeConfig,
    gradient_point,
)
from fairseq_gradinit.tasks import DefaultTranslationTask


def make(params, form="adamw", **options):
    config = ScheduleFreeConfig(schedule_free_form=form, lr=[0.05], **options)
    return FairseqScheduleFree(config, params)


def update(optimizer, p, gradient):
    """One update as a task and a Trainer make it; the weights while the gradient was taken."""
    with gradient_point(optimizer):
        p.grad = torch.as_tensor(gradient).clone()
        seen = p.detach().clone()
    optimizer.step()
    return seen


def problem():
    rng = np.random.default_rng(0)
    return rng.normal(size=(5, 3)), rng.normal(size=(10, 5, 3))


def test_equals_the_textbook_with_x_at_rest_and_gradients_at_y():
    start, gradients = problem()
    p = torch.nn.Parameter(torch.tensor(start))
    optimizer = make([p])
    for t, gradient in enumerate(gradients):
        seen = update(optimizer, p, gradient)
        x, _ = reference.schedule_free_adamw(start, gradients[: t + 1], 0.05)
        _, y = reference.schedule_free_adamw(start, gradients[:t], 0.05)
        np.testing.assert_allclose(p.detach(), x, rtol=1e-5)
        np.testing.assert_allclose(seen, y, rtol=1e-5)


@pytest.mark.parametrize(("form", "name"), [("radam", "RAdam"), ("adamw", "AdamW")])
def test_equals_the_package_by_hand(form, name):
    start, gradients = problem()
    p, q = (torch.nn.Parameter(torch.tensor(start)) for _ in range(2))
    optimizer = make([p], form, weight_decay=0.1)
    by_hand = getattr(schedulefree, f"{name}ScheduleFree")([q], lr=0.05, weight_decay=0.1)
    by_hand.train()
    for gradient in gradients:
        update(optimizer, p, gradient)
        q.grad = torch.as_tensor(gradient).clone()
        by_hand.step()
    by_hand.eval()
    np.testing.assert_allclose(p.detach(), q.detach(), rtol=1e-12)


def test_a_gradient_that_is_dropped_leaves_the_average():
    """An overflow in 16 bit: fairseq takes no step and may save right after."""
    start, gradients = problem()
    p = torch.nn.Parameter(torch.tensor(start))
    optimizer = make([p])
    for gradient in gradients[:3]:
        update(optimizer, p, gradient)
    average = p.detach().clone()
    with pytest.raises(OverflowError), gradient_point(optimizer):
        assert not torch.allclose(p, average)
        raise OverflowError
    torch.testing.assert_close(p.detach(), average, rtol=1e-14, atol=0)


def test_a_16_bit_model_has_x_and_y_where_its_masters_do():
    start, gradients = problem()
    half = torch.nn.Parameter(torch.tensor(start).bfloat16())
    flags = {"_name": "schedule_free", "schedule_free_form": "adamw", "lr": [0.5]}
    common = {"bf16": True, "fp16_scale_window": 1}
    optimizer = FP16Optimizer.build_optimizer(
        OmegaConf.create({"common": common, "optimizer": flags}), [half]
    )
    (master,) = optimizer.fp32_params
    x = master.detach().clone()
    for t, gradient in enumerate(gradients):
        optimizer.zero_grad()
        with gradient_point(optimizer):
            if t:
                y = 0.1 * optimizer.optimizer.state[master]["z"] + 0.9 * x
                torch.testing.assert_close(half.float(), y, rtol=0.01, atol=0.001)
                # After one update the average is of one point.
                assert t == 1 or not torch.allclose(half.float(), x, rtol=0.01, atol=0.001)
            optimizer.backward((half * torch.as_tensor(gradient).bfloat16()).sum())
        optimizer.step()
        x = master.detach().clone()
        assert torch.equal(half, x.bfloat16())


def test_a_task_that_does_not_switch_is_one_line():
    p = torch.nn.Parameter(torch.ones(2))
    optimizer = make([p])
    p.grad = torch.ones(2)
    optimizer.step()
    with pytest.raises(SystemExit, match="--task translation"):
        optimizer.step()


def test_other_optimizers_are_left_alone():
    with gradient_point(object()):
        pass


def test_a_missing_package_is_one_line(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(GradInitError, match="pip install"):
        make([torch.nn.Parameter(torch.ones(2))])


def test_no_share_of_the_average_is_refused():
    with pytest.raises(GradInitError, match="--adam-betas"):
        make([torch.nn.Parameter(torch.ones(2))], adam_betas="(0, 0.9)")


RUN = ["--optimizer=schedule_free", "--schedule-free-form=adamw", "--lr=2e-3"]


@pytest.fixture(scope="module")
def run(grammar, tmp_path_factory):
    """Six updates, saved at each; and the weights that each validation saw."""
    save_dir = tmp_path_factory.mktemp("schedule_free")
    validated = {}
    valid_step = DefaultTranslationTask.valid_step

    def recording(self, sample, model, criterion):
        name = "decoder.layers.0.fc1.weight"
        weights = model.state_dict()[name].clone()
        validated[len(validated)] = weights
        return valid_step(self, sample, model, criterion)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DefaultTranslationTask, "valid_step", recording)
        train(grammar, save_dir, *RUN, "--max-update=6", "--save-interval-updates=1")
    return save_dir, list(validated.values())


def test_what_is_saved_is_the_average(run):
    """x_t = x_{t−1} + (z_t − x_{t−1})/t holds from one checkpoint to the next of x, not of y."""
    save_dir, _ = run
    states = [checkpoint(save_dir, f"checkpoint_1_{t}.pt") for t in range(1, 7)]
    for t, (before, after) in enumerate(itertools.pairwise(states), start=2):
        was, now = (state["model"]["decoder.layers.0.fc1.weight"] for state in (before, after))
        optimizer = after["last_optimizer_state"]
        assert optimizer["param_groups"][0]["train_mode"] is False
        candidates = [s["z"] for s in optimizer["state"].values() if s["z"].shape == now.shape]
        z = min(candidates, key=lambda z: float((z - now).norm()))
        torch.testing.assert_close(now, was + (z - was) / t, rtol=1e-4, atol=1e-6)
        assert not torch.allclose(0.1 * z + 0.9 * now, now, atol=1e-5)


def test_what_is_validated_is_what_is_saved(run):
    save_dir, validated = run
    saved = [checkpoint(save_dir, f"checkpoint_1_{t}.pt")["model"] for t in range(1, 7)]
    for weights in validated:
        assert any(torch.equal(weights, s["decoder.layers.0.fc1.weight"]) for s in saved)
    assert len(validated) >= 6
