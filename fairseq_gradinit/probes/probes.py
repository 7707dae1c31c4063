"""The probes of a fairseq run: what is measured when, between which of the trainer's steps."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from ..checkpointing import without_checkpointing
from ..gradinit.borrowed import borrowed
from ..layers import other_parameters, weight_matrices
from ..optimizer_view import gradient_factor, second_moments, stepped_weights
from .attention import watched
from .batch import in_32_bit, part_of
from .gradient_flow import gradient_flow, p_norms, update_ratios
from .record import Record
from .sharpness import (
    Hessian,
    adam_preconditioner,
    preconditioned,
    random_start,
    sharpness_along,
    top_eigenvalue,
)

logger = logging.getLogger(__name__)

MaskOf = Callable[[nn.Module], "Tensor | None"]


class Probes:
    """Measures an update's gradient before it is clipped, and the update itself.

    Everything but attention, spread and sharpness is of the gradient that the optimizer is to
    use: unscaled, per token, summed over --update-freq and the ranks. Update 1 is measured, and
    then every N-th.

    Args:
        model: the model itself, not what wraps it for several processes.
        flow_interval: N of the probes; 0: none.
        sharpness_interval: N of the top eigenvalues; 0: none. They come with all other probes.
        write: takes each record.
    """

    def __init__(
        self,
        model: nn.Module,
        flow_interval: int,
        sharpness_interval: int,
        write: Callable[[Record], None],
    ) -> None:
        self._model = model
        self._intervals = [flow_interval, sharpness_interval]
        self._write = write
        self._layers = weight_matrices(model)
        self._others = other_parameters(model)
        self._pending: Record | None = None

    def before_forward(
        self, sample: dict[str, Any], criterion: nn.Module, optimizer: Any, update_num: int
    ) -> None:
        """Has this update's gradient measured, if it is one to probe.

        Called with each of its samples; attention and sharpness are of the last.

        Args:
            optimizer: fairseq's; its next `clip_grad_norm`, which is where its gradients are
                complete and not yet clipped, measures them first.
            update_num: the updates done before.
        """
        due = [_due(update_num + 1, interval) for interval in self._intervals]
        # What an instance's attribute hides is its class's method.
        vars(optimizer).pop("clip_grad_norm", None)
        self._pending = None
        if not any(due) or not sample:
            return

        def clip_grad_norm(*args: Any, **kwargs: Any) -> Tensor:
            del optimizer.clip_grad_norm
            self._measure(sample, criterion, optimizer, update_num + 1, due[1])
            return optimizer.clip_grad_norm(*args, **kwargs)

        optimizer.clip_grad_norm = clip_grad_norm

    @contextlib.contextmanager
    def around_step(self, optimizer: Any) -> Iterator[None]:
        """Around `optimizer.step()`: adds the update's size to the record and writes it."""
        record, self._pending = self._pending, None
        if record is None:
            yield
            return
        started = time.monotonic()
        weights = stepped_weights(optimizer, [layer.weight for layer in self._layers])
        before = [weight.clone() for weight in weights]
        seconds = time.monotonic() - started
        yield
        started = time.monotonic()
        ratios = update_ratios(before, weights)
        record.update_ratio = dict(zip((layer.name for layer in self._layers), ratios))
        record.seconds = (record.seconds or 0.0) + seconds + time.monotonic() - started
        self._write(record)

    def _measure(
        self,
        sample: dict[str, Any],
        criterion: nn.Module,
        optimizer: Any,
        update: int,
        eigenvalues: bool,
    ) -> None:
        started = time.monotonic()
        record = Record(update=update, learning_rate=float(optimizer.get_lr()))
        factor = gradient_factor(optimizer)
        self._measure_gradient(record, factor)
        if math.isfinite(record.gradient_norm_2 or 0.0):
            self._measure_model(record, sample, criterion, float(factor))
            if eigenvalues:
                self._measure_eigenvalues(record, sample, criterion, optimizer)
        record.seconds = time.monotonic() - started
        if not math.isfinite(record.gradient_norm_2 or 0.0) and _scaler(optimizer) is None:
            self._write(record)  # training stops at a gradient that is not finite
        else:
            self._pending = record

    def _measure_gradient(self, record: Record, factor: float | Tensor) -> None:
        gradients = [layer.weight.grad for layer in self._layers]
        masks = [getattr(layer.module, f"{layer.attribute}_mask", None) for layer in self._layers]
        flow = asdict(gradient_flow(gradients, masks, factor))
        norms = flow.pop("norms")
        for name, value in flow.items():
            setattr(record, name, value)
        record.gradient_norm = dict(zip((layer.name for layer in self._layers), norms))
        totals = {}
        for p in (1, 2):
            parts = {"layers": p_norms(gradients, p)}
            for kind, parameters in self._others.items():
                parts[kind] = p_norms([parameter.grad for parameter in parameters], p)
            totals[p] = {
                kind: float(torch.linalg.vector_norm(part, p) * float(factor))
                for kind, part in parts.items()
            }
        record.gradient_norm_1 = sum(totals[1].values())
        record.gradient_norm_2 = math.hypot(*totals[2].values())
        record.other_gradient_norm = {k: v for k, v in totals[2].items() if k != "layers"}

    def _measure_model(
        self, record: Record, sample: dict[str, Any], criterion: nn.Module, factor: float
    ) -> None:
        """Attention, spread, and the curvature along the update's gradient, on a part of the
        sample: the graph that the curvature needs costs several training steps on all of it."""
        padding = getattr(criterion, "padding_idx", None)
        part = part_of(sample, padding)
        parameters = [p for p in self._model.parameters() if p.grad is not None]
        direction = [p.grad.float() * factor for p in parameters if p.grad is not None]
        with self._held_still(), watched(self._model, part, padding) as seen:
            hessian = Hessian(lambda: _loss(self._model, criterion, part), parameters)
            record.gradient_sharpness = sharpness_along(hessian, direction)
        record.attention_entropy = dict(seen.entropy)
        record.token_spread = dict(seen.spread)

    @contextlib.contextmanager
    def _held_still(self) -> Iterator[None]:
        """Deterministic, in 32 bit, and with activations kept, which double backward needs."""
        with borrowed(self._model), without_checkpointing(self._model):
            yield

    def _measure_eigenvalues(
        self, record: Record, sample: dict[str, Any], criterion: nn.Module, optimizer: Any
    ) -> None:
        parameters = [p for p in self._model.parameters() if p.grad is not None]
        with self._held_still():
            hessian = Hessian(lambda: _loss(self._model, criterion, sample), parameters)
            start = random_start(parameters, record.update)
            record.top_eigenvalue = top_eigenvalue(hessian, start)
            divisor = _adam_state(optimizer, parameters)
            if divisor is not None:
                record.preconditioned_eigenvalue = top_eigenvalue(
                    preconditioned(hessian, divisor), start
                )


def _due(update: int, interval: int) -> bool:
    return interval > 0 and (update == 1 or update % interval == 0)


def _scaler(optimizer: Any) -> Any:
    return getattr(optimizer, "scaler", None)


def _loss(model: nn.Module, criterion: nn.Module, sample: dict[str, Any]) -> Tensor:
    loss, sample_size, _ = criterion(model, in_32_bit(sample))
    return loss / sample_size


def _adam_state(optimizer: Any, parameters: list[nn.Parameter]) -> list[Tensor] | None:
    """P of Adam for each parameter; None with another optimizer, or before its first step."""
    inner = optimizer.optimizer
    group = inner.param_groups[0]
    if "betas" not in group or "eps" not in group:
        return None
    moments = second_moments(optimizer, parameters)
    steps = [int(state["step"]) for state in inner.state.values() if "step" in state]
    step = max(steps, default=int(group.get("step", 0)))
    if moments is None or step == 0:
        return None
    return [
        adam_preconditioner(moment.float(), step, tuple(group["betas"]), group["eps"])
        for moment in moments
    ]
