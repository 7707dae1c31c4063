"""What happens between a fresh model and its first update: scales are applied, reused, or learned
and tried, and recorded."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from fairseq.data import FairseqDataset
from torch import nn

from . import batches, log, records
from .files import FileError, finite, remove, versions
from .frequencies import NoUnigramStart, give_word_frequencies
from .gradinit import Blocks, GradInitError, LearnedScales, Search, Settings
from .gradinit.borrowed import borrowed
from .gradinit.gradient import LossFn, MakeOptimizer
from .gradinit.learn import State
from .gradinit.trial import Trial, try_rates, try_updates
from .identity import differences, made_from
from .progress import Progress, ProgressRecord, read_progress, state_of
from .reading import reading
from .run import (
    Flags,
    RunConfig,
    optimizer_config,
    optimizer_name,
    parts_of_an_update,
    per_token_loss,
    run_optimizer,
    settings_of,
    unigram_wanted,
)
from .sharing import Leader
from .watch import some_samples

logger = logging.getLogger(__name__)

KEYS = ("config", "made_from")  # in which a record must agree to be used again
PROGRESS = "progress.json"
PACKAGES = ("fairseq_gradinit", "ve-fairseq", "fairseq", "torch", "numpy")


def give_scales(
    model: nn.Module,
    criterion: nn.Module,
    dataset: FairseqDataset,
    index_lists: Sequence[Sequence[int]],
    flags: Flags,
    run: RunConfig,
    leader: Leader | None = None,
) -> None:
    """Leaves `model` with the scales that the flags ask for, recorded in SAVE_DIR/gradinit.

    Args:
        model: fresh, on its device, 16-bit or not.
        criterion: of the training run; its loss over its sample size is the loss per token.
        dataset: the train split.
        index_lists: sentence indices of each batch.
        leader: of the processes that share the passes; the model is then the first one's.

    Raises:
        GradInitError: bad input, or a search that went astray.
        FileError: a file that cannot be read or written.
    """
    path = Path(run.checkpoint.save_dir) / "gradinit" / "scales.json"
    settings = settings_of(flags, run)
    about: dict[str, Any] = {"seed": settings.seed, "versions": versions(*PACKAGES)}
    if flags.gradinit_scales is not None:
        source = Path(flags.gradinit_scales)
        stored = records.read_scales(source)
        unigram = None
        if unigram_wanted(flags, stored.unigram is not None):
            unigram = _give_frequencies(model, criterion, dataset, index_lists, settings.seed)
        applied = _apply(model, source, stored)
        if source.resolve() != path.resolve():
            about["config"] = {"scales": str(source)}
            records.write_scales(path, records.record_of(applied, unigram, about))
        logger.info(f"applied the scales of {source}; nothing was learned")
        return
    wants_unigram = unigram_wanted(flags, settings.preset != "paper")
    log.tell_plan(settings, wants_unigram, getattr(run.lr_scheduler, "warmup_updates", 0))
    unigram = None
    if wants_unigram:
        unigram = _give_frequencies(model, criterion, dataset, index_lists, settings.seed)
    about.update(
        config={**_config(settings, run, model), "unigram": unigram is not None},
        made_from=made_from(flags, run),
    )
    loss_fn, optimizer = (
        per_token_loss(model, criterion, flags.gradinit_cpu_bf16),
        run_optimizer(run, settings),
    )
    found = _reuse(model, path, about)
    if found is not None:
        logger.info(f"reusing {path}: the same model, data and settings were started before")
        record = found
    else:
        supply = _supply(dataset, index_lists, run, settings.seed, leader)
        learned = _learn(model, loss_fn, supply, settings, optimizer, about, path, run)
        record = records.record_of(learned, unigram, about)
        records.write_scales(path, record)
        log.tell_scales(learned, settings, path)
    remove(path.with_name(PROGRESS))
    if settings.trial > 0 and record.prediction is None:
        held_out = some_samples(dataset, index_lists)
        # Of its own: the same batches whether or not a kill came between search and trial.
        tried = _supply(dataset, index_lists, run, [settings.seed, 1], leader)
        samples = tried.whole_batches()
        trials = _try(model, loss_fn, samples, held_out, settings, optimizer, run)
        log.tell_trials(trials, settings)
        record.prediction = records.predicted(trials)
        records.write_scales(path, record)


def _supply(
    dataset: FairseqDataset,
    index_lists: Sequence[Sequence[int]],
    run: RunConfig,
    seed: int | Sequence[int],
    leader: Leader | None,
) -> batches.Supply:
    return batches.Supply(
        dataset,
        index_lists,
        np.random.default_rng(seed),
        parts_of_an_update(run),
        run.optimization.sentence_avg,
        leader,
    )


def _give_frequencies(
    model: nn.Module,
    criterion: nn.Module,
    dataset: FairseqDataset,
    index_lists: Sequence[Sequence[int]],
    seed: int,
) -> records.UnigramRecord | None:
    """The unigram start, where the model has a place for it; said either way."""
    try:
        with borrowed(model):
            start = give_word_frequencies(model, criterion, dataset, index_lists, seed)
    except NoUnigramStart as reason:
        logger.info(f"GradInit: no unigram start: {reason}")
        return None
    log.tell_unigram(start)
    return records.UnigramRecord(start.entropy, start.seconds)


def _apply(model: nn.Module, source: Path, stored: records.ScalesRecord) -> LearnedScales:
    with borrowed(model):
        blocks = Blocks(model)
        found = records.matching(source, stored, blocks.blocks)
        scales = [block.scale for block in found]
        before = blocks.norms()
        blocks.write(torch.tensor(scales, dtype=torch.float64))
        none, reason = [False] * len(scales), f"applied from {source}"
        return LearnedScales(blocks.blocks, scales, before, blocks.norms(), none, 0, reason, 0.0)


def _reuse(model: nn.Module, path: Path, about: dict[str, Any]) -> records.ScalesRecord | None:
    """Applies a finished scales.json of the same settings, function, data and initial weights."""
    if not path.exists():
        return None
    try:
        record = records.read_scales(path)
        with borrowed(model):
            blocks = Blocks(model)
            found = records.matching(path, record, blocks.blocks)
            before = {block.name: block.norm_before for block in found}
            if _differs(path, about, record, before, blocks):
                return None
            blocks.write(torch.tensor([block.scale for block in found], dtype=torch.float64))
            return record
    except GradInitError as error:
        logger.info(f"learning anew: {error}")
        return None


def _resumed(model: nn.Module, path: Path, about: dict[str, Any]) -> State | None:
    """Where a search for the same scales was cut short."""
    if not path.exists():
        return None
    try:
        record = read_progress(path)
    except FileError as error:
        logger.info(f"learning anew: {error}")
        return None
    with borrowed(model):
        if _differs(path, about, record, record.norms, Blocks(model)):
            return None
    logger.info(f"GradInit: going on after {record.done} iterations, from {path}")
    return state_of(record)


def _differs(
    path: Path,
    about: dict[str, Any],
    record: records.ScalesRecord | ProgressRecord,
    norms: dict[str, float],
    blocks: Blocks,
) -> bool:
    """Whether `record` is of other settings, another function, data or weights; says which.

    norms: of the initial weights, by block.
    """
    wanted = finite(msgspec.to_builtins({key: about[key] for key in KEYS}))
    differing = differences(wanted, {key: getattr(record, key) for key in KEYS})
    for block, norm in zip(blocks.blocks, blocks.norms()):
        before = norms.get(block.name)
        # Another seed would have drawn other weights.
        if before is None or not math.isclose(before, norm, rel_tol=1e-4):
            was = "missing" if before is None else f"{before:.6g}"
            differing.append(f"the initial norm of {block.name} is {norm:.6g}, was {was}")
    if differing:
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        logger.info(f"learning anew: {path}: {'; '.join(differing[:3])}{more}")
    return bool(differing)


def _learn(
    model: nn.Module,
    loss_fn: LossFn,
    supply: batches.Supply,
    settings: Settings,
    optimizer: MakeOptimizer,
    about: dict[str, Any],
    path: Path,
    run: RunConfig,
) -> LearnedScales:
    """Runs the search, or goes on with it; shown, logged and kept as it goes."""
    paper, progress = settings.preset == "paper", path.with_name(PROGRESS)
    state = _resumed(model, progress, about)
    done, drawn = (state.after.done, state.drawn) if state else (0, 0)
    samples = supply.overlapping_halves(drawn) if paper else supply.whole_batches(drawn)
    search = Search(model, loss_fn, samples, settings, None if paper else optimizer, state)
    with records.IterationLog(path.with_name("iterations.jsonl"), done) as iterations:
        remove(path)  # of another config
        with search, Progress(progress, search, about) as kept:
            for record in log.shown(search, run):
                iterations.write(record)
                kept.iterated()
    return search.learned


def _try(
    model: nn.Module,
    loss_fn: Any,
    samples: Iterator[Any],
    held_out: Sequence[Any],
    settings: Settings,
    optimizer: Any,
    run: RunConfig,
) -> list[Trial]:
    """Trials at η and at higher or lower learning rates, their updates shown."""

    def try_at(learning_rate: float) -> Trial:
        return try_updates(
            model,
            loss_fn,
            log.shown_trial(samples, settings.trial, learning_rate, run),
            settings,
            optimizer,
            lambda: reading(model, held_out),
            learning_rate,
        )

    return list(try_rates(try_at, settings.eta))


def _config(settings: Settings, run: RunConfig, model: nn.Module) -> dict[str, Any]:
    return {
        **settings.as_dict(),
        "optimizer": optimizer_name(run),
        "optimizer_config": optimizer_config(run, model),
    }
