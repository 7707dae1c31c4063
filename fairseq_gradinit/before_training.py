"""What happens between a fresh model and its first update: scales are reused, applied or
learned, and recorded."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairseq import utils
from fairseq.data import FairseqDataset
from torch import Tensor, nn

from . import batches, records
from .config import GradInitConfig
from .gradinit import Blocks, GradInitError, Iteration, LearnedScales, Settings, learn_scales
from .gradinit.blocks import has_branches
from .gradinit.isolation import borrowed
from .prediction import predict
from .progress import Progress
from .run_settings import (
    RunConfig,
    optimizer_config,
    optimizer_name,
    run_optimizer,
    settings_of,
)

logger = logging.getLogger(__name__)

PACKAGES = ("fairseq_gradinit", "ve-fairseq", "fairseq", "torch", "numpy")


def give_scales(
    model: nn.Module,
    criterion: nn.Module,
    dataset: FairseqDataset,
    index_lists: Sequence[Sequence[int]],
    flags: GradInitConfig,
    run: RunConfig,
) -> None:
    """Leaves `model` with the scales that the flags ask for, recorded in SAVE_DIR/gradinit.

    Args:
        model: fresh, on its device, 16-bit or not.
        criterion: of the training run; its loss over its sample size is the loss per token.
        dataset: the train split.
        index_lists: sentence indices of each batch.

    Raises:
        GradInitError: bad input, or a search that went astray.
    """
    folder = Path(run.checkpoint.save_dir) / "gradinit"
    path = folder / "scales.json"
    settings = settings_of(flags, run)
    config = _config(settings, flags, run, model)
    if flags.gradinit_scales is not None:
        source = Path(flags.gradinit_scales)
        applied = _apply(model, source)
        if source.resolve() != path.resolve():
            records.write_scales(path, applied, _about({"scales": str(source)}, settings))
        logger.info(f"applied the scales of {source}; nothing was learned")
    elif _reuse(model, path, config):
        logger.info(f"reusing {path}: the same model and config finished learning before")
    else:
        rng = np.random.default_rng(settings.seed)
        paper = settings.preset == "paper"
        supply = batches.overlapping_halves if paper else batches.whole_batches
        with records.IterationLog(folder / "iterations.jsonl") as log:
            path.unlink(missing_ok=True)  # of another config
            progress = Progress(run, settings.iters)

            def on_iteration(record: Iteration) -> None:
                log.write(record)
                progress.show(record)

            loss_fn, optimizer = per_token_loss(model, criterion), run_optimizer(run, settings)
            learned = learn_scales(
                model,
                loss_fn,
                supply(dataset, index_lists, rng),
                settings,
                None if paper else optimizer,
                progress.wrap,
                on_iteration,
            )
        about = _about(config, settings)
        records.write_scales(path, learned, about)
        logger.info(
            f"GradInit: {learned.iterations} iterations in {learned.seconds:.1f} s (stopped: "
            f"{learned.stop_reason}); scales {min(learned.scales):.3g} to "
            f"{max(learned.scales):.3g} in {path}"
        )
        if not paper and not has_branches(learned.blocks):
            logger.warning(
                "GradInit: found no residual branches between LayerNorms in this model; all its "
                f"scales started at 1 and stayed within a factor {settings.max_change:g}; "
                "--gradinit-max-change gives them more room"
            )
        if settings.rehearsal > 0:
            samples = batches.whole_batches(dataset, index_lists, rng)
            about["prediction"] = predict(model, loss_fn, samples, settings, optimizer)
            records.write_scales(path, learned, about)


def per_token_loss(model: nn.Module, criterion: nn.Module) -> Callable[[Any], Tensor]:
    """The training loss of a fairseq sample over its sample size, label smoothing included."""

    def loss_fn(sample: Any) -> Tensor:
        device = next(model.parameters()).device
        if device.type == "cuda":
            sample = utils.move_to_cuda(sample, device=device)
        loss, sample_size, _ = criterion(model, sample)
        return loss / sample_size

    return loss_fn


def _apply(model: nn.Module, source: Path) -> LearnedScales:
    with borrowed(model):
        blocks = Blocks(model)
        found = records.matching(source, records.read_scales(source), blocks.blocks)
        scales = [block["scale"] for block in found]
        before = blocks.norms()
        blocks.write(torch.tensor(scales, dtype=torch.float64))
        reason = f"applied from {source}"
        return LearnedScales(blocks.blocks, scales, before, blocks.norms(), 0, reason, 0.0)


def _reuse(model: nn.Module, path: Path, config: dict[str, Any]) -> bool:
    """Applies a finished scales.json of the same config and the same initial weights."""
    if not path.exists():
        return False
    try:
        record = records.read_scales(path)
        with borrowed(model):
            blocks = Blocks(model)
            found = records.matching(path, record, blocks.blocks)
            # Another seed would have drawn other weights.
            same_weights = all(
                math.isclose(block["norm_before"], norm, rel_tol=1e-4)
                for block, norm in zip(found, blocks.norms())
            )
            if record["config"] != json.loads(json.dumps(config)) or not same_weights:
                logger.info(f"{path} is of another config or model: learning anew")
                return False
            blocks.write(torch.tensor([block["scale"] for block in found], dtype=torch.float64))
            return True
    except GradInitError as error:
        logger.info(f"learning anew: {error}")
        return False


def _config(
    settings: Settings, flags: GradInitConfig, run: RunConfig, model: nn.Module
) -> dict[str, Any]:
    return {
        **settings.as_dict(),
        "optimizer": optimizer_name(run),
        "optimizer_config": optimizer_config(run, model),
        "max_tokens": flags.gradinit_max_tokens or run.dataset.max_tokens,
        "batch_size": run.dataset.batch_size,
        "data": str(flags.data),
    }


def _about(config: dict[str, Any], settings: Settings) -> dict[str, Any]:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue  # one of the two fairseqs, or this package used as a plain --user-dir
    return {"config": config, "seed": settings.seed, "versions": versions}
