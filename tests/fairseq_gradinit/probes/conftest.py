"""A fairseq model, criterion and batch as fairseq-train has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fairseq import options, tasks, utils
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq_runs import train_arguments
from torch import nn


class Setting(NamedTuple):
    task: Any
    model: nn.Module
    criterion: nn.Module
    sample: dict[str, Any]


@pytest.fixture(scope="session")
def build(grammar):
    """Builds a `Setting` from fairseq-train's flags; in train mode, float64 if asked for."""

    def built(*flags: str, double: bool = False) -> Setting:
        arguments = train_arguments(grammar, Path("/nonexistent"), *flags)
        args = options.parse_args_and_arch(options.get_training_parser(), arguments)
        config = convert_namespace_to_omegaconf(args)
        utils.set_torch_seed(config.common.seed)
        task = tasks.setup_task(config.task)
        model = task.build_model(config.model, True).train()
        task.load_dataset("train")
        iterator = task.get_batch_iterator(task.dataset("train"), max_tokens=300)
        criterion = task.build_criterion(config.criterion)
        padding = criterion.padding_idx
        sample = next(  # in which both sides are padded
            sample
            for sample in iterator.next_epoch_itr(shuffle=False)
            if all(
                sample["net_input"][ids].eq(padding).any()
                for ids in ("src_tokens", "prev_output_tokens")
            )
        )
        return Setting(task, model.double() if double else model, criterion, sample)

    return built
