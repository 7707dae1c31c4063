"""Faults under the plugin: the real `give_scales` on a real fairseq model, restarted after each."""

from __future__ import annotations

import hashlib
import random
import shutil
from functools import partial
from pathlib import Path
from typing import Any

from corpus import binarise, write_corpus
from fairseq_runs import build
from torch import nn

from fairseq_gradinit import before_training, progress
from fairseq_gradinit.files import FileError
from fairseq_gradinit.gradinit import GradInitError
from fairseq_gradinit.records import read_scales
from fairseq_gradinit.watch import Look, Watch

from .injector import (
    CLEAR_ERROR,
    LOST,
    SURVIVED,
    YEAR,
    Ended,
    at_file_call,
    copy_of,
    damage,
    fill,
    in_a_child,
    jump,
    kill,
    one_line,
    told,
)

FLAGS = [
    *(
        "--gradinit-iters=3",
        "--gradinit-lookahead=1",
        "--gradinit-trial=1",
        "--gradinit-start=fixed",
    ),
    *("--encoder-layers=1", "--decoder-layers=1", "--max-tokens=60"),
]
REFUSALS = (GradInitError, FileError)
FILES = ("scales.json", "progress.json", "iterations.jsonl")
DAMAGES = ("corrupt", "truncate", "swap", "permission")


class Plugin:
    """A model before its first update, given its scales in any save dir.

    Attributes:
        right: what comes of an undisturbed run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        write_corpus(folder / "text", {"train": 24, "valid": 8})
        self.data = binarise(folder / "text")
        self._task, self._criterion, trainer = build(self.data, folder / "built", *FLAGS)
        self._model = trainer.model
        dataset = self._task.datasets["train"]
        self._index_lists = [list(range(at, at + 8)) for at in (0, 8, 16)]
        self._dataset = dataset
        progress.SHARE = float("inf")  # kept after every iteration
        (folder / "built").mkdir(exist_ok=True)
        self.finished, self.half = folder / "finished", folder / "half"
        self.right = self.start(self.finished).said
        assert len(self.right) == 64, self.right
        self._stop_after(self.half, iterations=2)

    def start(self, save_dir: Path, fault: Any = None, **flags: Any) -> Ended:
        """A run in a child, up to its first update; says a digest of the weights and verdict."""
        return in_a_child(lambda: self._give(save_dir, fault, **flags), REFUSALS)

    def _give(self, save_dir: Path, fault: Any, scales: Path | None = None) -> str:
        flags, run = self._task.cfg, self._task.cfg._get_root()
        run.checkpoint.save_dir = str(save_dir)
        flags.gradinit_scales = None if scales is None else str(scales)
        if fault is not None:
            fault()
        before_training.give_scales(
            self._model, self._criterion, self._dataset, self._index_lists, flags, run
        )
        return self.digest(save_dir)

    def train_on(self, data: Path, save_dir: Path) -> str:
        """The whole of it on another data folder, up to the first update; as `start`."""
        _, _, trainer = build(data, save_dir, "--gradinit", *FLAGS)
        return self.digest(save_dir, trainer.model)

    def digest(self, save_dir: Path, model: nn.Module | None = None) -> str:
        """Of the weights in force, and of what is kept besides seconds."""
        record = read_scales(save_dir / "gradinit" / "scales.json")
        prediction = record.prediction and [
            (t.learning_rate, t.first_loss, t.last_loss) for t in record.prediction.trials
        ]
        kept = [(b.name, b.scale, b.norm_after) for b in record.blocks], prediction
        digest = hashlib.sha256(repr(kept).encode())
        for parameter in (model or self._model).parameters():
            digest.update(parameter.detach().numpy().tobytes())
        return digest.hexdigest()

    def _stop_after(self, save_dir: Path, iterations: int) -> None:
        def fault() -> None:
            write = progress.Progress.iterated

            def until(kept: progress.Progress) -> None:
                write(kept)
                if kept._search.done == iterations:
                    kill()

            progress.Progress.iterated = until  # type: ignore[method-assign]

        assert self.start(save_dir, fault).code == -9
        assert (save_dir / "gradinit" / "progress.json").exists()


def fault(plugin: Plugin, rng: random.Random) -> tuple[str, str, str]:
    """One fault: its kind, what it hit, and the outcome."""
    place = plugin.folder / "broken"
    kind = rng.choice(("kill", "kill", "fill", *DAMAGES, "clock"))
    if kind in ("kill", "fill"):
        act, number = (kill if kind == "kill" else fill), rng.randrange(1, 60)
        with copy_of(plugin.half if rng.random() < 0.5 else plugin.folder / "built", place):
            first = plugin.start(place, partial(at_file_call, number, act))
            return kind, "a run", _judged(plugin, place, kind, first)
    from_where, which = rng.choice((plugin.half, plugin.finished)), rng.random()
    if kind == "clock":
        seconds = rng.choice((-1, 1)) * rng.uniform(1, 60 * YEAR)
        with copy_of(from_where, place):
            first = plugin.start(place, partial(jump, seconds))
            same = first.said == plugin.right
            return kind, "a run", SURVIVED if same else _lost(kind, first)
    if which < 0.2:
        return kind, "--gradinit-scales", _applied(plugin, place, kind, rng)
    if which < 0.3 and kind != "permission":
        return kind, "watch.jsonl", _watched(plugin, place, kind, rng)
    if which < 0.6:
        return kind, "train split", _other_data(plugin, place, from_where, kind, rng)
    with copy_of(from_where, place):
        chosen = rng.choice([f for f in FILES if (place / "gradinit" / f).exists()])
        damage(place / "gradinit" / chosen, kind, rng)
        first = plugin.start(place)
        return kind, chosen, _judged(plugin, place, f"{kind} {chosen}", first, again=False)


def _other_data(
    plugin: Plugin, place: Path, from_where: Path, kind: str, rng: random.Random
) -> str:
    """A damaged train split is refused, or is data like any other, from which nothing that was
    learned on the right ones is used: as without a save dir."""
    data = plugin.folder / "data"
    shutil.rmtree(data, ignore_errors=True)
    shutil.copytree(plugin.data, data)
    names = ["train.de-en.de.bin", "train.de-en.de.idx", "train.de-en.en.bin"]
    chosen = data / rng.choice([*names, "train.de-en.en.idx", "dict.en.txt"])
    was = "" if kind == "permission" else chosen.read_bytes()
    damage(chosen, kind, rng)
    name = f"{kind} {chosen.name}"
    with copy_of(from_where, place), copy_of(plugin.folder / "built", plugin.folder / "new"):
        ended = in_a_child(lambda: plugin.train_on(data, place), (SystemExit,))
        if ended.code == 1:
            return CLEAR_ERROR if one_line(ended) else _lost(name, ended)
        fresh = in_a_child(lambda: plugin.train_on(data, plugin.folder / "new"), (SystemExit,))
    changed = kind == "permission" or chosen.read_bytes() != was
    same = ended.code == 0 and ended.said == fresh.said
    return SURVIVED if same and (changed or ended.said == plugin.right) else _lost(name, ended)


def _judged(plugin: Plugin, place: Path, name: str, first: Ended, again: bool = True) -> str:
    """The first run may be killed or refuse in one line; the one after it must come out right."""
    if first.code == 0:
        return SURVIVED if first.said == plugin.right else _lost(name, first)
    if (first.code == 1 and not one_line(first)) or first.code not in (1, -9):
        return _lost(name, first)
    if not again:
        return CLEAR_ERROR
    second = plugin.start(place)
    if second.said != plugin.right:
        return _lost(f"{name}, restarted", second)
    return SURVIVED if first.code == -9 else CLEAR_ERROR


def _applied(plugin: Plugin, place: Path, kind: str, rng: random.Random) -> str:
    """A damaged scales.json given by --gradinit-scales is refused, or was whole after all."""
    right = read_scales(plugin.finished / "gradinit" / "scales.json")
    with copy_of(plugin.finished, place):
        scales = place / "gradinit" / "scales.json"
        damage(scales, kind, rng)
        ended = plugin.start(place.with_name("applied"), scales=scales)
        if ended.code == 0:
            same = read_scales(scales) == right
            return SURVIVED if same else _lost(f"{kind} --gradinit-scales", ended)
        return CLEAR_ERROR if one_line(ended) else _lost(f"{kind} --gradinit-scales", ended)


def _watched(plugin: Plugin, place: Path, kind: str, rng: random.Random) -> str:
    """A damaged watch.jsonl ends no training: the next look is kept, or said not to be."""
    place.mkdir(exist_ok=True)
    path = place / "watch.jsonl"
    path.write_text('{"update": 0, "loss": 8.5}\n{"update": 100, "loss": 7.25}\n')
    damage(path, kind, rng)
    watch = Watch([], 100, path)
    ended = in_a_child(lambda: watch._keep(path, Look(7.0, None, None, None, 200)), ())
    whole = path.read_bytes().endswith(b'"update": 200}\n')
    path.unlink()
    return SURVIVED if ended.code == 0 and whole else _lost(f"{kind} watch.jsonl", ended)


def _lost(name: str, ended: Ended) -> str:
    told(f"plugin, {name}", ended)
    return LOST
