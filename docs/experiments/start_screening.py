"""Screens starts: some updates at a constant learning rate, no warmup, and what came of them.

    python docs/experiments/start_screening.py DATA-BIN OUT.jsonl --dim 128 --lr 2e-3
    python docs/experiments/start_screening.py DATA-BIN OUT.jsonl --start fixed --unigram off

Adds a line to OUT: the flags, and the reading (loss on valid, what the source is worth, token
spread of encoder and decoder) after 0, 20, 40, … updates. `--signs off`, `--common` and `--gain`
vary the unigram start: no random signs on the gain; u of another size; another gain.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from fairseq import options, tasks
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from torch import nn

from fairseq_gradinit.files import append_json_line
from fairseq_gradinit.frequencies import give_word_frequencies, softmax_layer
from fairseq_gradinit.gradinit import Settings, learn_scales
from fairseq_gradinit.reading import reading

LOOKS = {0, 20, 40, 60, 100, 150, 200}


def main() -> None:
    """Trains one model and writes its line."""
    flags = parse()
    torch.set_num_threads(1)
    task, model, criterion = build(flags)
    valid = list(itertools.islice(batches(task, flags, "valid"), 4))
    start(flags, task, model, criterion)
    optimizer = adam_or_sgd(flags)(list(model.parameters()))
    looks: dict[int, Any] = {}
    supply = batches(task, flags, "train")
    for update in range(flags.updates + 1):
        if update in LOOKS or update == flags.updates:
            looks[update] = asdict(reading(model, valid))
            print(update, looks[update], flush=True)
        if update < flags.updates:
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=flags.bf16):
                loss, size, _ = criterion(model, next(supply))
            (loss / size).backward()
            optimizer.step()
    told = {key: str(v) if isinstance(v, Path) else v for key, v in vars(flags).items()}
    append_json_line(flags.out, {**told, "looks": looks})


def build(flags: argparse.Namespace) -> tuple[Any, nn.Module, nn.Module]:
    """The task with train and valid, the model and the criterion, as fairseq-train builds them."""
    given = [str(flags.data), "--task=translation", "--arch=transformer", "--dropout=0.1"]
    given += ["--share-decoder-input-output-embed" if flags.separate else "--share-all-embeddings"]
    given += ["--criterion=label_smoothed_cross_entropy", "--label-smoothing=0.1"]
    if flags.pre_ln:
        given += ["--encoder-normalize-before", "--decoder-normalize-before"]
    for side, layers in (("encoder", flags.layers), ("decoder", flags.decoder_layers)):
        given += [f"--{side}-layers={layers or flags.layers}", f"--{side}-embed-dim={flags.dim}"]
        given += [f"--{side}-ffn-embed-dim={flags.ffn * flags.dim}"]
        given += [f"--{side}-attention-heads={max(2, flags.dim // 64)}"]
    config = convert_namespace_to_omegaconf(
        options.parse_args_and_arch(options.get_training_parser(), given)
    )
    task = tasks.setup_task(config.task)
    for split in ("train", "valid"):
        task.load_dataset(split)
    torch.manual_seed(flags.seed)
    return task, task.build_model(config.model), task.build_criterion(config.criterion)


def batches(task: Any, flags: argparse.Namespace, split: str) -> Iterator[Any]:
    """The train split for ever, reshuffled each time round; another split once."""
    for epoch in itertools.count(1):
        yield from iterator(task, flags, split, epoch).next_epoch_itr(shuffle=split == "train")
        if split != "train":
            return


def iterator(task: Any, flags: argparse.Namespace, split: str, epoch: int) -> Any:
    """fairseq's iterator over a split, not its cached one."""
    return task.get_batch_iterator(
        dataset=task.dataset(split),
        max_tokens=flags.tokens,
        max_positions=(1024, 1024),
        seed=flags.seed,
        epoch=epoch,
        disable_iterator_cache=True,
    )


def adam_or_sgd(flags: argparse.Namespace) -> Any:
    """Makes the run's optimizer over given parameters."""
    if flags.optimizer == "adam":
        return lambda params: torch.optim.Adam(params, lr=flags.lr, betas=(0.9, 0.98))
    return lambda params: torch.optim.SGD(params, lr=flags.lr, momentum=0.9)


def start(flags: argparse.Namespace, task: Any, model: nn.Module, criterion: nn.Module) -> None:
    """Gives the model its start, in place."""
    dataset = task.dataset("train")
    if flags.unigram == "on":
        index_lists = iterator(task, flags, "train", 1).frozen_batches
        give_word_frequencies(model, criterion, dataset, index_lists, flags.seed)
        vary_unigram(flags, model)
    settings = Settings.of(
        eta=flags.lr,
        start=flags.start,
        drift=flags.drift,
        branch_scale=flags.branch_scale,
        encoder_scale=flags.encoder_scale,
        algorithm=flags.optimizer,
    )

    def loss_per_token(sample: Any) -> torch.Tensor:
        loss, size, _ = criterion(model, sample)
        return loss / size

    supply = batches(task, flags, "train")
    learn_scales(model, loss_per_token, supply, settings, adam_or_sgd(flags))


@torch.no_grad()
def vary_unigram(flags: argparse.Namespace, model: nn.Module) -> None:
    """u × `common`, ⟨E_i, u⟩ staying log p_i; gains × `gain`, without signs if asked."""
    norm, embeddings, _ = softmax_layer(model)
    u = norm.bias.detach().clone()
    along = torch.outer(embeddings @ u / u.dot(u), u)
    embeddings.add_(along / flags.common - along)
    norm.bias.mul_(flags.common)
    norm.weight.copy_(norm.weight.abs() if flags.signs == "off" else norm.weight)
    norm.weight.mul_(flags.gain)


def parse() -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    for name, value in (("dim", 128), ("layers", 6), ("decoder-layers", 0), ("ffn", 2)):
        parser.add_argument(f"--{name}", type=int, default=value)
    for name, value in (("seed", 1), ("updates", 60), ("tokens", 1024)):
        parser.add_argument(f"--{name}", type=int, default=value)
    settings = Settings.of()
    for name in ("drift", "branch_scale", "encoder_scale"):
        flag = "--" + name.replace("_", "-")
        parser.add_argument(flag, type=float, default=getattr(settings, name))
    for name, rate in (("lr", 2e-3), ("common", 1.0), ("gain", 1.0)):
        parser.add_argument(f"--{name}", type=float, default=rate)
    for name, choices in (
        ("start", ["measured", "fixed", "none"]),
        ("unigram", ["on", "off"]),
        ("signs", ["on", "off"]),
        ("optimizer", ["adam", "sgd"]),
    ):
        parser.add_argument(f"--{name}", choices=choices, default=choices[0])
    for name in ("pre-ln", "separate", "bf16"):
        parser.add_argument(f"--{name}", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
