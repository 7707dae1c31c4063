"""The schedules in real runs and against stock ones, update by update."""

import math

import pytest
import torch
from fairseq.optim.lr_scheduler import LR_SCHEDULER_DATACLASS_REGISTRY
from fairseq.tasks import TASK_REGISTRY
from fairseq.tasks.translation import TranslationTask
from fairseq_runs import build, checkpoint, train

from fairseq_gradinit.live_optimizer import step, undone
from fairseq_gradinit.lr_scheduler.decays import DECAYS
from fairseq_gradinit.lr_scheduler.measure import measure

ADAM = ["--dropout=0", "--optimizer=adam", "--adam-betas=(0.9, 0.98)"]
T, LR = 40, 0.01
CATAPULT = [*ADAM, "--lr-scheduler=catapult", f"--warmup-updates={T}", f"--lr={LR}"]
# Flags that a decay needs, or that show that its own reach it.
DECAY_FLAGS = {
    "cosine": ["--max-update=200", "--min-lr=1e-4"],
    "polynomial_decay": ["--total-num-update=100", "--power=2", "--end-learning-rate=1e-5"],
    "step": ["--lr-deacy-period=10", "--lr-decay=0.5", "--min-lr=1e-6"],
    "inverse_sqrt_nowarmup": ["--decay-updates=30"],
}


def rates(scheduler, updates):
    return [scheduler.step_update(n) for n in updates]


@pytest.fixture
def schedule(grammar, tmp_path):
    """A schedule as Trainer builds it; catapults as if η_init had been measured."""

    def make(*flags, eta_init=None):
        scheduler = build(grammar, tmp_path, *flags)[2].lr_scheduler
        if eta_init is not None:
            scheduler.load_state_dict({"eta_init": eta_init, "decay": scheduler.decay.state_dict()})
        return scheduler

    return make


def test_nowarmup_is_its_formula_and_starts_at_lr(schedule):
    found = schedule(*ADAM, "--lr=0.02", "--lr-scheduler=inverse_sqrt_nowarmup")
    assert rates(found, [0, 4000, 12000]) == pytest.approx([0.02, 0.02 / math.sqrt(2), 0.01])
    stock = schedule(*ADAM, "--lr=0.02", "--lr-scheduler=inverse_sqrt", "--warmup-updates=4000")
    assert rates(found, [10**7]) == pytest.approx(rates(stock, [10**7]), rel=1e-3)


def test_the_slope_of_the_full_warmup_is_kept(schedule):
    eta = 0.003
    found = schedule(*CATAPULT, eta_init=eta)
    expected = [min(eta + LR * n / T, LR) for n in range(T)]
    assert rates(found, range(T)) == pytest.approx(expected)
    assert found.updates_saved == 12 == math.floor(T * eta / LR)
    full = rates(schedule(*ADAM, "--lr-scheduler=inverse_sqrt", f"--warmup-updates={T}",
                          f"--lr={LR}"), range(T + 1))  # fmt: skip
    # Each update of the warmup is one of the full warmup, that many updates later.
    assert rates(found, range(T - 12 + 1)) == pytest.approx(full[12:])


def test_the_released_ramp_takes_all_of_the_warmup(schedule):
    found = schedule(*CATAPULT, "--catapult-ramp=released", eta_init=0.003)
    expected = [0.003 + (LR - 0.003) * t / T for t in range(1, T + 1)]
    assert rates(found, range(T)) == pytest.approx(expected)
    assert found.updates_saved == 0


def test_a_start_at_the_target_is_no_warmup(schedule):
    assert rates(schedule(*CATAPULT, eta_init=LR), range(T)) == [LR] * T


@pytest.mark.parametrize("decay", DECAYS)
def test_after_the_full_warmup_it_is_the_stock_decay(schedule, decay):
    own = DECAY_FLAGS.get(decay, [])
    takes = LR_SCHEDULER_DATACLASS_REGISTRY[decay].__dataclass_fields__
    warmup = [f"--warmup-updates={T}"] if "warmup_updates" in takes else []
    stock = schedule(*ADAM, f"--lr={LR}", f"--lr-scheduler={decay}", *warmup, *own)
    found = schedule(*CATAPULT, f"--catapult-decay={decay}", *own, eta_init=0.003)
    for scheduler in (stock, found):
        scheduler.step_begin_epoch(1)
        rates(scheduler, range(T))
    assert rates(found, range(T, 2 * T)) == rates(stock, range(T, 2 * T))


@pytest.mark.parametrize(
    "optimizer",
    [
        ADAM,
        [*ADAM, "--clip-norm=0.1", "--weight-decay=0.1"],
        ["--dropout=0", "--optimizer=sgd", "--momentum=0.9", "--clip-norm=0"],
        ["--dropout=0", "--optimizer=gi_adam", "--adam-betas=(0.9, 0.98)"],
    ],
    ids=["adam", "adam-clipped", "sgd", "gi_adam"],
)
def test_the_bracket_is_that_of_the_optimizers_own_first_step(grammar, tmp_path, optimizer):
    task, criterion, trainer = build(grammar, tmp_path, *optimizer)
    at = task.prepare(trainer.optimizer, trainer.model, criterion, None)
    found = measure(at, "loss", cap=100.0, first=1e-3, tolerance=0.1).catapult
    assert found.ended == "bracket" and found.upper is not None
    # The same step by hand: Trainer's own path to the optimizer, on the same batch.
    model = trainer.get_model().eval()
    values = {}
    for eta in (found.upper, found.lower):
        with undone(trainer.optimizer):
            trainer.zero_grad()
            loss, size, _ = criterion(model, at.samples[0])
            trainer.optimizer.backward(loss)
            trainer.optimizer.multiply_grads(1 / size)
            trainer.clip_grad_norm(at.run.optimization.clip_norm)
            trainer.optimizer.set_lr(eta)
            trainer.optimizer.step()
            with torch.no_grad():
                values[eta] = float(criterion(model, at.samples[0])[0]) / size
        model.eval()
    start = float(loss.detach()) / size
    assert start < values[found.upper] <= 1.1 * start * (1 + 1e-5)
    assert values[found.lower] <= start * (1 + 1e-5)


def test_gi_adams_rate_is_higher_by_its_smaller_first_step(grammar, tmp_path):
    """u(η) of GI-Adam is √(1−β₂) that of Adam, here on the very gradient that is its g₀."""
    updates = []
    for name in ("adam", "gi_adam"):
        flags = ["--dropout=0", f"--optimizer={name}", "--adam-betas=(0.9, 0.98)"]
        task, criterion, trainer = build(grammar, tmp_path, *flags)
        at = task.prepare(trainer.optimizer, trainer.model, criterion, None)
        weights = at.layout.weights()
        _, g = at.loss.gradient(weights, at.samples)
        if name == "gi_adam":
            trainer.optimizer.optimizer.start_from([x.square() for x in g])
        with undone(trainer.optimizer):
            before = [w.clone() for w in weights]
            step(trainer.optimizer, at.layout, g, 1e-2)
            updates.append(
                torch.cat([(a - b).flatten() for a, b in zip(at.layout.weights(), before)])
            )
    ratio = float(updates[1].norm() / updates[0].norm())
    assert ratio == pytest.approx(math.sqrt(1 - 0.98), rel=0.01)


def eta_init(folder):
    return checkpoint(folder)["optimizer_history"][-1]["lr_scheduler_state"]["eta_init"]


@pytest.mark.parametrize("by", ["loss", "source", "spread"])
def test_update_1_is_at_the_measured_rate_to_the_bit(grammar, tmp_path, by):
    """As a run that was told that rate: the measurement leaves no other trace."""
    flags = [f"--catapult-by={by}", "--catapult-cap=0.03", "--lr=0.05", "--lr-scheduler=catapult"]
    train(grammar, tmp_path / "a", *ADAM, *flags)
    eta = eta_init(tmp_path / "a")
    assert 0 < eta <= 0.03
    train(grammar, tmp_path / "b", *ADAM, f"--lr={eta!r}")
    for name, weight in checkpoint(tmp_path / "b")["model"].items():
        assert torch.equal(checkpoint(tmp_path / "a")["model"][name], weight), name


def test_a_resume_does_not_measure_again(grammar, tmp_path, monkeypatch):
    flags = [*CATAPULT, "--catapult-by=spread"]
    train(grammar, tmp_path / "through", *flags, "--max-update=4")
    train(grammar, tmp_path / "twice", *flags, "--max-update=2")
    from fairseq_gradinit.lr_scheduler import catapult

    monkeypatch.setattr(catapult, "measure", None)  # calling it would fail
    train(grammar, tmp_path / "twice", *flags, "--max-update=4")
    assert eta_init(tmp_path / "twice") == eta_init(tmp_path / "through")
    for name, weight in checkpoint(tmp_path / "through")["model"].items():
        assert torch.equal(checkpoint(tmp_path / "twice")["model"][name], weight), name


@pytest.mark.parametrize(
    "flags",
    [
        ["--fp16", "--fp16-no-flatten-grads", "--fp16-init-scale=4"],
        ["--memory-efficient-fp16", "--fp16-init-scale=4"],
        ["common.bf16=true"],
    ],
    ids=["fp16", "memory-efficient-fp16", "bf16"],
)
def test_16_bits_measure_as_32(grammar, tmp_path, flags):
    by = [*CATAPULT, "--catapult-by=spread", "--lr=1"]
    for folder, more in (("plain", []), ("half", flags)):
        train(grammar, tmp_path / folder, *by, *more)
    assert eta_init(tmp_path / "half") == pytest.approx(eta_init(tmp_path / "plain"), rel=0.3)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--warmup-updates=0"], "--warmup-updates: found 0"),
        (["--catapult-tolerance=0"], "--catapult-tolerance: found 0"),
        (["--catapult-start=-1"], "--catapult-start: found -1"),
        (["--catapult-cap=nan"], "--catapult-cap: found nan"),
        (["--lr=1,2"], "--lr: found 2 rates"),
        (["--lr=0"], "--lr: found 0"),
        (["--lr=-1"], "--lr: found -1"),
        (["--catapult-decay=step", "--lr-deacy-period=0"], r"--catapult-decay step: .*period > 0"),
        (["--catapult-decay=cosine", f"--max-update={T}"], f"--max-update: found {T}"),
    ],
)
def test_bad_flags_are_one_line(grammar, tmp_path, flags, named):
    with pytest.raises(SystemExit, match=named) as caught:
        train(grammar, tmp_path, *CATAPULT, *flags)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("flag", ["--lr=-1", "--lr=1,2", "--decay-updates=0"])
def test_bad_flags_of_nowarmup_are_one_line(grammar, tmp_path, flag):
    named, _, _ = flag.partition("=")
    with pytest.raises(SystemExit, match=f"{named}: found") as caught:
        train(grammar, tmp_path, *ADAM, "--lr-scheduler=inverse_sqrt_nowarmup", flag)
    assert "\n" not in str(caught.value)


def test_a_run_that_cannot_measure_is_one_line(grammar, tmp_path, monkeypatch):
    monkeypatch.setitem(TASK_REGISTRY, "translation", TranslationTask)  # fairseq's own
    with pytest.raises(SystemExit, match=r"catapult: at update 1 .*--task") as caught:
        train(grammar, tmp_path, *CATAPULT, "--max-update=2")
    assert "\n" not in str(caught.value)


def test_fairseq_s_schedules_take_up_a_catapult_s_checkpoint(grammar, tmp_path):
    train(grammar, tmp_path, *CATAPULT)
    stock = ["--lr-scheduler=inverse_sqrt", f"--warmup-updates={T}", f"--lr={LR}"]
    train(grammar, tmp_path, *ADAM, *stock, "--max-update=2")
    assert checkpoint(tmp_path)["optimizer_history"][-1]["num_updates"] == 2


def test_a_checkpoint_of_another_schedule_is_one_line(grammar, tmp_path):
    train(grammar, tmp_path, *ADAM)
    with pytest.raises(SystemExit, match="--reset-optimizer"):
        train(grammar, tmp_path, *CATAPULT, "--max-update=2")
    train(grammar, tmp_path, *CATAPULT, "--max-update=2", "--reset-optimizer")
    assert eta_init(tmp_path) > 0
