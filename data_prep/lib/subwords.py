"""Subwords: sentencepiece on plain text, or subword-nmt's BPE on tokens; learned jointly."""

import contextlib
import io
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import sentencepiece
from subword_nmt.apply_bpe import BPE
from subword_nmt.learn_bpe import learn_bpe

from .errors import PrepError
from .parallel import map_blocks
from .stages import Report, Run, say, stage, tool_versions
from .texts import one_line_errors

# Memory of the learners grows with their input. These bounds keep 4.5 M pairs under 1.5 GB;
# corpora below them (IWSLT, Multi30k) are used whole.
SENTENCEPIECE_BYTES = 40_000_000  # of both sides together; 20 bytes of memory for each
BPE_TYPES = 500_000  # most frequent words; the rest of WMT is seen once or twice
# sentencepiece adds up per thread: a fixed number keeps the model the same on any machine.
SENTENCEPIECE_THREADS = 4

MODEL = {"sentencepiece": "sentencepiece.model", "bpe": "bpe.codes"}


def learn(run: Run, folder: str, kind: str, size: int, codes: Path | None = None) -> None:
    """Stage `learn`: one joint model of `size` pieces (sentencepiece) or merges (bpe).

    With `codes`, that file is used instead of learning.
    """
    output = run.out / MODEL[kind]
    params = {
        "kind": kind,
        "size": size,
        "from": folder,
        **tool_versions("sentencepiece" if kind == "sentencepiece" else "subword-nmt"),
    }

    def work(partial: Callable[[Path], Path]) -> Report:
        if codes:
            shutil.copyfile(codes, partial(output))
            _load_bpe(partial(output))
            return {"notes": [f"merges given, not learned: {codes.name}"]}
        train = run.texts(folder, "train")
        if kind == "bpe":
            return _learn_bpe(train, partial(output), size, run.workers)
        return _learn_sentencepiece(train, partial(output), size)

    inputs = [codes] if codes else run.texts(folder, "train")
    if codes:
        params["size"] = None
    stage(run, "learn", inputs, params, [output], work)


def _learn_sentencepiece(train: list[Path], output: Path, size: int) -> Report:
    model = io.BytesIO()
    try:
        with _quiet():
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=_sample(train, SENTENCEPIECE_BYTES),
                model_writer=model,  # not a path: the model's bytes would contain it
                vocab_size=size,
                character_coverage=1.0,
                num_threads=SENTENCEPIECE_THREADS,
                hard_vocab_limit=False,
                minloglevel=2,
            )
    except (RuntimeError, OSError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise PrepError(
            f"--sentencepiece {size}: cannot be learned from this text ({reason}); "
            "take another size or more text"
        ) from error
    output.write_bytes(model.getvalue())
    pieces = _load_sentencepiece(output).get_piece_size()
    if pieces < size:
        say(f"learn: the text supports {pieces:,} pieces, not {size:,}")
    return {"pieces": pieces}


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
    return {"words": len(counts), "words_used": len(most)}


def _count_words(_: None, lines: list[str]) -> Counter:
    # As subword-nmt counts: split at spaces only.
    return Counter(word for line in lines for word in line.strip("\r\n ").split(" ") if word)


def segment(run: Run, folder: str, kind: str, most: int = 0, ratio: float = 0.0) -> None:
    """Stage `segment`: OUT/<folder> -> OUT/segmented with the learned model.

    Pairs of train without a piece on one side are dropped, and with `most` or `ratio` also
    those with more pieces or a larger length ratio (clean-corpus-n); all are counted.
    """
    splits = run.splits(folder)
    model = run.out / MODEL[kind]
    inputs = [model, *(path for split in splits for path in run.texts(folder, split))]
    outputs = [path for split in splits for path in run.texts("segmented", split)]
    params = {"kind": kind, "from": folder, "most_pieces": most, "ratio": ratio}

    def work(partial: Callable[[Path], Path]) -> Report:
        lines = {}
        for split in splits:
            rule = (1, most, ratio) if split == "train" else None
            lines[split] = _segment_split(run, folder, split, kind, model, rule, partial)
        return {"lines": lines}

    stage(run, "segment", inputs, params, outputs, work)


def _segment_split(
    run: Run,
    folder: str,
    split: str,
    kind: str,
    model: Path,
    rule: tuple[int, int, float] | None,
    partial: Callable[[Path], Path],
) -> dict[str, int]:
    read = kept = 0
    outputs = [partial(path) for path in run.texts("segmented", split)]
    with contextlib.ExitStack() as stack:
        streams = [
            stack.enter_context(open(path, "w", encoding="utf-8", newline="\n")) for path in outputs
        ]
        for count, *texts in map_blocks(
            run.texts(folder, split),
            _segment_block,
            setup=_segmenter,
            setup_args=(kind, model, rule),
            workers=run.workers,
            title=f"segment {split}",
        ):
            for stream, lines in zip(streams, texts):
                stream.writelines(line + "\n" for line in lines)
            read += count
            kept += len(texts[0])
    return {"read": read, "cleaned": read - kept, "kept": kept}


def _segmenter(kind: str, model: Path, rule: Any) -> tuple[Callable[[list[str]], list[str]], Any]:
    if kind == "bpe":
        bpe = _load_bpe(model)
        return (lambda lines: [bpe.process_line(line) for line in lines]), rule
    pieces = _load_sentencepiece(model)
    return (lambda lines: [" ".join(found) for found in pieces.encode(lines, out_type=str)]), rule


def _segment_block(
    state: Any, left: list[str], right: list[str]
) -> tuple[int, list[str], list[str]]:
    encode, rule = state
    pairs = list(zip(encode(left), encode(right)))
    if rule:
        pairs = [pair for pair in pairs if fits(*pair, *rule)]
    return len(left), [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def fits(left: str, right: str, least: int, most: int, ratio: float) -> bool:
    """Moses' clean-corpus-n: least..most tokens a side, and neither side `ratio` times longer.

    `most` or `ratio` 0 is no bound.
    """
    a, b = len(left.split()), len(right.split())
    if min(a, b) < least or (most and max(a, b) > most):
        return False
    return not ratio or (a <= ratio * b and b <= ratio * a)


def _load_bpe(path: Path) -> BPE:
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
