"""The small Post-LN Transformers of the experiments and benchmarks, as fairseq builds them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from fairseq import options, tasks
from fairseq.data import Dictionary
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.tasks.translation import TranslationTask
from torch import Tensor, nn

from fairseq_gradinit.run import per_token_loss

BETAS = (0.9, 0.98)
SYMBOLS, LENGTH = 4000, 16  # of the random batches


@dataclass
class Setup:
    """One small Post-LN model on real text, as `fairseq-train` would build it."""

    arguments: argparse.Namespace
    task: Any = field(init=False)
    model: nn.Module = field(init=False)
    criterion: nn.Module = field(init=False)

    def __post_init__(self) -> None:
        given = [self.arguments.data, "--task=translation", "--arch=transformer"]
        given += ["--share-all-embeddings", "--dropout=0.1", "--max-tokens=1024"]
        given += ["--criterion=label_smoothed_cross_entropy", "--label-smoothing=0.1"]
        for side in ("encoder", "decoder"):
            given += [f"--{side}-layers=6", f"--{side}-embed-dim=64"]
            given += [f"--{side}-ffn-embed-dim=128", f"--{side}-attention-heads=2"]
        parsed = options.parse_args_and_arch(options.get_training_parser(), given)
        config = convert_namespace_to_omegaconf(parsed)
        self.task = tasks.setup_task(config.task)
        for split in ("train", "valid"):
            self.task.load_dataset(split)
        torch.manual_seed(self.arguments.seed)
        self.model = self.task.build_model(config.model)
        self.criterion = self.task.build_criterion(config.criterion)

    def batches(self, split: str, seed: int) -> Iterator[Any]:
        """The train split for ever, reshuffled; another split once."""
        epoch = 1
        while True:
            yield from self.task.get_batch_iterator(
                dataset=self.task.dataset(split),
                max_tokens=1024,
                max_positions=(1024, 1024),
                seed=seed,
                epoch=epoch,
                disable_iterator_cache=True,
            ).next_epoch_itr(shuffle=split == "train")
            epoch += 1
            if split != "train":
                return

    def optimizer(self, params: list[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.Adam(params, lr=self.arguments.lr, betas=BETAS)


def transformer(layers: int, width: int) -> tuple[nn.Module, Callable[[Any], Tensor]]:
    """A `layers`+`layers` model, ffn twice as wide, dropout off, and its loss per token."""
    sides = [
        f"--{side}-{what}"
        for side in ("encoder", "decoder")
        for what in (
            f"layers={layers}",
            f"embed-dim={width}",
            f"ffn-embed-dim={2 * width}",
            "attention-heads=4",
        )
    ]
    arguments = [
        "nowhere",
        "--arch=transformer",
        "--share-all-embeddings",
        "--criterion=label_smoothed_cross_entropy",
        "--label-smoothing=0.1",
        *sides,
    ]
    parsed = options.parse_args_and_arch(options.get_training_parser(), arguments)
    config = convert_namespace_to_omegaconf(parsed)
    dictionary = Dictionary()
    for symbol in range(SYMBOLS):
        dictionary.add_symbol(str(symbol))
    config.task.source_lang, config.task.target_lang = "de", "en"
    task_config = tasks.TASK_DATACLASS_REGISTRY["translation"]()
    task = TranslationTask(task_config, dictionary, dictionary)
    torch.manual_seed(1)
    model = task.build_model(config.model)
    model.eval()
    return model, per_token_loss(model, task.build_criterion(config.criterion))


def batches(count: int, tokens: int) -> list[dict[str, Any]]:
    """`count` samples of about `tokens` target tokens, as fairseq collates them."""
    generator = torch.Generator().manual_seed(0)
    sentences = tokens // LENGTH

    def ids() -> Tensor:
        return torch.randint(4, SYMBOLS, (sentences, LENGTH), generator=generator)

    samples = []
    for _ in range(count):
        source, target = ids(), ids()
        previous = torch.roll(target, 1, dims=1)
        inputs = {
            "src_tokens": source,
            "src_lengths": torch.full((sentences,), LENGTH),
            "prev_output_tokens": previous,
        }
        samples.append({"net_input": inputs, "target": target, "ntokens": target.numel()})
    return samples
