"""Some updates of fairseq's own trainer, and what the model reads after them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import msgspec
import torch
from fairseq import options, tasks, utils
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.logging import metrics
from fairseq.trainer import Trainer

import fairseq_gradinit.plugin  # noqa: F401  registers tasks and optimizers
from fairseq_gradinit.files import append_json_line, read_json_lines
from fairseq_gradinit.gradinit.measures import Reading
from fairseq_gradinit.reading import reading
from fairseq_gradinit.watch import some_samples


def transformer(width: int, depth: int) -> list[str]:
    """Flags of a model with `depth` layers a side, ffn twice as wide as it, joined embeddings."""
    given = ["--arch=transformer", "--share-all-embeddings", "--dropout=0.1"]
    for side in ("encoder", "decoder"):
        given += [f"--{side}-layers={depth}", f"--{side}-embed-dim={width}"]
        given += [f"--{side}-ffn-embed-dim={2 * width}"]
        given += [f"--{side}-attention-heads={max(2, width // 64)}"]
    return given


def readings(
    flags: argparse.Namespace, seed: int, folder: Path | str, looks: Collection[int], given: Any
) -> dict[int, Reading]:
    """What the model reads after each of the updates `looks`, up to one that overflows.

    Args:
        flags: `data`, a folder that fairseq-preprocess wrote, and `tokens` of a batch.
        folder: the save dir; no checkpoint is written.
        given: flags of model, optimizer and schedule.
    """
    given = [str(flags.data), f"--save-dir={folder}", "--cpu", "--gradinit-cpu-bf16", *given]
    given += ["--criterion=label_smoothed_cross_entropy", "--label-smoothing=0.1"]
    given += [f"--max-tokens={flags.tokens}", f"--seed={seed}", "--num-workers=0"]
    parsed = options.parse_args_and_arch(options.get_training_parser(), given)
    config = convert_namespace_to_omegaconf(parsed)
    metrics.reset()
    utils.set_torch_seed(seed)
    task = tasks.setup_task(config.task)
    task.load_dataset("valid")
    model, criterion = task.build_model(config.model), task.build_criterion(config.criterion)
    trainer = Trainer(config, task, model, criterion)
    batches = epochs(trainer)  # its first epoch is where the start is given
    valid = task.get_batch_iterator(task.dataset("valid"), max_tokens=flags.tokens)
    samples = some_samples(task.dataset("valid"), valid.frozen_batches)
    found = {}
    try:
        for update in range(1, max(looks) + 1):
            trainer.train_step([next(batches)])
            if update in looks:
                found[update] = reading(trainer.model, samples)
    except (FloatingPointError, StopIteration):  # which its NanDetector dies of
        pass
    return found


def epochs(trainer: Trainer) -> Iterator[Any]:
    """The train split for ever, reshuffled each time round."""
    epoch = 1
    while True:
        yield from trainer.get_train_iterator(epoch).next_epoch_itr(shuffle=True)
        epoch += 1


def remembered(file: Path, kind: type[Any], train: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`train` of a cell of `kind`, unless the file holds one of the same `place`; what is new is
    added to the file and printed. Raises: FileError."""
    torch.set_num_threads(1)
    done = {}
    if file.exists():
        done = {cell.place: cell for cell in read_json_lines(file, kind, "delete the line")}

    def try_it(cell: Any) -> Any:
        if cell.place not in done:
            done[cell.place] = train(cell)
            append_json_line(file, done[cell.place])
            print(msgspec.json.encode(done[cell.place]).decode(), flush=True)
        return done[cell.place]

    return try_it


def whole(text: str) -> list[int]:
    """Numbers by commas."""
    return [int(part) for part in text.split(",")]


def commands(
    about: str, do: tuple[Any, Any], compared: str, known: Collection[str], depths: list[int]
) -> tuple[argparse.ArgumentParser, argparse.ArgumentParser, argparse.ArgumentParser]:
    """The parsers of a script that runs cells into a file and draws files: all, `run`, `draw`.

    Args:
        do: what each of the two calls with its flags.
        compared: a flag of `run`: which of `known`, by commas.
        depths: the default of --depths.
    """

    def some(text: str) -> list[str]:
        if unknown := set(text.split(",")) - set(known):
            raise argparse.ArgumentTypeError(f"found {', '.join(unknown)}; give {', '.join(known)}")
        return text.split(",")

    parser = argparse.ArgumentParser(description=about)
    both = parser.add_subparsers(required=True)
    running, drawing = both.add_parser("run"), both.add_parser("draw")
    for command, call in zip((running, drawing), do):
        command.set_defaults(do=call)
    running.add_argument("data", type=Path)
    running.add_argument("out", type=Path)
    running.add_argument(compared, type=some, default=[*known])
    running.add_argument("--widths", type=whole, default=[64, 128, 256, 512])
    running.add_argument("--depths", type=whole, default=depths)
    running.add_argument("--tokens", type=int, default=1024)
    drawing.add_argument("files", type=Path, nargs="+")
    drawing.add_argument("--out", type=Path, default=Path("docs"))
    return parser, running, drawing
