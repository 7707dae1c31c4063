"""Real runs of every optimizer, each trained once a session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq.trainer import Trainer
from fairseq_runs import build, train
from optimizer_rows import ROWS, Named, Row

from fairseq_gradinit.optim.schedule_free import gradient_point

NO_DROPOUT = ["--dropout=0"]


@dataclass
class Bench:
    """A run as fairseq-train builds it, before its first update, and the gradient drawn for it."""

    trainer: Trainer
    first: Named

    @property
    def model(self) -> Any:
        return self.trainer.get_model()

    def step(self, gradient: Named) -> None:
        """One step of the optimizer along a given gradient."""
        with gradient_point(self.trainer.optimizer):
            for name, p in self.model.named_parameters():
                p.grad = gradient[name].to(p, copy=True)
        self.trainer.optimizer.step()

    def weights(self) -> Named:
        return {n: p.detach().double().clone() for n, p in self.model.named_parameters()}

    def gradients(self, updates: int, seed: int = 0) -> list[Named]:
        """Random ones, each tensor of a size of its own."""
        generator = torch.Generator().manual_seed(seed)
        return [
            {
                name: torch.randn(p.shape, generator=generator, dtype=torch.float64).float()
                * 10.0 ** (at % 4 - 3)
                for at, (name, p) in enumerate(self.model.named_parameters())
            }
            for _ in range(updates)
        ]


@pytest.fixture
def bench(grammar, tmp_path) -> Callable[..., Bench]:
    """Builds a `Bench` of a row."""

    def make(row: Row, *flags: str) -> Bench:
        task, criterion, trainer = build(grammar, tmp_path, *NO_DROPOUT, *row.arguments, *flags)
        samples = draw(task, trainer)
        first = mean_gradient(trainer.get_model(), criterion, samples)
        task.prepare(trainer.optimizer, trainer.model, criterion, samples)
        trainer.optimizer.set_lr(row.lr)
        return Bench(trainer, first)

    return make


def draw(task: Any, trainer: Trainer) -> list[Any]:
    """The first batch that is drawn apart from those of training, in every run of a seed."""
    from fairseq_gradinit.first_update import Supply

    return Supply(task._train_iterator, trainer.cfg).draw(1, "")


def mean_gradient(model: Any, criterion: Any, samples: list[Any]) -> Named:
    """∇ of the summed loss over the summed sample size, by plain backward passes."""
    model.eval()
    model.zero_grad()
    size = 0.0
    for sample in samples:
        loss, sample_size, _ = criterion(model, sample)
        loss.backward()
        size += float(sample_size)
    gradient = {
        name: torch.zeros_like(p) if p.grad is None else p.grad / size
        for name, p in model.named_parameters()
    }
    model.zero_grad(set_to_none=True)
    return {name: g.double() for name, g in gradient.items()}


@pytest.fixture(scope="session")
def trained(grammar, tmp_path_factory) -> Callable[..., Path]:
    """The folder of a real run with these flags; each is run once a session."""
    folders: dict[tuple[str, ...], Path] = {}

    def run(*flags: str) -> Path:
        if flags not in folders:
            folders[flags] = tmp_path_factory.mktemp("trained")
            train(grammar, folders[flags], *NO_DROPOUT, *flags)
        return folders[flags]

    return run


@pytest.fixture(params=ROWS, ids=str)
def row(request: pytest.FixtureRequest) -> Row:
    return request.param
