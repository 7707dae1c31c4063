"""From files to segmented text: cleaning, held-out splits, subwords; the same for any workers."""

import subprocess
import sys

import pytest
from prep_texts import sentences, tree, write_pairs

from data_prep.lib import parallel
from data_prep.lib.subwords import _sample, fits


def get_own(tmp_path, stage, out, count=400, **more):
    """Stage `get` on generated text; returns its pairs."""
    pairs = sentences(count)
    source, target = write_pairs(tmp_path / "own", "train", pairs)
    code, err = stage(out, "get", "own", "--train", source, target, "--to", "work/source", **more)
    assert code == 0, err
    return pairs


def read(out, folder, split, language="de"):
    return (out / folder / f"{split}.{language}").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(
    "left, right, kept",
    [(1, 1, True), (0, 1, False), (175, 175, True), (176, 175, False), (6, 4, True), (7, 4, False)],
)
def test_cleaning_bounds_are_those_of_clean_corpus_n(left, right, kept):
    assert fits("x " * left, "y " * right, 1, 175, 1.5) is kept
    assert fits("y " * right, "x " * left, 1, 175, 1.5) is kept


def test_every_23rd_clean_pair_is_valid(tmp_path, stage):
    out = tmp_path / "out"
    pairs = get_own(tmp_path, stage, out)
    pairs = [pair if n % 10 else (pair[0] + " so" * 40, pair[1]) for n, pair in enumerate(pairs)]
    write_pairs(out / "work/source", "train", pairs)
    standard = ["--lowercase", "--most", 175, "--ratio", 1.5, "--hold-out", "valid", "--every", 23]
    code, err = stage(out, "text", *standard)
    assert code == 0, err
    clean = [pair for n, pair in enumerate(pairs) if n % 10]
    held = [pair for n, pair in enumerate(clean, 1) if n % 23 == 0]
    assert read(out, "raw", "valid") == [pair[0].lower() for pair in held]
    rest = [pair for n, pair in enumerate(clean, 1) if n % 23]
    assert read(out, "raw", "train", "en") == [pair[1].lower() for pair in rest]
    assert len(read(out, "tokenized", "train")) == len(rest)
    assert read(out, "tokenized", "valid", "en")[0] == held[0][1].lower()[:-1] + " ."


def test_own_text_is_split_three_ways_without_loss(tmp_path, stage):
    out = tmp_path / "out"
    pairs = get_own(tmp_path, stage, out)
    code, err = stage(out, "text", "--no-tokens", "--hold-out", "valid", "test")
    assert code == 0, err
    parts = [read(out, "raw", split) for split in ("train", "valid", "test")]
    assert [len(part) for part in parts] == [320, 40, 40]
    assert sorted(line for part in parts for line in part) == sorted(pair[0] for pair in pairs)
    assert not (out / "tokenized").exists()


def test_too_little_text_to_hold_out(tmp_path, stage, one_line):
    out = tmp_path / "out"
    get_own(tmp_path, stage, out, count=5)
    code, err = stage(out, "text", "--no-tokens", "--hold-out", "valid", "test")
    assert code == 1 and not (out / "raw").exists()
    one_line(err, "too little text to hold out", "give files")


@pytest.mark.parametrize("kind, size", [("sentencepiece", 60), ("bpe", 50)])
def test_any_number_of_workers_gives_the_same_bytes(tmp_path, stage, monkeypatch, kind, size):
    monkeypatch.setattr(parallel, "BLOCK", 37)
    monkeypatch.setattr(parallel.line_blocks, "__defaults__", (37,))
    for workers in (1, 3):
        out = tmp_path / str(workers)
        get_own(tmp_path, stage, out)
        folder = "raw" if kind == "sentencepiece" else "tokenized"
        for name, *options in (
            ("text", "--hold-out", "valid", "test"),
            ("learn", kind, "--size", size, "--from", folder),
            ("segment", kind, "--from", folder, "--most", 250, "--ratio", 1.5),
        ):
            code, err = stage(out, name, *options, workers=workers)
            assert code == 0, err
    assert tree(tmp_path / "1") == tree(tmp_path / "3")


def test_bpe_is_that_of_subword_nmt(tmp_path, stage):
    out = tmp_path / "out"
    get_own(tmp_path, stage, out)
    stage(out, "text", "--hold-out", "valid")
    stage(out, "learn", "bpe", "--size", 50, "--from", "tokenized")
    stage(out, "segment", "bpe", "--from", "tokenized")
    for language in ("de", "en"):
        text = (out / f"tokenized/valid.{language}").read_bytes()
        command = [sys.executable, "-m", "subword_nmt.apply_bpe", "-c", str(out / "bpe.codes")]
        theirs = subprocess.run(command, input=text, capture_output=True, check=True).stdout
        assert (out / f"segmented/valid.{language}").read_bytes() == theirs
    # learned as fairseq's recipe does: on both sides of train, one after the other
    both = b"".join((out / f"tokenized/train.{lang}").read_bytes() for lang in ("de", "en"))
    command = [sys.executable, "-m", "subword_nmt.learn_bpe", "-s", "50"]
    theirs = subprocess.run(command, input=both, capture_output=True, check=True).stdout
    assert (out / "bpe.codes").read_bytes() == theirs


@pytest.mark.parametrize(
    "options, words",
    [
        (["learn", "sentencepiece", "--size", 10], ["--sentencepiece 10", "cannot be learned"]),
        (["learn", "bpe", "--size", "x"], ["--size", "'x'"]),
        (
            ["learn", "bpe", "--size", 5, "--bpe-codes", "own/train.de"],
            ["not a file of BPE merges"],
        ),
        (["learn", "bpe", "--size", 5, "--bpe-codes", "none"], ["none: cannot be read"]),
        (["text", "--ratio", "0.5"], ["--ratio", "1 or more"]),
        (["binarise", "--dict", "none"], ["dict.de.txt: cannot be read"]),
    ],
    ids=lambda value: " ".join(map(str, value[:1])) if isinstance(value, list) else value,
)
def test_bad_options_are_one_line(tmp_path, stage, one_line, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    get_own(tmp_path, stage, out)
    stage(out, "text", "--hold-out", "valid")
    before = tree(out)
    code, err = stage(out, *options)
    assert code == 1 and tree(out) == before
    one_line(err, *words)


@pytest.mark.parametrize("languages", [("de", "de"), ("de", "../en"), ("", "en")])
def test_bad_language_codes(tmp_path, stage, one_line, languages):
    code, err = stage(tmp_path / "out", "card", languages=languages)
    assert code == 1
    one_line(err, "language")


def test_sentencepiece_sample_is_bounded_and_spread(tmp_path):
    paths = write_pairs(tmp_path, "train", sentences(1000))
    size = sum(path.stat().st_size for path in paths)
    assert len(list(_sample(paths, size))) == 2000
    lines = list(_sample(paths, size // 10 + 1))
    assert len(lines) == 200 and lines[1].endswith(" 10.")


def test_blocks_cover_the_file_and_keep_lines_whole(tmp_path):
    path = tmp_path / "a"
    for text in ("ä\n\nb\u2028c\nlast", "one\n", "\n\n\n"):
        path.write_text(text, encoding="utf-8")
        blocks = parallel.line_blocks(path, 2)
        lines = [line for block in blocks for line in parallel.read_block(path, *block)]
        assert "\n".join(lines) + "\n" == (text if text.endswith("\n") else text + "\n")
