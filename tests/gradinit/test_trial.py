"""The trial takes real updates, tells what they come to, and leaves no trace."""

import copy
import itertools
import math

import pytest
import torch
from toy_models import ToyTransformer, random_batches

from fairseq_gradinit.gradinit import GradInitError, Settings
from fairseq_gradinit.gradinit.measures import COLLAPSED, Reading, token_spread
from fairseq_gradinit.gradinit.trial import (
    DOWN,
    UP,
    Trial,
    highest_that_trains,
    try_rates,
    try_updates,
)


def adam(params):
    return torch.optim.Adam(params, lr=1.0)  # the trial sets its own


def trial(model, updates, **given):
    settings = Settings.of("multistep", eta=1e-2, trial=updates)
    return try_updates(model, model, random_batches(updates, seed=5), settings, adam, **given)


def test_token_spread_is_the_squared_relative_residual():
    states = torch.randn(7, 5, dtype=torch.float64) + 2
    mean = [sum(float(row[j]) for row in states) / 7 for j in range(5)]
    apart = sum((float(row[j]) - mean[j]) ** 2 for row in states for j in range(5))
    whole = sum(float(row[j]) ** 2 for row in states for j in range(5))
    assert token_spread(states) == pytest.approx(apart / whole)


def test_token_spread_ends():
    same = torch.randn(1, 6).expand(4, 6)
    assert token_spread(same) == pytest.approx(0, abs=1e-12)
    assert token_spread(torch.cat([same, -same])) == pytest.approx(1)


@pytest.mark.parametrize("clip_norm", [0.0, 0.1])
def test_updates_are_those_of_plain_training(clip_norm):
    model = ToyTransformer(seed=1)
    batches = random_batches(12, seed=5)
    settings = Settings.of("multistep", eta=3e-3, trial=12, clip_norm=clip_norm)
    seen = []
    found = try_updates(
        model, lambda batch: seen.append(model(batch)) or seen[-1], batches, settings, adam
    )

    trained = ToyTransformer(seed=1).eval()
    optimizer = torch.optim.Adam(trained.parameters(), lr=3e-3)
    losses = []
    for batch in batches:
        optimizer.zero_grad()
        loss = trained(batch)
        loss.backward()
        if clip_norm:
            torch.nn.utils.clip_grad_norm_(trained.parameters(), clip_norm)
        optimizer.step()
        losses.append(float(loss))
    assert [float(loss) for loss in seen] == pytest.approx(losses, rel=1e-9)
    assert found.first_loss == pytest.approx(losses[0])
    assert found.last_loss == pytest.approx(sum(losses[-10:]) / 10)
    assert found.learning_rate == 3e-3


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_a_trial_ends_with_the_first_loss_that_is_not_finite(bad):
    """No update follows it, and no reading."""
    model, calls, readings = ToyTransformer(seed=1), [], []

    def loss_fn(batch):
        calls.append(batch)
        return model(batch) * (bad if len(calls) == 3 else 1.0)

    settings = Settings.of("multistep", eta=1e-2, trial=9)
    batches = random_batches(9, seed=5)
    found = try_updates(
        model, loss_fn, batches, settings, adam, measure=lambda: readings.append(len(calls))
    )
    assert len(calls) == 3 and readings == [0]
    assert not found.trains and not math.isfinite(found.last_loss)


def test_nothing_is_left_behind():
    model = ToyTransformer(seed=1)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    trial(model, 5)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert model.training and torch.equal(torch.get_rng_state(), state)


def test_measured_where_it_ends():
    """With the parameters of the last update, and in evaluation mode."""
    model = ToyTransformer(seed=1)
    start = next(model.parameters()).detach().clone()
    found, read = [], Reading(5.0, 0.1, 0.5, None)

    def measure():
        found.append((float((next(model.parameters()) - start).norm()), model.training))
        return read

    settings = Settings.of("multistep", eta=1e-2, trial=4)
    batches = random_batches(4, seed=5)
    assert try_updates(model, model, batches, settings, adam, measure).reading is read
    (first, _), (distance, training) = found
    assert first == 0 and distance > 0.01 and not training


def test_an_explosion_ends_it_and_does_not_train():
    model = ToyTransformer(seed=1)
    before = copy.deepcopy(model.state_dict())
    found = trial(model, 20, learning_rate=1e305)
    assert not math.isfinite(found.last_loss) and not found.trains
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    "last_loss, spreads, trains",
    [
        (5.0, None, True),
        (5.0, (0.5, 0.5), True),
        (5.0, (None, 0.5), True),
        (5.0, (0.5, COLLAPSED / 2), False),  # it falls, but every token looks the same
        (5.0, (0.0, 0.5), False),
        (5.0, (math.nan, 0.5), False),
        (8.0, (0.5, 0.5), False),
        (math.nan, None, False),
        (-math.inf, None, False),
    ],
)
def test_verdict(last_loss, spreads, trains):
    reading = None if spreads is None else Reading(last_loss, 0.0, *spreads)
    before = None if spreads is None else Reading(7.0, 0.0, 0.5, 0.5)
    assert Trial(1e-3, 7.0, last_loss, reading, before).trains == trains


def test_the_loss_is_compared_on_the_same_sentences():
    """Two batches may differ by more than a few updates change."""
    fell = Trial(1e-5, 5.0, 5.1, Reading(4.99, 0.0, 0.5, 0.5), Reading(5.0, 0.0, 0.5, 0.5))
    assert fell.trains


def rates_tried(highest):
    """The learning rates tried from 1, where those up to `highest` train."""

    def at(rate):
        return Trial(rate, 7.0, 5.0 if rate <= highest else 9.0, None)

    trials = list(try_rates(at, 1.0))
    return [trial.learning_rate for trial in trials], highest_that_trains(trials)


def test_upwards_once_downwards_until_one_trains():
    assert rates_tried(2.5) == ([1.0, 2.0], 2.0)
    assert rates_tried(1.0) == ([1.0, 2.0], 1.0)
    assert rates_tried(0.3) == ([1.0, 0.5, 0.25], 0.25)


def test_not_for_ever():
    assert rates_tried(1e9) == ([2.0**k for k in range(UP + 1)], 2.0**UP)
    assert rates_tried(0) == ([2.0**-k for k in range(DOWN + 1)], None)


def test_no_batch_is_refused():
    model = ToyTransformer(seed=1)
    with pytest.raises(GradInitError, match="`trial`"):
        try_updates(model, model, itertools.repeat(0, 0), Settings.of("multistep"), adam)
