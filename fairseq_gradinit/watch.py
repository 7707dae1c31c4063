"""Every N updates: what the source is worth to the model in training, and its token spread.

A translation model whose loss falls while it reads nothing looks well in every log but this one.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fairseq.data import FairseqDataset
from fairseq.logging import metrics
from torch import nn

from .files import FileError, append_json_line
from .gradinit.measures import Reading
from .reading import reading
from .run_loss import unwrapped

logger = logging.getLogger(__name__)

WATCHED = 4000  # target tokens to read at each look


@dataclass(frozen=True)
class Look(Reading):
    """A line of watch.jsonl: a `Reading`, and how many updates were done."""

    update: int


class Watch:
    """Looks at a model in training on samples that stay the same.

    Args:
        samples: collated, as `some_samples` has them.
        interval: updates from one look to the next.
        path: watch.jsonl, a line a look; None where another process writes it.
    """

    def __init__(self, samples: Sequence[Any], interval: int, path: Path | None) -> None:
        self._samples, self._interval, self._path = samples, interval, path
        self._last: int | None = None
        self._warned, self._keeps = False, True

    def before_update(self, update: int, model: nn.Module) -> None:
        """Looks, if it is time, and logs into fairseq's meters and watch.jsonl.

        update: how many are done.
        """
        if update % self._interval or update == self._last or not self._samples:
            return  # not yet, the second part of an update that comes in parts, or nothing to read
        self._last = update
        found = reading(unwrapped(model), self._samples)
        for name in ("source_worth", "encoder_spread", "decoder_spread"):
            value = getattr(found, name)
            if value is not None:
                metrics.log_scalar(name, value, round=3)
        if self._path is not None:
            if self._keeps:
                self._keep(self._path, Look(**asdict(found), update=update))
            self._warn(update, found)

    def _keep(self, path: Path, look: Look) -> None:
        try:
            append_json_line(path, look)
        except FileError as error:
            # A training is worth more than its record; its own log has the numbers too.
            logger.warning(f"--gradinit-watch: {error}; the looks from here on are not kept")
            self._keeps = False

    def _warn(self, update: int, found: Reading) -> None:
        if update > 0 and found.collapsed and not self._warned:
            self._warned = True
            logger.warning(
                f"after {update} updates the states of the {' and the '.join(found.collapsed)} are "
                "the same for every token: the model cannot read its source and will hardly learn "
                "to; give a lower --lr, or warm up"
            )


def some_samples(
    dataset: FairseqDataset, index_lists: Sequence[Sequence[int]], tokens: int = WATCHED
) -> list[Any]:
    """Whole batches of a split from short to long sentences, with `tokens` target tokens or all
    that there are."""
    chosen: list[Any] = []
    found = 0
    # Halfway first, then the quarters, then the eighths, …: a spread over lengths at every number.
    for at in _spread(len(index_lists)):
        if found >= tokens:
            break
        sample = dataset.collater([dataset[i] for i in index_lists[at]])
        if sample:
            chosen.append(sample)
            found += int(sample["ntokens"])
    return chosen


def _spread(count: int) -> list[int]:
    """0 … count − 1 so that any first few are spread over the whole."""
    order: list[int] = []
    parts = 2
    while len(order) < count:
        order += [count * k // parts for k in range(1, parts, 2)]
        order = list(dict.fromkeys(order))
        if parts > 2 * count:
            order += [at for at in range(count) if at not in order]
        parts *= 2
    return order
