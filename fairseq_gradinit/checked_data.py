"""The mixin that checks the data of a run with GradInit, where fairseq would end with a trace."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fairseq import utils
from fairseq.data import data_utils
from torch import nn

from .batches import cut_batches
from .data_files import Side, check_dictionary, check_sides
from .gradinit import GradInitError
from .one_line import one_line_errors
from .run import wanted


class CheckedData:
    """Mixed into a fairseq task, before it in the bases; idle unless --gradinit is given."""

    _positions: Any = None

    @classmethod
    def setup_task(cls, cfg: Any, **kwargs: Any) -> Any:
        """As the task's own; a dictionary that cannot be read is one line. Raises: SystemExit."""
        if wanted(cfg):
            with one_line_errors():  # fairseq would wait for ever for a pipe's end
                _refuse_pipes(Path(utils.split_paths(str(cfg.data))[0]))
        try:
            return super().setup_task(cfg, **kwargs)  # type: ignore[misc]
        except Exception:  # fairseq has several kinds
            if wanted(cfg):
                with one_line_errors():
                    _check_dictionaries(cfg)
            raise

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> nn.Module:
        """As the task's own; dictionaries that cannot be shared are one line.

        Raises: SystemExit.
        """
        flags, shared = self._flags, getattr(cfg, "share_all_embeddings", False)  # type: ignore[attr-defined]
        if wanted(flags) and shared and not from_checkpoint and hasattr(self, "tgt_dict"):
            source, target = self.src_dict, self.tgt_dict  # type: ignore[attr-defined]
            with one_line_errors():
                if source != target:
                    raise GradInitError(
                        f"--share-all-embeddings: dict.{flags.source_lang}.txt of {len(source):,} "
                        f"words and dict.{flags.target_lang}.txt of {len(target):,} are not the "
                        "same; binarise with --joined-dictionary, or leave the flag out"
                    )
        model = super().build_model(cfg, from_checkpoint)  # type: ignore[misc]
        self._positions = model.max_positions()
        return model

    def load_dataset(self, split: str, epoch: int = 1, *args: Any, **kwargs: Any) -> None:
        """As the task's own; while training, files that are missing or damaged are one line, and
        so is a valid split that fairseq could not cut into batches after the scales are learned.

        Raises: SystemExit.
        """
        load = super().load_dataset  # type: ignore[misc]
        if getattr(self, "_criterion", None) is None or not wanted(self._flags):  # type: ignore[attr-defined]
            load(split, epoch, *args, **kwargs)
            return
        with one_line_errors():
            for sides in _pieces(self, split, epoch):
                check_sides(sides)
            try:
                load(split, epoch, *args, **kwargs)
            except FileNotFoundError as error:
                raise GradInitError(
                    f"--gradinit: no {split} split ({error}); binarise one with "
                    f"fairseq-preprocess --{_option(split)}, or name it with --{_flag(split)}"
                ) from error
            dataset = self._run.dataset  # type: ignore[attr-defined]
            if split in dataset.valid_subset.split(",") and not dataset.disable_validation:
                self._check_batches(split, dataset)

    def _check_batches(self, split: str, flags: Any) -> None:
        """That the Trainer's `get_valid_iterator` will do. Raises: GradInitError."""
        found = self.datasets[split]  # type: ignore[attr-defined]
        positions = self.max_positions(), self._positions  # type: ignore[attr-defined]
        multiple = flags.required_batch_size_multiple
        try:
            batches = cut_batches(
                super().get_batch_iterator,  # type: ignore[misc]
                found,
                max_tokens=flags.max_tokens_valid,
                max_sentences=flags.batch_size_valid,
                max_positions=utils.resolve_max_positions(*positions),
                ignore_invalid_inputs=flags.skip_invalid_size_inputs_valid_test,
                required_batch_size_multiple=multiple,
                disable_iterator_cache=True,
            )
        except Exception as error:  # fairseq's word for a sentence too long is an Exception
            raise GradInitError(
                f"--valid-subset {split}: {' '.join(str(error).split())}; shorten it, or give a "
                "larger --max-tokens-valid or more positions"
            ) from error
        if not batches:
            raise GradInitError(
                f"--valid-subset {split}: fairseq makes no batch of its {len(found):,} "
                f"sentence(s) in multiples of {multiple}; give more that are short enough, "
                "--required-batch-size-multiple 1 or --disable-validation"
            )


def _option(split: str) -> str:
    """Of fairseq-preprocess, which knows three splits by name."""
    return f"{split if split in ('valid', 'test') else 'train'}pref"


def _flag(split: str) -> str:
    return "valid-subset" if split.startswith("valid") else "train-subset"


def _pieces(task: Any, split: str, epoch: int) -> Iterator[list[Side]]:
    """The files of a split, and of those that fairseq joins to it: train, train1, train2, …"""
    flags = task._flags
    folders = utils.split_paths(str(flags.data))
    folder = Path(folders[(epoch - 1) % len(folders)])
    source, target = (getattr(flags, f"{side}_lang", None) for side in ("source", "target"))
    for number in itertools.count():
        name = f"{split}{number or ''}"
        if source is None:
            sides = [Side(folder / name, task.dictionary, "dict.txt")]
        else:
            words = {source: task.src_dict, target: task.tgt_dict}
            of_pairs = (
                [Side(folder / f"{name}.{pair}.{s}", words[s], f"dict.{s}.txt") for s in words]
                for pair in (f"{source}-{target}", f"{target}-{source}")
            )
            sides = next((pair for pair in of_pairs if any(side.begun for side in pair)), [])
        if not any(side.begun for side in sides):
            return
        yield sides


def _refuse_pipes(folder: Path) -> None:
    for file in folder.glob("dict.*"):
        if file.exists() and not file.is_file():
            raise GradInitError(f"{file}: is not a regular file; give the data folder's own")


def _check_dictionaries(flags: Any) -> None:
    """Raises: GradInitError: of the data folder's dictionaries, one cannot be read."""
    folder = Path(utils.split_paths(str(flags.data))[0])
    if not folder.is_dir():
        raise GradInitError(
            f"{folder}: no such folder; give the one that fairseq-preprocess wrote (--destdir)"
        )
    if not hasattr(flags, "source_lang"):
        check_dictionary(folder / "dict.txt")
        return
    languages = [flags.source_lang, flags.target_lang]
    if None in languages:
        languages = list(data_utils.infer_language_pair(str(folder)))
    if None in languages:
        raise GradInitError(
            f"{folder}: no binarised languages there; give the folder that fairseq-preprocess "
            "wrote, or --source-lang and --target-lang"
        )
    for language in languages:
        check_dictionary(folder / f"dict.{language}.txt")
