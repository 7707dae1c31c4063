"""The stopping rule: scales and objective have settled."""

from __future__ import annotations

import math
from collections import deque
from statistics import fmean

import torch
from torch import Tensor

WINDOW = 25  # iterations in each of the two windows compared
SCALE_TOLERANCE = 0.02  # root mean square change of log α between them
LOSS_TOLERANCE = 0.01  # nats


class Settled:
    """Compares the last `WINDOW` iterations with the `WINDOW` before, so it never fires
    within the first 50: settled when the mean of log α moved by less than `SCALE_TOLERANCE`
    (root mean square over blocks) and the mean look-ahead loss by less than `LOSS_TOLERANCE`.
    Means, because single iterations jump by the scale learning rate for ever.
    """

    def __init__(self, min_scale: float) -> None:
        self.floor = min_scale  # a bias may reach 0, which has no logarithm
        self.log_scales: deque[Tensor] = deque(maxlen=2 * WINDOW)
        self.losses: deque[float] = deque(maxlen=2 * WINDOW)

    def update(self, scales: Tensor, lookahead_loss: float) -> bool:
        """Records one iteration (scales [blocks], NaN loss where none was had): settled?"""
        self.log_scales.append(scales.clamp_min(self.floor).log())
        self.losses.append(lookahead_loss)
        if len(self.log_scales) < 2 * WINDOW:
            return False
        log_scales, losses = torch.stack(list(self.log_scales)), list(self.losses)
        before, after = log_scales[:WINDOW].mean(0), log_scales[WINDOW:].mean(0)
        if (after - before).pow(2).mean().sqrt() >= SCALE_TOLERANCE:
            return False
        earlier, later = (
            [x for x in half if not math.isnan(x)] for half in (losses[:WINDOW], losses[WINDOW:])
        )
        return bool(earlier and later) and abs(fmean(later) - fmean(earlier)) < LOSS_TOLERANCE
