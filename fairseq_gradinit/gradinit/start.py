"""The measured start: scales that keep the first updates from making all tokens alike.

In the first updates the matrix at the end of a residual branch moves along the mean of its inputs,
the same way for every token and, with Adam, by η in every entry at once. Where a few updates move a
branch's output by a vector that is common to all tokens and as large as the residual stream, the
LayerNorms after it leave the tokens little else. So branches start turned down, and how far one
update of the run's own optimizer moves each branch's mean output is measured: what feeds the
branch is turned down until the branches of a stack together move the stream by `drift` of its size.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .blocks import Blocks
from .branches import Branch, find_branches
from .errors import GradInitError
from .gradient import LossFn, MakeOptimizer, Parts, Steps, gradient_of, loss_of
from .settings import Settings

PASSES = 3  # measurements; the second and third correct for what the first could not know


def measured_scales(
    model: nn.Module,
    blocks: Blocks,
    loss_fn: LossFn,
    batches: Iterable[Any],
    settings: Settings,
    make_optimizer: MakeOptimizer,
) -> Tensor:
    """`branch_scale` for each branch's last matrix, and for what feeds it the greatest scale ≤ 1
    with which the branch drifts by no more than its share of `settings.drift`; 1 for the rest.
    [blocks], float64, which are in force afterwards

    batches: one a pass.

    Raises:
        GradInitError: there are no batches, or no gradient that is finite.
    """
    branches = find_branches(model, blocks)
    scales = torch.ones(len(blocks), dtype=torch.float64)
    for branch in branches:
        scales[branch.output] = settings.branch_scale
    blocks.write(scales)
    per_stack = {stack: sum(b.stack == stack for b in branches) for stack in stacks(branches)}
    before: dict[str, tuple[float, float]] = {}  # a branch's scale and its drift there
    passes = 0
    for batch in itertools.islice(batches, PASSES if branches else 0):
        passes += 1
        drifts = measure_drift(branches, blocks, scales, loss_fn, batch, settings, make_optimizer)
        for branch in branches:
            if not branch.feeding or branch.name not in drifts:
                continue
            scale, drift = float(scales[branch.feeding[0]]), drifts[branch.name]
            if not math.isfinite(drift):
                raise GradInitError(
                    f"the measured start: one update moves the output of {branch.name} by {drift}; "
                    "lower `eta` or check the data"
                )
            power = _power(before.get(branch.name), scale, drift)
            before[branch.name] = scale, drift
            wanted = settings.drift / per_stack[branch.stack]
            factor = (wanted / max(drift, 1e-12)) ** (1 / power)
            new = min(1.0, max(settings.min_scale, scale * factor))
            scales[list(branch.feeding)] = new
        blocks.write(scales)
    if branches and not passes:
        raise GradInitError("the measured start: there is no batch; give more data")
    return scales


def measure_drift(
    branches: Sequence[Branch],
    blocks: Blocks,
    scales: Tensor,
    loss_fn: LossFn,
    batch: Any,
    settings: Settings,
    make_optimizer: MakeOptimizer,
) -> dict[str, float]:
    """By branch: how far one update at η moves its mean output over the batch's tokens, root mean
    square over coordinates, as a part of that of the residual stream.

    One forward+backward, one step and a forward pass at θ = α∘θ⁰, which is put back. Outputs are
    seen of all parts of the batch: where others share the gradient, theirs by a forward pass.
    """
    with _watched(branches) as before:
        _, gradient = gradient_of(loss_fn, blocks, batch)
        if isinstance(batch, Parts):
            with torch.no_grad():
                for part in batch.elsewhere:
                    loss_fn(part)
    Steps(blocks, make_optimizer, settings.clip_norm, settings.eta).step(gradient)
    with _watched(branches) as after:
        loss_of(loss_fn, batch)
    blocks.write(scales)
    return {
        name: float((after[name].mean() - flow.mean()).pow(2).mean().sqrt() / flow.size())
        for name, flow in before.items()
        if flow.tokens and after[name].tokens
    }


def stacks(branches: Sequence[Branch]) -> list[str]:
    """The stacks of layers that the branches belong to, each once."""
    return list(dict.fromkeys(branch.stack for branch in branches))


class _Flow:
    """What passes a branch: the sum of its outputs over tokens, and the residual stream's squares.

    A batch that comes in parts adds up."""

    def __init__(self) -> None:
        self.total: Tensor | None = None  # [width]
        self.tokens = self.entries = 0
        self.squares = 0.0

    def seen_output(self, module: nn.Module, given: Any, output: Any) -> None:
        output = output[0] if isinstance(output, tuple) else output  # [..., width]
        states = output.detach().flatten(0, -2).float()
        self.total = states.sum(0) + (0 if self.total is None else self.total)
        self.tokens += len(states)

    def seen_input(self, module: nn.Module, given: Any, named: dict[str, Any]) -> None:
        stream = given[0] if given else next(iter(named.values()))  # the query, or the input
        self.squares += float(stream.detach().float().pow(2).sum())
        self.entries += stream.numel()

    def mean(self) -> Tensor:
        """The branch's mean output over tokens, [width]."""
        assert self.total is not None
        return self.total / self.tokens

    def size(self) -> float:
        """Root mean square of the residual stream."""
        return math.sqrt(self.squares / max(1, self.entries)) or 1.0


@contextlib.contextmanager
def _watched(branches: Sequence[Branch]) -> Iterator[dict[str, _Flow]]:
    flows = {branch.name: _Flow() for branch in branches}
    handles = []
    for branch in branches:
        flow = flows[branch.name]
        handles.append(branch.entry.register_forward_pre_hook(flow.seen_input, with_kwargs=True))
        handles.append(branch.module.register_forward_hook(flow.seen_output))
    try:
        yield flows
    finally:
        for handle in handles:
            handle.remove()


def _power(before: tuple[float, float] | None, scale: float, drift: float) -> float:
    """How the drift follows the scale, drift ∝ scaleᵖ: 1 for Adam, whose update does not depend on
    the gradient's size, 2 for SGD and for gated layers, found from two measurements."""
    if before is None or scale == before[0] or drift <= 0 or before[1] <= 0:
        return 1.0
    return min(4.0, max(1.0, math.log(drift / before[1]) / math.log(scale / before[0])))
