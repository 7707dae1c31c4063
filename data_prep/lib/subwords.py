"""Subwords: sentencepiece on plain text, or subword-nmt's BPE on tokens; learned jointly."""

import contextlib
import io
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import sentencepiece
from subword_nmt.apply_bpe import BPE
from subword_nmt.learn_bpe import learn_bpe

from .blocks import map_blocks
from .clean import fits
from .packed import PrepError, one_line_errors
from .stages import Place, Report, Run, say, stage, tool_versions

# Memory of the learners grows with their input. These bounds keep 4.5 M pairs under 1.5 GB;
# corpora below them (IWSLT, Multi30k) are used whole.
SENTENCEPIECE_BYTES = 40_000_000  # of both sides together; 20 bytes of memory for each
BPE_TYPES = 500_000  # most frequent words; the rest of WMT is seen once or twice
# sentencepiece adds up per thread: a fixed number keeps the model the same on any machine.
SENTENCEPIECE_THREADS = 4

UNKNOWN = "<unk>"  # fairseq's word for what is not in the dictionary
# fairseq-preprocess cuts at every Unicode space, subword-nmt only at the plain one.
_ODD_SPACE = re.compile(r"[^\S \n]")

MODEL = {"sentencepiece": "sentencepiece.model", "bpe": "bpe.codes"}


def learn(
    run: Run, folder: str, kind: str, size: int, codes: Path | None = None, coverage: float = 1.0
) -> None:
    """Stage `learn`: one joint model of `size` pieces (sentencepiece) or merges (bpe).

    With `codes`, that file of merges is used instead of learning. With a `coverage` below 1 the
    rarest characters of the text, that share of it, get no piece (sentencepiece): for Chinese or
    Japanese.
    """
    output = MODEL[kind]
    params: dict[str, Any] = {"kind": kind, "size": None if codes else size, "from": folder}
    params |= tool_versions("sentencepiece" if kind == "sentencepiece" else "subword-nmt")
    if coverage < 1:
        params["coverage"] = coverage

    def work(place: Place) -> Report:
        if codes:
            shutil.copyfile(codes, place(output))
            return {"notes": [f"merges given, not learned: {codes.name}"]}
        train = run.texts(folder, "train")
        if kind == "bpe":
            return _learn_bpe(train, place(output), size, run.workers)
        return _learn_sentencepiece(train, place(output), size, coverage)

    inputs = {"--bpe-codes": codes} if codes else run.inputs(*run.names(folder, ["train"]))
    stage(run, "learn", inputs, params, [output], work)


def _learn_sentencepiece(train: list[Path], output: Path, size: int, coverage: float) -> Report:
    model = io.BytesIO()
    interrupts: list[BaseException] = []

    def lines() -> Iterator[str]:
        try:
            yield from _sample(train, SENTENCEPIECE_BYTES)
        except KeyboardInterrupt as interrupt:  # sentencepiece would make an error of it
            interrupts.append(interrupt)
            raise

    try:
        with _quiet():
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=lines(),
                model_writer=model,  # not a path: the model's bytes would contain it
                vocab_size=size,
                character_coverage=coverage,
                num_threads=SENTENCEPIECE_THREADS,
                hard_vocab_limit=False,
                minloglevel=2,
            )
    except (RuntimeError, OSError) as error:
        if interrupts:
            raise interrupts[0] from error
        raise PrepError(_why_not_learned(size, str(error).strip().splitlines()[-1])) from error
    output.write_bytes(model.getvalue())
    pieces = _load_sentencepiece(output).get_piece_size()
    if pieces < size:
        say(f"learn: the text supports {pieces:,} pieces, not {size:,}")
    return {"counts": {"pieces": pieces}}


def _why_not_learned(size: int, reason: str) -> str:
    """The line for what sentencepiece said, with a size that works where it was too small."""
    needed = re.search(r"required_chars\D+(\d+) vs (\d+)", reason)
    if not needed:
        return f"--sentencepiece {size}: cannot be learned from this text ({reason})"
    characters = int(needed[2])
    enough = max(100, -(-2 * characters // 1000) * 1000 if characters > 100 else 4 * characters)
    return (
        f"--sentencepiece {size}: cannot be learned, since the text has {characters:,} different "
        f"characters and each needs a piece; give --sentencepiece {enough} or more"
    )


def _sample(train: list[Path], most: int) -> Iterator[str]:
    """About `most` bytes of the two sides at the most, evenly spaced: every k-th pair."""
    step = max(1, -(-sum(path.stat().st_size for path in train) // most))
    for path in train:
        with open(path, encoding="utf-8", newline="\n") as stream:
            for number, line in enumerate(stream):
                if number % step == 0:
                    yield line.rstrip("\n")


def _learn_bpe(train: list[Path], output: Path, merges: int, workers: int) -> Report:
    counts: Counter = Counter()
    for path in train:
        for block in map_blocks([path], _count_words, workers=workers, title="count words"):
            counts.update(block)
    most = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:BPE_TYPES]
    words = io.StringIO("".join(f"{word} {count}\n" for word, count in most))
    with open(output, "w", encoding="utf-8") as stream, _quiet():
        learn_bpe(words, stream, merges, is_dict=True)
    return {"counts": {"words": len(counts), "words_used": len(most)}}


def _count_words(_: None, lines: list[str]) -> Counter:
    # As subword-nmt counts: split at spaces only.
    return Counter(word for line in lines for word in line.strip("\r\n ").split(" ") if word)


def segment(
    run: Run, folder: str, kind: str, most: int = 0, ratio: float = 0.0, coverage: float = 1.0
) -> None:
    """Stage `segment`: OUT/<folder> -> OUT/segmented with the learned model.

    Pairs of train without a piece on one side are dropped, and with `most` or `ratio` also
    those with more pieces or a larger length ratio (clean-corpus-n); all are counted. With a
    `coverage` below 1, what has no piece is written as UNKNOWN and counted.
    """
    params = {"kind": kind, "from": folder, "most_pieces": most, "ratio": ratio}
    part = coverage < 1
    if part:
        params["coverage"] = coverage

    def work(place: Place) -> Report:
        lines: dict[str, dict[str, int]] = {}
        unknown = 0
        for split in run.splits:
            rule = (1, most, ratio) if split == "train" else None
            how = (kind, run.out / MODEL[kind], rule, part)
            lines[split], left_out = _segment_split(run, folder, split, how, place)
            unknown += left_out
        notes = [
            f"{unknown:,} pieces are of characters left out of the vocabulary (--coverage), "
            "written as <unk>"
        ]
        return {"lines": lines, "notes": notes if unknown else []}

    inputs = run.inputs(MODEL[kind], *run.names(folder))
    stage(run, "segment", inputs, params, run.names("segmented"), work)


def _segment_split(
    run: Run,
    folder: str,
    split: str,
    how: tuple[str, Path, Any, bool],
    place: Place,
) -> tuple[dict[str, int], int]:
    """Write a split; what was counted, and how many of its pieces are unknown."""
    read = kept = unknown = 0
    with contextlib.ExitStack() as stack:
        streams = [
            stack.enter_context(open(place(name), "w", encoding="utf-8", newline="\n"))
            for name in run.names("segmented", [split])
        ]
        for count, *texts in map_blocks(
            run.texts(folder, split),
            _segment_block,
            setup=_segmenter,
            setup_args=how,
            workers=run.workers,
            title=f"segment {split}",
        ):
            for stream, lines in zip(streams, texts):
                stream.writelines(line + "\n" for line in lines)
                unknown += sum(line.split(" ").count(UNKNOWN) for line in lines) if how[3] else 0
            read += count
            kept += len(texts[0])
    if not kept:
        raise PrepError(f"{split}: the bounds leave none of its {read:,} pairs; give looser ones")
    return {"read": read, "cleaned": read - kept, "kept": kept}, unknown


def _segmenter(
    kind: str, model: Path, rule: Any, part: bool
) -> tuple[Callable[[list[str]], list[str]], Any]:
    if kind == "bpe":
        bpe = load_bpe(model)
        return (lambda lines: [bpe.process_line(_ODD_SPACE.sub(" ", x)) for x in lines]), rule
    pieces = _load_sentencepiece(model)
    if not part:
        return (lambda lines: [" ".join(x) for x in pieces.encode(lines, out_type=str)]), rule
    unknown = pieces.unk_id()

    def encode(lines: list[str]) -> list[str]:
        found = zip(pieces.encode(lines, out_type=str), pieces.encode(lines, out_type=int))
        return [
            " ".join(UNKNOWN if number == unknown else piece for piece, number in zip(*line))
            for line in found
        ]

    return encode, rule


def _segment_block(
    state: Any, left: list[str], right: list[str]
) -> tuple[int, list[str], list[str]]:
    encode, rule = state
    pairs = list(zip(encode(left), encode(right)))
    if rule:
        pairs = [pair for pair in pairs if fits(*pair, *rule)]
    return len(left), [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def load_bpe(path: Path) -> BPE:
    try:
        with one_line_errors(path), open(path, encoding="utf-8") as stream, _quiet():
            return BPE(stream)
    except (SystemExit, UnicodeDecodeError) as error:  # subword-nmt exits at a bad line
        raise PrepError(
            f"--bpe-codes {path}: not a file of BPE merges; each line has two symbols"
        ) from error


def _load_sentencepiece(path: Path) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_file=str(path))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what libraries write to stderr, also from C++."""
    with open(os.devnull, "w") as null:
        saved = os.dup(2)
        os.dup2(null.fileno(), 2)
        try:
            with contextlib.redirect_stderr(null):
                yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
