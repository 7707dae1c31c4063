"""The stopping rule."""

import math

import torch

from fairseq_gradinit.gradinit.settled import WINDOW, Settled


def fires_at(scales_at, loss_at, limit=4 * WINDOW):
    """The first iteration (counted from 1) at which the rule fires, or None."""
    rule = Settled(min_scale=0.01)
    for i in range(limit):
        if rule.update(torch.tensor(scales_at(i), dtype=torch.float64), loss_at(i)):
            return i + 1
    return None


def test_never_in_the_first_fifty():
    assert fires_at(lambda i: [1.0, 0.0], lambda i: 3.0) == 2 * WINDOW == 50


def test_not_while_scales_move():
    assert fires_at(lambda i: [math.exp(0.01 * i), 1.0], lambda i: 3.0) is None


def test_not_while_the_loss_falls():
    assert fires_at(lambda i: [1.0, 1.0], lambda i: 3.0 - 0.01 * i) is None


def test_noise_around_a_level_is_settled():
    assert fires_at(lambda i: [1 + 0.05 * (-1) ** i], lambda i: 3 + 0.1 * (-1) ** i) is not None


def test_a_constraint_that_still_binds_is_not_settled():
    assert fires_at(lambda i: [1.0], lambda i: math.nan) is None
