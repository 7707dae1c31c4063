"""What the registered optimizers have in common: one-line errors, 16 bit, flags."""

from __future__ import annotations

import ast
import logging
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from fairseq.optim import OPTIMIZER_REGISTRY, FairseqOptimizer
from torch import nn

from ..gradinit import GradInitError
from . import roles

logger = logging.getLogger(__name__)


class WrappedOptimizer(FairseqOptimizer):
    """A torch optimizer behind fairseq's interface; a subclass says how it is made.

    Class attributes: `title`, its --optimizer name; `by_matrix`, whether it needs each parameter
    in its own shape, so that neither flat fp16 masters nor sharded parameters will do;
    `needs_roles`, whether it needs to know what each parameter is to the model.
    """

    title: ClassVar[str]
    by_matrix: ClassVar[bool] = False
    needs_roles: ClassVar[bool] = False

    def __init__(self, cfg: Any, params: Sequence[nn.Parameter]) -> None:
        super().__init__(cfg)
        self._optimizer = self.make(list(params))

    @classmethod
    def build_optimizer(cls, cfg: Any, params: Sequence[nn.Parameter]) -> FairseqOptimizer:
        """What fairseq's registry calls. Raises: SystemExit, one line."""
        try:
            params = list(params)
            if cls.by_matrix and len(params) == 1 and params[0].dim() == 1:
                raise GradInitError(
                    f"--optimizer {cls.title}: found all parameters flattened into one vector and "
                    "needs the matrices; give --fp16-no-flatten-grads"
                )
            return cls(cfg, params)
        except GradInitError as error:
            raise SystemExit(f"fairseq-train: error: {error}") from None

    def make(self, params: list[nn.Parameter]) -> torch.optim.Optimizer:
        """The torch optimizer. Raises: GradInitError."""
        raise NotImplementedError

    @property
    def optimizer_config(self) -> dict[str, Any]:
        """The hyper-parameters that fairseq and GradInit's record ask for, JSON-ready."""
        return {"lr": self.lr, "weight_decay": self.cfg.weight_decay}

    @property
    def lr(self) -> float:
        """--lr, or the first of several. Raises: GradInitError."""
        return first_rate(self.cfg.lr)

    @property
    def supports_flat_params(self) -> bool:
        return not self.by_matrix


def prepare(run: Any, model: nn.Module) -> None:
    """Makes a run ready for its optimizer; does nothing for fairseq's own.

    For a task's build_model, after the model is built: tags parameters, and sets
    --fp16-no-flatten-grads where matrices are needed.

    Args:
        run: the run's whole configuration.

    Raises:
        GradInitError: a way of training that the optimizer cannot do.
    """
    name = getattr(getattr(run, "optimizer", None), "_name", None)
    optimizer = OPTIMIZER_REGISTRY.get(name)
    if optimizer is None or not issubclass(optimizer, WrappedOptimizer):
        return
    common = run.common
    for flag in ("memory_efficient_fp16", "memory_efficient_bf16"):
        if getattr(common, flag):
            raise GradInitError(
                f"--{flag.replace('_', '-')}: --optimizer {optimizer.title} keeps its state in "
                "fp32 and needs fp32 masters; use --fp16, --amp or common.bf16=true without it"
            )
    if run.distributed_training.zero_sharding != "none":
        raise GradInitError(
            f"--zero-sharding {run.distributed_training.zero_sharding}: --optimizer "
            f"{optimizer.title} is not sharded; leave the flag out"
        )
    if optimizer.by_matrix:
        if run.distributed_training.ddp_backend == "fully_sharded":
            raise GradInitError(
                f"--ddp-backend fully_sharded: --optimizer {optimizer.title} needs whole matrices "
                "and FSDP shards them; use --ddp-backend legacy_ddp"
            )
        if common.fp16 and not common.fp16_no_flatten_grads:
            logger.info(f"--optimizer {optimizer.title}: turning on --fp16-no-flatten-grads")
            common.fp16_no_flatten_grads = True
    if optimizer.needs_roles:
        roles.tag(model)


def first_rate(lr: Any) -> float:
    """--lr, or the first of one for each epoch. Raises: GradInitError: one of them is no rate."""
    rates = [lr] if isinstance(lr, (int, float)) else list(lr)
    if not rates:
        raise GradInitError("--lr: found []; give a number")
    first, *_ = (not_negative(rate, "--lr") for rate in rates)
    return first


def pair(text: Any, flag: str) -> tuple[float, float]:
    """Two numbers in [0, 1) from a flag such as '(0.9, 0.98)'. Raises: GradInitError."""
    try:
        values = ast.literal_eval(text) if isinstance(text, str) else text
        first, second = (float(value) for value in values)
        if not (0 <= first < 1 and 0 <= second < 1):
            raise ValueError
    except (ValueError, SyntaxError, TypeError):
        raise GradInitError(
            f"{flag}: found {text}; give two numbers from 0 up to 1, as '(0.9, 0.98)'"
        ) from None
    return first, second


def fraction(value: float, flag: str) -> float:
    """A number in [0, 1). Raises: GradInitError."""
    if not 0 <= value < 1:
        raise GradInitError(f"{flag}: found {value}; give a number from 0 up to 1, 1 excluded")
    return float(value)


def positive(value: float, flag: str) -> float:
    """A finite number > 0. Raises: GradInitError."""
    if not 0 < value < float("inf"):
        raise GradInitError(f"{flag}: found {value}; give a number above 0")
    return float(value)


def not_negative(value: float, flag: str) -> float:
    """A finite number ≥ 0. Raises: GradInitError."""
    if not 0 <= value < float("inf"):
        raise GradInitError(f"{flag}: found {value}; give a number of 0 or more")
    return float(value)
