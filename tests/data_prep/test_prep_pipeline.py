"""From files to segmented text: cleaning, held-out splits, subwords; the same for any workers."""

import subprocess
import sys
from itertools import pairwise

import pytest
from prep_texts import own, read_side, sentences, tree, write_pairs

from data_prep.lib import blocks
from data_prep.lib.clean import fits
from data_prep.lib.subwords import _sample


@pytest.mark.parametrize(
    "left, right, kept",
    [(1, 1, True), (0, 1, False), (175, 175, True), (176, 175, False), (6, 4, True), (7, 4, False)],
)
def test_cleaning_bounds_are_those_of_clean_corpus_n(left, right, kept):
    assert fits("x " * left, "y " * right, 1, 175, 1.5) is kept
    assert fits("y " * right, "x " * left, 1, 175, 1.5) is kept


def test_every_23rd_clean_pair_is_valid(tmp_path, prep):
    """IWSLT's form: lower-cased, cleaned in words, held out by count."""
    raw, out = tmp_path / "raw", tmp_path / "out"
    pairs = [
        pair if n % 10 else (pair[0] + " so" * 40, pair[1]) for n, pair in enumerate(sentences(400))
    ]
    write_pairs(raw, "train", pairs)
    write_pairs(raw, "test", sentences(3))
    code, err = prep(out, "iwslt14", "--raw-dir", raw, "--from", "text", "--until", "text")
    assert code == 0, err
    clean = [pair for n, pair in enumerate(pairs) if n % 10]
    held = [pair for n, pair in enumerate(clean, 1) if n % 23 == 0]
    assert read_side(out, "raw", "valid") == [pair[0].lower() for pair in held]
    rest = [pair for n, pair in enumerate(clean, 1) if n % 23]
    assert read_side(out, "raw", "train", "en") == [pair[1].lower() for pair in rest]
    assert len(read_side(out, "tokenized", "train")) == len(rest)
    assert read_side(out, "tokenized", "valid", "en")[0] == held[0][1].lower()[:-1] + " ."


def test_own_text_is_split_three_ways_without_loss(tmp_path, prep):
    out = tmp_path / "out"
    code, err = prep(out, "own", *own(tmp_path / "own", 400), "--until", "text")
    assert code == 0, err
    parts = [read_side(out, "raw", split) for split in ("train", "valid", "test")]
    assert [len(part) for part in parts] == [320, 40, 40]
    assert sorted(line for part in parts for line in part) == sorted(p[0] for p in sentences(400))
    assert not (out / "tokenized").exists()


def test_too_little_text_to_hold_out(tmp_path, prep, one_line):
    out = tmp_path / "out"
    code, err = prep(out, "own", *own(tmp_path / "own", 5))
    assert code == 1 and not (out / "raw").exists()
    one_line(err, "too little text to hold out", "give files")


@pytest.mark.parametrize("bound", [("--most", 1), ("--most-pieces", 1)])
def test_bounds_that_leave_nothing(tmp_path, prep, one_line, bound):
    options = [*own(tmp_path / "own"), "--bpe", 10, *bound, "--until", "segment"]
    code, err = prep(tmp_path / "out", "own", *options)
    assert code == 1
    one_line(err, "train", "300 pairs" if bound[0] == "--most" else "240 pairs", "looser")


@pytest.mark.parametrize("kind, size", [("sentencepiece", 60), ("bpe", 50)])
def test_any_number_of_workers_gives_the_same_bytes(tmp_path, prep, monkeypatch, kind, size):
    monkeypatch.setattr(blocks.line_blocks, "__defaults__", (37,))
    options = [*own(tmp_path / "own"), f"--{kind}", size, "--tokens", "--until", "segment"]
    options += ["--most-pieces", 250, "--piece-ratio", 1.5]
    for workers in (1, 3):
        code, err = prep(tmp_path / str(workers), "own", *options, workers=workers)
        assert code == 0, err
    assert tree(tmp_path / "1") == tree(tmp_path / "3")


def test_bpe_is_that_of_subword_nmt(tmp_path, prep):
    out = tmp_path / "out"
    code, err = prep(out, "own", *own(tmp_path / "own"), "--bpe", 50, "--until", "segment")
    assert code == 0, err
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


def test_a_vocabulary_too_small_names_a_size_that_works(tmp_path, prep, one_line):
    rare = [chr(0x4E00 + n) for n in range(700)]
    pairs = [(f"{a}{b} {a}", f"word {n}") for n, (a, b) in enumerate(pairwise(rare))]
    options = [*own(tmp_path / "own", pairs=pairs), "--until", "segment", "--sentencepiece"]
    code, err = prep(tmp_path / "out", "own", *options, 300)
    assert code == 1
    one_line(err, "--sentencepiece 300", "different characters", "give --sentencepiece 2000")
    code, err = prep(tmp_path / "out", "own", *options, 2000)
    assert code == 0, err


def test_a_coverage_below_one_leaves_out_and_counts_the_rarest(tmp_path, prep):
    pairs = sentences(300)
    pairs[3] = (pairs[3][0] + " 龘", pairs[3][1])
    options = [*own(tmp_path / "own", pairs=pairs), "--sentencepiece", 60, "--until", "segment"]
    code, err = prep(tmp_path / "out", "own", *options, "--coverage", 0.9995)
    assert code == 0, err
    text = read_side(tmp_path / "out", "segmented", "train")
    assert sum(line.split().count("<unk>") for line in text) == 1
    provenance = (tmp_path / "out/provenance.json").read_text(encoding="utf-8")
    assert "1 pieces are of characters left out" in provenance


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
        found = blocks.line_blocks(path, 2)
        lines = [line for block in found for line in blocks.read_block(path, *block)]
        assert "\n".join(lines) + "\n" == (text if text.endswith("\n") else text + "\n")
