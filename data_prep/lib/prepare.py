"""Raw or tokenized text -> OUT/raw and OUT/tokenized: Moses, cleaning, held-out splits."""

import contextlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from .errors import PrepError
from .moses import detokenizer, lowercase, tokenizer, undo_bpe
from .parallel import map_blocks
from .stages import SPLITS, Report, Run, stage, tool_versions
from .subwords import fits


@dataclass(frozen=True)
class Recipe:
    """What to do with each pair."""

    form: str = "raw"  # of the input: raw, tokenized, or segmented (subword-nmt's @@)
    tokens: bool = True  # write OUT/tokenized; if not, only OUT/raw
    normalise: bool = False  # Moses' punctuation and non-printing characters
    aggressive: bool = False  # tokenizer.perl -a: split hyphens as @-@
    lowercase: bool = False  # both raw and tokens
    apostrophes: bool = False  # ’ -> ' in test, as fairseq's recipes do
    most: int = 0  # tokens a side; train only (0: no bound)
    ratio: float = 0.0  # longest side / shortest side; train only (0: no bound)


def prepare(run: Run, folder: str, recipe: Recipe, every: int, held_out: list[str]) -> None:
    """Stage `text`; every `every`-th clean pair of train makes valid, the one before it test.

    `held_out` names the splits to make so, among valid and test; `every` 0 takes as many pairs
    as give about 1,000, at most a tenth.
    """
    given = run.splits(folder)
    splits = [s for s in SPLITS if s in given or s in held_out]
    inputs = [path for split in given for path in run.texts(folder, split)]
    targets = ["raw", "tokenized"] if recipe.tokens else ["raw"]
    outputs = [p for target in targets for split in splits for p in run.texts(target, split)]
    params = {
        "from": folder,
        **asdict(recipe),
        "held_out": {"every": every, "splits": held_out},
        **tool_versions("sacremoses"),
    }

    def work(partial: Callable[..., Any]) -> Report:
        with contextlib.ExitStack() as stack:
            streams = {
                split: [
                    stack.enter_context(open(partial(p), "w", encoding="utf-8", newline="\n"))
                    for target in targets
                    for p in run.texts(target, split)
                ]
                for split in splits
            }
            counts: dict[str, dict[str, int]] = {}
            for split in given:
                step = every or _about_a_thousand(run, folder) if split == "train" else 0
                _prepare_split(run, folder, split, recipe, step, held_out, streams, counts)
        for split in splits:
            if not counts[split]["kept"]:
                raise PrepError(
                    f"{folder}/train: too little text to hold out {split}; give files for it"
                )
        return {"lines": counts}

    stage(run, "text", inputs, params, outputs, work)


def _prepare_split(
    run: Run,
    folder: str,
    split: str,
    recipe: Recipe,
    every: int,
    held_out: list[str],
    streams: dict[str, list[Any]],
    counts: dict[str, dict[str, int]],
) -> None:
    read = kept = 0
    held = held_out if split == "train" else []
    mine = {name: {"kept": 0} for name in [split, *held]}
    for size, rows in map_blocks(
        run.texts(folder, split),
        _prepare_block,
        setup=_state,
        setup_args=(recipe, run.languages, split),
        workers=run.workers,
        title=f"text {split}",
    ):
        read += size
        for row in rows:
            kept += 1
            name = split
            if "valid" in held and kept % every == 0:
                name = "valid"
            elif "test" in held and kept % every == every - 1:
                name = "test"
            mine[name]["kept"] += 1
            for stream, line in zip(streams[name], row):
                stream.write(line + "\n")
    mine[split].update(read=read, cleaned=read - kept)
    counts.update(mine)


def _about_a_thousand(run: Run, folder: str) -> int:
    with open(run.texts(folder, "train")[0], "rb") as stream:
        return max(10, sum(1 for _ in stream) // 1000)


def _state(recipe: Recipe, languages: tuple[str, str], split: str) -> Any:
    make = (
        (lambda lang: tokenizer(lang, recipe.normalise, recipe.aggressive))
        if recipe.form == "raw"
        else detokenizer
    )
    needed = recipe.tokens or recipe.form != "raw"
    return recipe, split, [make(lang) if needed else None for lang in languages]


def _prepare_block(state: Any, *sides: list[str]) -> tuple[int, list[tuple[str, ...]]]:
    """Rows of (raw source, raw target[, tokenized source, tokenized target]) that are kept."""
    recipe, split, converters = state
    raw: list[list[str]] = []
    tokens: list[list[str]] = []
    for lines, convert in zip(sides, converters):
        if recipe.apostrophes and split == "test":
            lines = [line.replace("’", "'") for line in lines]
        if recipe.form == "segmented":
            lines = [undo_bpe(line) for line in lines]
        converted = convert(lines) if convert else lines
        texts = (lines, converted) if recipe.form == "raw" else (converted, lines)
        for store, text in zip((raw, tokens), texts):
            store.append([lowercase(line) for line in text] if recipe.lowercase else list(text))
    bounded = split == "train" and (recipe.most or recipe.ratio)
    rows = [
        row
        for row in zip(*raw, *tokens)
        if not bounded or fits(row[2], row[3], 1, recipe.most, recipe.ratio)
    ]
    return len(sides[0]), rows if recipe.tokens else [row[:2] for row in rows]
