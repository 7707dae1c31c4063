"""A fairseq Post-LN Transformer with random batches, for the benchmarks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from fairseq import options, tasks
from fairseq.data import Dictionary
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.tasks.translation import TranslationTask
from torch import Tensor, nn

from fairseq_gradinit.before_training import per_token_loss

SYMBOLS, LENGTH = 4000, 16


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
