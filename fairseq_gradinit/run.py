"""What GradInit takes from the training run: η, the optimizer, the loss, and reasons to refuse."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from fairseq import optim, utils
from torch import Tensor, nn

from . import records
from .flags import WATCH, given_settings
from .gradinit import GradInitError, Settings
from .gradinit.gradient import MakeOptimizer

RunConfig = Any  # fairseq.dataclass.configs.FairseqConfig as an omegaconf node
Flags = Any  # a task's configuration, with the fields of `flags.GradInitConfig`

# The norm that goes with --optimizer; any other optimizer is taken for an adaptive one.
FAMILIES = {"adam": "adam", "sgd": "sgd", "nag": "sgd"}
# Those whose first step is the paper's A(g): Nesterov's (nag) is (1 + β)·g.
CLOSED_FORM = ("adam", "sgd")


def wanted(flags: Flags) -> bool:
    """Is there anything to do before training?"""
    return bool(flags.gradinit or flags.gradinit_scales is not None)


def check_flags(flags: Flags, run: RunConfig) -> None:
    """Everything that can be known to fail before data are read.

    Raises:
        GradInitError: a value out of range, or a way of training that is not supported.
    """
    spread = run.distributed_training
    if spread.ddp_backend == "fully_sharded":
        raise GradInitError(
            "--ddp-backend fully_sharded: GradInit needs whole parameters and FSDP shards them; "
            "use --ddp-backend legacy_ddp, or leave out --gradinit"
        )
    if run.common.tpu:
        raise GradInitError(
            "--tpu (which fairseq-train turns on for --bf16): GradInit does not run on TPUs; use "
            "--fp16, or fairseq-hydra-train with common.bf16=true, or leave out --gradinit"
        )
    if run.common.model_parallel_size > 1 or spread.pipeline_model_parallel:
        raise GradInitError(
            "--model-parallel-size or --pipeline-model-parallel: GradInit needs the whole model "
            "on one device; train without model parallelism, or leave out --gradinit"
        )
    if flags.gradinit_max_tokens is not None and flags.gradinit_max_tokens <= 0:
        raise GradInitError(
            f"--gradinit-max-tokens: found {flags.gradinit_max_tokens}; give a number above 0"
        )
    if watch_interval(flags) < 0:
        raise GradInitError(f"--gradinit-watch: found {flags.gradinit_watch}; give 0 or more")
    if flags.gradinit_scales is not None:
        records.read_scales(Path(flags.gradinit_scales))
    settings_of(flags, run)


def settings_of(flags: Flags, run: RunConfig) -> Settings:
    """The flags, with what is not given taken from the run.

    Raises:
        GradInitError: a value out of range.
    """
    eta = flags.gradinit_eta
    for flag in ("lr", "update_freq"):
        if not run.optimization[flag]:
            raise GradInitError(f"--{flag.replace('_', '-')}: found []; give a number")
    if (least := min(run.optimization.update_freq)) < 1:
        raise GradInitError(f"--update-freq: found {least}; give a whole number from 1 on")
    given = {
        **given_settings(flags),
        "algorithm": _algorithm(flags, run),
        "eta": run.optimization.lr[0] if eta is None else eta,
        "weight_decay": getattr(run.optimizer, "weight_decay", 0.0),
        "clip_norm": run.optimization.clip_norm,
        "seed": run.common.seed,
    }
    return Settings.of(**given)


def parts_of_an_update(run: RunConfig) -> int:
    """How many batches make one update: --update-freq of every process."""
    return run.optimization.update_freq[0] * max(1, run.distributed_training.distributed_world_size)


def unigram_wanted(flags: Flags, otherwise: bool) -> bool:
    """Is the unigram start asked for? `otherwise`: where the flag is not given."""
    given = flags.gradinit_unigram
    return otherwise if given is None else str(given) == "on"


def watch_interval(flags: Flags) -> int:
    """Updates from one look of the watch to the next; 0: none."""
    given = flags.gradinit_watch
    if given is None:
        return WATCH if flags.gradinit else 0
    return int(given)


def optimizer_name(run: RunConfig) -> str:
    """The run's --optimizer."""
    return run.optimizer._name


def optimizer_config(run: RunConfig, model: nn.Module) -> dict[str, Any]:
    """The hyper-parameters that the run's optimizer would be built with, JSON-ready."""
    # Over the model itself: some optimizers refuse parameters of which they know no use.
    parameters = list(model.parameters())
    return dict(optim.build_optimizer(run.optimizer, parameters).optimizer_config)


def run_optimizer(run: RunConfig, settings: Settings) -> MakeOptimizer:
    """Builds the run's own optimizer, in fp32, at learning rate η."""

    def make(params: list[nn.Parameter]) -> torch.optim.Optimizer:
        wrapper = optim.build_optimizer(run.optimizer, params)
        wrapper.set_lr(settings.eta)
        return wrapper.optimizer

    return make


def autocast(bf16: bool) -> contextlib.AbstractContextManager[Any]:
    """bf16 on a CPU, where that is asked for."""
    return torch.autocast("cpu", torch.bfloat16, enabled=bf16)


def per_token_loss(
    model: nn.Module, criterion: nn.Module, bf16: bool = False
) -> Callable[[Any], Tensor]:
    """The training loss of a fairseq sample over its sample size, label smoothing included."""

    def loss_fn(sample: Any) -> Tensor:
        device = next(model.parameters()).device
        if device.type == "cuda":
            sample = utils.move_to_cuda(sample, device=device)
        with autocast(bf16):
            loss, sample_size, _ = criterion(model, sample)
        return loss / sample_size

    return loss_fn


def _algorithm(flags: Flags, run: RunConfig) -> str:
    if flags.gradinit_algorithm is not None:
        return str(flags.gradinit_algorithm)
    name = optimizer_name(run)
    if str(flags.gradinit_preset) == "paper" and name not in CLOSED_FORM:
        raise GradInitError(
            f"`algorithm`: the first step of --optimizer {name} is not known in closed form; give "
            "adam or sgd, or --gradinit-preset multistep, which steps it"
        )
    return FAMILIES.get(name, "adam")
