"""A small fairseq model with the criterion and the optimizer that given flags name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from fairseq import optim, options, tasks
from fairseq.data import Dictionary
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.tasks.translation import TranslationTask
from torch import nn

import fairseq_gradinit.plugin  # noqa: F401  registers the optimizers
from fairseq_gradinit.optim import roles
from fairseq_gradinit.optim.gi_adam import FairseqGIAdam

SYMBOLS = 4000


@dataclass
class Run:
    """What a training has; `update` is one of its updates, without dropout."""

    model: Any
    criterion: nn.Module
    optimizer: Any

    def update(self, sample: Any) -> None:
        self.backward(sample)
        self.optimizer.clip_grad_norm(0.0)
        self.optimizer.step()

    def backward(self, sample: Any) -> None:
        self.optimizer.zero_grad()
        loss, size, _ = self.criterion(self.model, sample)
        (loss / size).backward()


def run(layers: int, width: int, *flags: str, symbols: int = SYMBOLS) -> Run:
    """A Post-LN Transformer of `layers`+`layers` layers, ffn twice as wide, tied embeddings."""
    given = ["nowhere", "--arch=transformer", "--share-all-embeddings", "--lr=1e-4"]
    given += ["--optimizer=adam"]
    given += ["--criterion=label_smoothed_cross_entropy", "--label-smoothing=0.1", "--dropout=0"]
    for side in ("encoder", "decoder"):
        given += [f"--{side}-layers={layers}", f"--{side}-embed-dim={width}"]
        given += [f"--{side}-ffn-embed-dim={2 * width}", f"--{side}-attention-heads=4"]
    parser = options.get_training_parser()
    config = convert_namespace_to_omegaconf(options.parse_args_and_arch(parser, [*given, *flags]))
    dictionary = Dictionary()
    for symbol in range(symbols):
        dictionary.add_symbol(str(symbol))
    config.task.source_lang, config.task.target_lang = "de", "en"
    task = TranslationTask(tasks.TASK_DATACLASS_REGISTRY["translation"](), dictionary, dictionary)
    torch.manual_seed(1)
    model = task.build_model(config.model)
    if config.optimizer._name in ("modular_adam", "modular_sgd", "muon", "adamw2", "rotational"):
        roles.tag(model)
    optimizer = optim.build_optimizer(config.optimizer, list(model.parameters()))
    if isinstance(optimizer, FairseqGIAdam):
        optimizer._optimizer.start_from([torch.ones_like(p) for p in model.parameters()])
    return Run(model, task.build_criterion(config.criterion), optimizer)
