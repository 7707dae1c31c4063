"""fairseq's commands, in this process (fast) or in one of their own (stock fairseq, exit codes)."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from fairseq import checkpoint_utils, options, tasks
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.distributed.utils import call_main
from fairseq.trainer import Trainer
from fairseq_cli import train as fairseq_train

import fairseq_gradinit.plugin  # noqa: F401  other tests may have loaded the package before fairseq

ROOT = Path(__file__).parents[2]
USER_DIR = ["--user-dir", str(ROOT / "fairseq_gradinit")]
TINY_MODEL = [
    "--arch=transformer",
    "--share-all-embeddings",
    "--criterion=label_smoothed_cross_entropy",
    "--label-smoothing=0.1",
    *(
        f"--{side}-{what}"
        for side in ("encoder", "decoder")
        for what in ("layers=2", "embed-dim=16", "ffn-embed-dim=32", "attention-heads=2")
    ),
]
ADAM = ["--optimizer=adam", "--adam-betas=(0.9, 0.98)"]


def train_arguments(data: Path, save_dir: Path, *flags: str, user_dir: bool = True) -> list[str]:
    """A complete fairseq-train command line; `flags` override, another --optimizer too."""
    other_optimizer = any(flag.startswith("--optimizer=") for flag in flags)
    return [
        str(data),
        *(USER_DIR if user_dir else []),
        f"--save-dir={save_dir}",
        *TINY_MODEL,
        *([] if other_optimizer else ADAM),
        "--lr=1e-3",
        "--lr-scheduler=fixed",
        "--max-tokens=300",
        "--max-update=1",
        "--cpu",
        "--num-workers=0",
        "--no-progress-bar",
        "--no-epoch-checkpoints",
        *flags,
    ]


def train(data: Path, save_dir: Path, *flags: str) -> None:
    """fairseq-train in this process. Raises what it raises.

    A flag such as `common.bf16=true` is set as fairseq-hydra-train sets it: fairseq-train itself
    takes --bf16 for a TPU.
    """
    hydra = [flag for flag in flags if not flag.startswith("-")]
    run(train_arguments(data, save_dir, *(f for f in flags if f not in hydra)), hydra)


def run(arguments: list[str], hydra: list[str] | None = None) -> None:
    """fairseq-train of a complete command line in this process."""
    config = configuration(arguments)
    config.merge_with_dotlist(hydra or [])
    call_main(config, fairseq_train.main)


def configuration(arguments: list[str]) -> Any:
    """What fairseq-train makes of a complete command line."""
    args = options.parse_args_and_arch(options.get_training_parser(), arguments)
    return convert_namespace_to_omegaconf(args)


def build(data: Path, save_dir: Path, *flags: str) -> tuple[Any, Any, Trainer]:
    """Task, criterion and Trainer of a complete command line, with the train iterator made."""
    config = configuration(train_arguments(data, save_dir, *flags))
    torch.manual_seed(config.common.seed)
    task = tasks.setup_task(config.task)
    model, criterion = task.build_model(config.model), task.build_criterion(config.criterion)
    trainer = Trainer(config, task, model, criterion)
    trainer.get_train_iterator(epoch=1)
    return task, criterion, trainer


def command(name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`fairseq-NAME ARGUMENTS` in a process of its own, outside the project's folder."""
    return subprocess.run(
        [sys.executable, "-m", f"fairseq_cli.{name}", *arguments],
        capture_output=True,
        text=True,
        cwd="/",
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        check=False,
    )


def start_ranks(count: int, arguments: list[str] | list[list[str]]) -> list[subprocess.Popen[str]]:
    """fairseq-train in `count` processes that train together over gloo; each with `arguments` or
    with its own of them."""
    own = arguments if isinstance(arguments[0], list) else [arguments] * count
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spread = [f"--distributed-world-size={count}", "--distributed-backend=gloo"]
    spread += ["--ddp-backend=legacy_ddp", "--distributed-no-spawn", "--nprocs-per-node=1"]
    spread += [f"--distributed-init-method=tcp://127.0.0.1:{port}"]
    program = [sys.executable, "-m", "fairseq_cli.train"]
    return [
        subprocess.Popen(
            [*program, *own[rank], *spread, f"--distributed-rank={rank}"],
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        )
        for rank in range(count)
    ]


def train_on_ranks(count: int, arguments: list[str]) -> list[str]:
    """The same to their end, which is a good one; their logs."""
    processes = start_ranks(count, arguments)
    try:
        logs = ["".join(process.communicate(timeout=300)) for process in processes]
    finally:
        for process in processes:
            process.kill()
    codes = [process.returncode for process in processes]
    assert codes == [0] * count, "\n".join(log[-2000:] for log in logs)
    return logs


def checkpoint(save_dir: Path, name: str = "checkpoint_last.pt") -> dict[str, Any]:
    """A checkpoint's content, through fairseq's own loader."""
    return checkpoint_utils.load_checkpoint_to_cpu(str(save_dir / name))


def norms(weights: dict[str, torch.Tensor]) -> dict[str, float]:
    """‖·‖₂ per tensor of a state dict."""
    return {name: float(value.float().norm()) for name, value in weights.items()}
