"""Raw or tokenized text -> OUT/raw and OUT/tokenized: Moses, cleaning, held-out splits."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import IO, Any

from .blocks import map_blocks
from .moses import detokenizer, lowercase, tokenizer, undo_bpe
from .packed import PrepError
from .stages import Place, Report, Run, stage, tool_versions


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


def fits(left: str, right: str, least: int, most: int, ratio: float) -> bool:
    """Moses' clean-corpus-n: least..most tokens a side, and neither side `ratio` times longer.

    `most` or `ratio` 0 is no bound.
    """
    a, b = len(left.split()), len(right.split())
    if min(a, b) < least or (most and max(a, b) > most):
        return False
    return not ratio or (a <= ratio * b and b <= ratio * a)


def clean(run: Run, folder: str, recipe: Recipe, every: int, held_out: Sequence[str]) -> None:
    """Stage `text`; every `every`-th clean pair of train makes valid, the one before it test.

    `held_out` names the splits to make so, among valid and test; `every` 0 takes as many pairs
    as give about 1,000, at most a tenth.
    """
    given = tuple(split for split in run.splits if split not in held_out)
    targets = ["raw", "tokenized"] if recipe.tokens else ["raw"]
    outputs = [name for target in targets for name in run.names(target)]
    params = {
        "from": folder,
        **asdict(recipe),
        "held_out": {"every": every, "splits": list(held_out)},
        **tool_versions("sacremoses"),
    }

    def work(place: Place) -> Report:
        with contextlib.ExitStack() as stack:
            streams = {
                split: [
                    stack.enter_context(open(place(name), "w", encoding="utf-8", newline="\n"))
                    for target in targets
                    for name in run.names(target, [split])
                ]
                for split in run.splits
            }
            counts: dict[str, dict[str, int]] = {}
            for split in given:
                held = held_out if split == "train" else ()
                step = every or _about_a_thousand(run, folder)
                counts |= _clean_split(run, folder, split, recipe, step, held, streams)
        for split in run.splits:
            if not counts[split]["kept"]:
                raise PrepError(_nothing_left(split, held_out, counts))
        return {"lines": counts}

    stage(run, "text", run.inputs(*run.names(folder, given)), params, outputs, work)


def _nothing_left(split: str, held_out: Sequence[str], counts: dict[str, dict[str, int]]) -> str:
    if split in held_out:
        return f"--src, --tgt: too little text to hold out {split}; give files for it"
    read = counts[split]["read"]
    return f"{split}: --most and --ratio leave none of its {read:,} pairs; give looser bounds"


def _clean_split(
    run: Run,
    folder: str,
    split: str,
    recipe: Recipe,
    every: int,
    held: Sequence[str],
    streams: Mapping[str, Sequence[IO[str]]],
) -> dict[str, dict[str, int]]:
    """Write a split and what is held out of it; what was counted, by split."""
    read = kept = 0
    counts = {name: {"kept": 0} for name in (split, *held)}
    for size, rows in map_blocks(
        run.texts(folder, split),
        _clean_block,
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
            counts[name]["kept"] += 1
            for stream, line in zip(streams[name], row):
                stream.write(line + "\n")
    counts[split].update(read=read, cleaned=read - kept)
    return counts


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


def _clean_block(state: Any, *sides: list[str]) -> tuple[int, list[tuple[str, ...]]]:
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
