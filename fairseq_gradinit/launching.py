"""fairseq's launch of several processes, on machines without GPUs too.

fairseq counts GPUs. With none, `--distributed-world-size 2` is an AssertionError, with an init
method as well it trains nothing and exits with 0, under torchrun each process divides by zero, or
trains alone in the same save dir. Here the processes are started, and gloo joins them.
"""

from __future__ import annotations

import functools
import logging
import os
import socket
from collections.abc import Callable
from typing import Any

import torch
from fairseq.dataclass.configs import FairseqConfig
from fairseq.distributed import utils as distributed

from .early import check_early
from .gradinit import GradInitError
from .one_line import one_line_errors

logger = logging.getLogger(__name__)

# As torchrun and torch.distributed.launch set them.
ENVIRONMENT = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def launch_without_gpus() -> None:
    """Has fairseq's own launch do so; once."""
    stock = distributed.call_main
    if not hasattr(stock, "__wrapped__"):
        distributed.call_main = functools.wraps(stock)(functools.partial(call_main, stock))


def call_main(
    stock: Callable[..., None], cfg: FairseqConfig, main: Callable[..., Any], **kwargs: Any
) -> None:
    """As fairseq's, where there are GPUs or one process.

    Raises:
        SystemExit: what `check_early` refuses, or processes that could not find each other.
    """
    with one_line_errors():
        check_early(cfg)
    spread = cfg.distributed_training
    if torch.cuda.is_available() and not cfg.common.cpu:
        stock(cfg, main, **kwargs)
        return
    with one_line_errors():
        if (launched := _launched()) is not None:
            spread.distributed_rank, spread.distributed_world_size = launched
            spread.distributed_init_method, spread.distributed_no_spawn = "env://", True
        _check(spread)
    if spread.distributed_world_size == 1 or cfg.common.tpu:
        stock(cfg, main, **kwargs)
        return
    _without_gpus(spread)
    spread.device_id = 0
    if spread.distributed_no_spawn:
        stock(cfg, main, **kwargs)
        return
    with one_line_errors():
        if spread.distributed_rank > 0:
            raise GradInitError(
                f"--distributed-rank {spread.distributed_rank} without --distributed-no-spawn: the "
                "first process starts the others; give --distributed-no-spawn to each of them, or "
                "start only one, without --distributed-rank"
            )
    if spread.distributed_init_method is None:
        spread.distributed_init_method = f"tcp://localhost:{_port(spread)}"
    spread.distributed_rank = None  # each is given its own
    try:
        torch.multiprocessing.spawn(
            fn=distributed.distributed_main,
            args=(main, cfg, {**kwargs, "start_rank": 0}),
            nprocs=spread.distributed_world_size,
            join=True,
        )
    except torch.multiprocessing.ProcessExitedException as error:
        raise SystemExit(error.exit_code) from None  # which has said why


def _launched() -> tuple[int, int] | None:
    """Rank and number of processes, where torchrun or its like has started this one."""
    found = {name: os.environ[name] for name in ENVIRONMENT if os.environ.get(name)}
    if not {"RANK", "WORLD_SIZE"} <= set(found):
        return None
    try:
        rank, size = int(found["RANK"]), int(found["WORLD_SIZE"])
    except ValueError:
        raise GradInitError(
            f"RANK={found['RANK']} and WORLD_SIZE={found['WORLD_SIZE']} in the environment are no "
            "numbers; unset both, or start with torchrun"
        ) from None
    if size == 1:
        return None
    missing = [name for name in ENVIRONMENT if name not in found]
    if missing:
        raise GradInitError(
            f"RANK and WORLD_SIZE={size} in the environment, but no {' and '.join(missing)}: this "
            "process cannot find the others and would train alone; start with torchrun, or unset "
            "RANK and WORLD_SIZE"
        )
    return rank, size


def _check(spread: Any) -> None:
    size, rank = spread.distributed_world_size, spread.distributed_rank or 0
    if size < 1:
        raise GradInitError(f"--distributed-world-size {size}: give a whole number from 1 on")
    if not 0 <= rank < size:
        raise GradInitError(
            f"--distributed-rank {rank}: the ranks of --distributed-world-size {size} are 0 to "
            f"{size - 1}; the others would wait for one that never comes"
        )


def _without_gpus(spread: Any) -> None:
    changes = {
        "distributed_backend": "gloo" if spread.distributed_backend == "nccl" else None,
        "ddp_backend": "legacy_ddp" if spread.ddp_backend in ("pytorch_ddp", "c10d") else None,
    }
    for name, instead in changes.items():
        if instead is not None:
            flag, given = name.replace("_", "-"), getattr(spread, name)
            logger.info(f"--{flag} {instead} in place of {given}, which needs GPUs")
            setattr(spread, name, instead)


def _port(spread: Any) -> int:
    if spread.distributed_port > 0:
        return int(spread.distributed_port)
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return int(found.getsockname()[1])
