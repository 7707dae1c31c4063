"""`python -m fairseq_gradinit.lr_range DATA …fairseq-train flags… --out DIR`: which learning rate,
and does it need a warmup?

At each rate of a grid some updates of the very run are made and undone. Loss, what the source is
worth and token spread are drawn over the rate in DIR/lr_range.svg and .png and kept in
DIR/lr_range.json, with three rates marked:

  eta_init      where a warmup can start (`--lr-scheduler catapult`)
  unstable      the lowest rate of the grid at which the loss did not fall
  vouched for   the highest up to which every rate trained: the loss fell and the encoder's tokens
                can still be told apart
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairseq import options, tasks
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.logging import progress_bar
from fairseq.trainer import Trainer

from . import plugin  # noqa: F401  (registers tasks, optimizers and schedules)
from .files import FileError, write_json
from .first_update import AtFirstUpdate
from .gradinit import GradInitError
from .gradinit.measures import Reading
from .gradinit.trial import Trial
from .live_optimizer import clipped, step, undone
from .lr_range_record import EtaInit, LrRange, Rate
from .lr_scheduler.measure import BY, measure
from .run_readings import source_worth, token_spread

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command. Raises: SystemExit: bad input, in one line."""
    own, rest = _parser().parse_known_args(arguments)
    try:
        run(own, rest)
    except (GradInitError, FileError) as error:
        raise SystemExit(f"lr_range: error: {error}") from None


def run(own: argparse.Namespace, rest: Sequence[str]) -> LrRange:
    """Measures, draws and writes. Raises: GradInitError, FileError."""
    _check(own)
    at = first_update(rest, own.out)
    learning_rate = float(at.run.optimization.lr[0])
    lowest = learning_rate / 100 if own.lowest is None else own.lowest
    highest = learning_rate * 10 if own.highest is None else own.highest
    if not 0 < lowest < highest < math.inf:
        raise GradInitError(f"--lowest {lowest:g} --highest {highest:g}: give 0 < lowest < highest")
    batches = [at.supply.draw(1, "--updates") for _ in range(own.updates)]
    etas = np.geomspace(lowest, highest, own.points).tolist()
    rates = []
    common = at.run.common
    bar = progress_bar.progress_bar(
        etas,
        log_format=common.log_format,
        log_interval=1,
        prefix="lr_range",
        default_log_format="simple" if common.no_progress_bar else "tqdm",
    )
    for eta in bar:
        rates.append(trial(at, eta, batches))
        bar.log({"lr": f"{eta:.3g}", "loss": round(rates[-1].last_loss, 3)})
    found = LrRange.of(rates, own.updates, _eta_inits(at, highest))
    write_json(own.out / "lr_range.json", found)
    from .lr_range_picture import draw  # altair is no requirement of training

    draw(found, own.out)
    print(f"{found.summary()}\n{own.out / 'lr_range.svg'}, .png, .json")
    return found


def first_update(flags: Sequence[str], out: Path) -> AtFirstUpdate:
    """The run of a fairseq-train command line, at its first update; --gradinit has been done.

    Raises:
        GradInitError: there are no data, or as `FirstUpdate.prepare`.
    """
    args = options.parse_args_and_arch(options.get_training_parser(), list(flags))
    data = str(args.data).split(":")[0]
    if not Path(data).is_dir():
        raise GradInitError(f"{data}: no such folder; give one that fairseq-preprocess has made")
    config = convert_namespace_to_omegaconf(args)
    config.checkpoint.save_dir = str(out)  # of --gradinit's record
    config.distributed_training.distributed_world_size = 1
    np.random.seed(config.common.seed)
    torch.manual_seed(config.common.seed)
    task = tasks.setup_task(config.task)
    model, criterion = task.build_model(config.model), task.build_criterion(config.criterion)
    trainer = Trainer(config, task, model, criterion)
    trainer.get_train_iterator(epoch=1)
    if not hasattr(task, "prepare"):
        raise GradInitError(
            f"--task {config.task._name}: does not measure before the first update; use --task "
            "translation or language_modeling_gradinit"
        )
    return task.prepare(trainer.optimizer, trainer.model, criterion, None)


def trial(at: AtFirstUpdate, eta: float, batches: Sequence[Sequence[Any]]) -> Rate:
    """One update per batch at a constant rate, without dropout, all of it undone.

    Loss, source worth and token spread are read on `at.samples`, a batch apart.
    """
    before = at.loss.loss(at.layout.weights(), at.samples)
    with undone(at.optimizer):
        for samples in batches:
            loss, gradient = at.loss.gradient(at.layout.weights(), samples)
            if not math.isfinite(loss):
                break
            step(at.optimizer, at.layout, clipped(gradient, at.run.optimization.clip_norm), eta)
        weights = at.layout.weights()
        last = at.loss.loss(weights, at.samples)
        worth = source_worth(at.loss, weights, at.samples)
        spread = token_spread(at.loss, weights, at.samples)
    trial = Trial(
        eta, before, last, Reading(last, worth, spread, None), Reading(before, None, None, None)
    )
    return Rate(eta, before, last, worth, spread, trial.trains)


def _eta_inits(at: AtFirstUpdate, cap: float) -> dict[str, EtaInit | None]:
    """η_init by each measure; None where it cannot be told on this model."""
    found: dict[str, EtaInit | None] = {}
    for by in BY:
        try:
            catapult = measure(at, by, cap, first=1e-4, tolerance=0.1).catapult
            found[by] = EtaInit(catapult.eta_init, catapult.ended)
        except GradInitError as error:
            logger.info(f"no eta_init by {by}: {error}")
            found[by] = None
    return found


def _check(own: argparse.Namespace) -> None:
    for flag, value, least in (("--points", own.points, 2), ("--updates", own.updates, 1)):
        if value < least:
            raise GradInitError(f"{flag}: found {value}; give {least} or more")
    for package in ("altair", "vl_convert"):
        if importlib.util.find_spec(package) is None:
            raise GradInitError(
                f"the picture needs {package}; pip install 'fairseq_gradinit[recipes]'"
            )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m fairseq_gradinit.lr_range",
        usage="%(prog)s DATA [flags of fairseq-train] --out DIR",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of pictures and JSON")
    parser.add_argument("--lowest", type=float, help="of the grid (default: --lr / 100)")
    parser.add_argument("--highest", type=float, help="of the grid (default: --lr x 10)")
    parser.add_argument("--points", type=int, default=13, help="rates of the grid, evenly in log")
    parser.add_argument("--updates", type=int, default=20, help="made and undone at each rate")
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
