"""What decides which scales are learned besides the settings: model, criterion, task and data.

Scales are reused only for the same function on the same data.
"""

from __future__ import annotations

import re
from argparse import Namespace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from .files import fingerprint
from .run import Flags, RunConfig, parts_of_an_update

# Groups of the run's configuration that do not say what is computed from a batch. fairseq-train
# hands the whole command line to the model's node, theirs included.
ELSEWHERE = (
    *("common", "common_eval", "distributed_training", "dataset", "optimization", "checkpoint"),
    *("bmuf", "generation", "eval_lm", "interactive", "ema", "task", "criterion"),
    *("optimizer", "lr_scheduler", "scoring", "bpe", "tokenizer", "simul_type"),
)
# Of a task: its data are known by their content, and its evaluation comes after training.
NOT_OF_A_TASK = ("data", "eval_", "gradinit")


def made_from(flags: Flags, run: RunConfig) -> dict[str, Any]:
    """Model, criterion and task as configured, how batches are made, and each train file's sha256;
    JSON-ready."""
    task = {key: v for key, v in _node(flags).items() if not key.startswith(NOT_OF_A_TASK)}
    batches = {
        "train_subset": run.dataset.train_subset,
        "max_tokens": flags.gradinit_max_tokens or run.dataset.max_tokens,
        "batch_size": run.dataset.batch_size,
        "required_batch_size_multiple": run.dataset.required_batch_size_multiple,
        "parts_of_an_update": parts_of_an_update(run),
        "sentence_avg": run.optimization.sentence_avg,
    }
    return {
        "model": _own("model", run),
        "criterion": _own("criterion", run),
        "task": task,
        "batches": batches,
        "data": _train_files(flags, run),
    }


def differences(one: Any, other: Any, name: str = "") -> list[str]:
    """Each place at which two JSON values differ, as `model.dropout is 0.1, was 0.3`."""
    if isinstance(one, dict) and isinstance(other, dict):
        return [
            line
            for key in sorted({*one, *other})
            for line in differences(one.get(key), other.get(key), f"{name}.{key}".lstrip("."))
        ]
    return [] if one == other else [f"{name} is {_short(one)}, was {_short(other)}"]


def _short(value: Any) -> str:
    text = "missing" if value is None else str(value)
    return text if len(text) <= 24 else text[:12] + "…"


def _own(group: str, run: RunConfig) -> dict[str, Any]:
    """The values of a group of the run's configuration without those of the others."""
    others = {key for name in ELSEWHERE if name != group for key in (name, *_node(run.get(name)))}
    node = _node(run.get(group))
    own = {key: v for key, v in node.items() if key not in others and key != "data"}
    return {key: value for key, value in own.items() if not key.startswith("gradinit")}


def _node(node: Any) -> dict[str, Any]:
    """The values of a configuration node, by name; what JSON cannot say as text."""
    if isinstance(node, DictConfig):
        values = dict(OmegaConf.to_container(node, resolve=True))
    else:  # fairseq-train's model is an argparse.Namespace; one that is not chosen is None
        values = vars(node) if isinstance(node, Namespace) else {}
    plain = (bool, int, float, str, list, dict, type(None))
    return {str(key): v if type(v) in plain else str(v) for key, v in values.items()}


def _train_files(flags: Flags, run: RunConfig) -> dict[str, str]:
    """sha256 of each file of the train split and of the dictionaries, by name."""
    wanted = re.compile(rf"{re.escape(run.dataset.train_subset)}\d*\..*|dict\..*")
    return {
        file.name if number == 0 else f"{number}/{file.name}": fingerprint(file)
        for number, folder in enumerate(str(flags.data).split(":"))
        for file in (sorted(Path(folder).iterdir()) if Path(folder).is_dir() else ())
        if wanted.fullmatch(file.name) and file.is_file()
    }
