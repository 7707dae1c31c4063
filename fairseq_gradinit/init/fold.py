"""`python -m fairseq_gradinit.init.fold CHECKPOINT OUT`: a trained variant as a stock checkpoint.

OUT computes what CHECKPOINT does and decodes in fairseq without this package. The optimizer's
state and the moving average of the weights (EMA), which belong to the unfolded weights, are left
out: OUT is for decoding, or for --finetune-from-model.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from fairseq import checkpoint_utils
from omegaconf import OmegaConf, open_dict

from ..files import FileError, replacing
from ..gradinit import GradInitError
from . import DEFAULT, VARIANTS, fold_residual, sigma_reparam, variant


def fold(checkpoint: Path, out: Path) -> str:
    """Writes `out`, whole or not at all, and returns the variant that was folded.

    Raises:
        GradInitError: no checkpoint of a variant that folds into a plain model; `out` exists.
        FileError: `out` cannot be written.
    """
    if out.exists():
        raise GradInitError(f"{out}: exists; give a name that is free")
    state = _read(checkpoint)
    config = state["cfg"]
    name = variant(config.task, config.model, from_checkpoint=True)
    if not VARIANTS[name].folds:
        folding = ", ".join(n for n, v in VARIANTS.items() if v.folds)
        reason = (
            "is a stock checkpoint already; use it as it is"
            if VARIANTS[name].stock
            else "computes what no stock model does; decode with --user-dir fairseq_gradinit"
        )
        raise GradInitError(f"{checkpoint}: --init {name} {reason} (these fold: {folding})")
    with open_dict(config):
        if name == "sigma_reparam":
            state["model"] = sigma_reparam.fold(state["model"])
        else:
            state["model"] = fold_residual.fold(state["model"], config.model)
        config.model.init = DEFAULT
        config.task.init = DEFAULT
    state["cfg"] = OmegaConf.to_container(config, resolve=True, enum_to_str=True)
    state["last_optimizer_state"] = None
    for average in ("ema", "ema_fp32_params"):
        state["extra_state"].pop(average, None)
    with replacing(out, "wb") as file:
        torch.save(state, file)
    return name


def main(arguments: list[str] | None = None) -> None:
    """The command. Raises: SystemExit, with one line where it cannot be done."""
    parser = argparse.ArgumentParser(
        prog="python -m fairseq_gradinit.init.fold",
        description="Folds a checkpoint of --init admin, admin_closed, deepnorm or sigma_reparam "
        "into one that stock fairseq decodes.",
    )
    parser.add_argument("checkpoint", type=Path, help="trained with --init")
    parser.add_argument("out", type=Path, help="the stock checkpoint to write")
    given = parser.parse_args(arguments)
    try:
        name = fold(given.checkpoint, given.out)
    except (GradInitError, FileError) as error:
        raise SystemExit(f"fold: error: {error}") from None
    print(f"{given.out}: {name} folded into a stock checkpoint")


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise GradInitError(f"{path}: no such file; give a checkpoint of fairseq-train")
    try:
        # fairseq's checkpoints hold an argparse.Namespace, which carries nothing that runs.
        torch.serialization.add_safe_globals([argparse.Namespace])
        state = checkpoint_utils.load_checkpoint_to_cpu(str(path))
        if not (
            {"model", "extra_state"} <= state.keys() and state["cfg"].model and state["cfg"].task
        ):
            raise KeyError("cfg.model")
    except Exception as error:  # a damaged archive may raise nearly anything
        reason = str(error).partition("\n")[0]
        raise GradInitError(
            f"{path}: is no checkpoint of fairseq-train ({type(error).__name__}: {reason}); "
            "give one"
        ) from error
    return state


if __name__ == "__main__":
    main()
