"""Checked reading: what is accepted, and one clear line for what is not."""

import bz2
import gzip
import lzma
import os
import sys
import unicodedata
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prep_texts import own, read_side, sentences, write_pairs, write_splits

from data_prep.lib import packed
from data_prep.lib.packed import PrepError
from data_prep.lib.texts import aligned, read_lines

TEXT = "Größe – ja\nzweite Zeile\n"


PACKED = {"gz": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress, "": bytes}


@pytest.mark.parametrize("how", PACKED)
@pytest.mark.parametrize("named", [True, False])
def test_packed_text_is_read_as_what_it_is_whatever_its_name(tmp_path, how, named):
    path = tmp_path / (f"a.{how}" if how and named else "a.de")
    path.write_bytes(PACKED[how](TEXT.encode("utf-8")))
    assert list(read_lines(path)) == ["Größe – ja", "zweite Zeile"]


def test_what_is_no_text_is_called_by_its_name(tmp_path):
    path = tmp_path / "a.en"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", "text")
    with pytest.raises(PrepError, match=r"a\.en: is a zip file; unpack it"):
        list(read_lines(path))
    for encoding in ("utf-16", "utf-16-le", "utf-16-be"):  # with a byte-order mark and without
        path.write_bytes(TEXT.encode(encoding))
        with pytest.raises(
            PrepError, match=r"UTF-16 file; convert it \(iconv -f UTF-16 -t UTF-8\)"
        ):
            list(read_lines(path))
    gz = tmp_path / "a.gz"
    gz.write_bytes(lzma.compress(b"text"))
    with pytest.raises(PrepError, match=r"a\.gz: .*says gzip, but it is a xz file"):
        list(read_lines(gz))


def test_a_pipe_or_device_is_refused_at_once(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, "/dev/zero"):
        with pytest.raises(PrepError, match="a pipe or device"):
            list(read_lines(type(tmp_path)(path)))
        with pytest.raises(PrepError, match="not a regular file"):
            packed.sha256_of(type(tmp_path)(path))


@pytest.mark.parametrize("line", [b"x\n", b"x" * 99])
def test_what_expands_without_end_is_refused_in_bounded_memory(tmp_path, monkeypatch, line):
    monkeypatch.setattr(packed, "SMALL", 1 << 20)
    path = tmp_path / "a.de.gz"
    path.write_bytes(gzip.compress(line * ((20 << 20) // len(line))))
    read = 0
    with pytest.raises(PrepError, match=r"a\.de\.gz"):
        for text in read_lines(path):
            read += len(text) + 1
    assert read < packed.SMALL + packed.EXPANSION * path.stat().st_size + packed.LONGEST_LINE
    # a packed file that is text is far below
    path.write_bytes(gzip.compress("\n".join(" ".join(p) for p in sentences(30000)).encode()))
    assert sum(1 for _ in read_lines(path)) == 30000


def test_only_newline_ends_a_line(tmp_path):
    path = tmp_path / "a.de"
    path.write_bytes("\ufeffa\u2028b\x85c\rd\r\ne\x0bf\tg\n\ufeffh\u200bi".encode())
    assert list(read_lines(path)) == ["a b c d", "e f\tg", " h i"]


def test_no_character_ends_a_line_or_glues_words_in_either_form(tmp_path, prep):
    """Every control and space character of Unicode between two words, in both forms."""
    odd = [
        chr(code)
        for code in range(sys.maxunicode + 1)
        if unicodedata.category(chr(code)) in ("Cc", "Zs", "Zl", "Zp") and chr(code) != "\n"
    ]
    odd += ["\u200b", "\ufeff"]
    pairs = [(f"Hund{c}läuft {n}", f"dog{c}runs {n}") for n, c in enumerate(odd * 2)]
    files = own(tmp_path / "own", pairs=pairs)
    for form in (["--sentencepiece", 60], ["--bpe", 20]):
        code, err = prep(tmp_path / form[0], "own", *files, *form, "--until", "segment")
        assert code == 0, err
        for split in ("train", "valid", "test"):
            raw = read_side(tmp_path / form[0], "raw", split)
            cut = read_side(tmp_path / form[0], "segmented", split)
            assert len(raw) == len(cut)
            for line, pieces in zip(raw, cut):
                assert line.split()[:2] == ["Hund", "läuft"]
                assert pieces.split() == pieces.split(" ")
                # as fairseq-preprocess reads it and --remove-bpe joins it again
                if form[0] == "--bpe":
                    again = (" ".join(pieces.split()) + " ").replace("@@ ", "")
                else:
                    again = "".join(pieces.split()).replace("▁", " ")
                assert again.split() == line.split()


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_text_is_read_to_the_same_number_of_lines(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.txt"
    path.write_bytes(b"start " + text.encode("utf-8"))
    lines = list(read_lines(path))
    assert len(lines) == len(("start " + text).removesuffix("\n").split("\n"))
    assert not any(
        unicodedata.category(c) in ("Cc", "Zl", "Zp") and c != "\t" for c in "".join(lines)
    )


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_in_one_line(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any.bin"
    for start in (b"", b"\x1f\x8b\x08", b"\xfd7zXZ\x00", b"BZh91AY&SY"):
        path.write_bytes(start + data)
        try:
            list(read_lines(path))
        except PrepError as error:
            assert "any.bin" in str(error) and "\n" not in str(error)


def test_undecodable_byte_is_named_by_file_and_line(tmp_path):
    path = tmp_path / "a.de"
    path.write_bytes("gut\nsch\xf6n\n".encode("latin-1"))
    with pytest.raises(PrepError, match=r"a\.de, line 2: byte 0xf6 at column 4 is not UTF-8"):
        list(read_lines(path))


@pytest.mark.parametrize("suffix, compress", [(".gz", gzip.compress), (".xz", lzma.compress)])
@pytest.mark.parametrize("damage", ["truncated", "not compressed"])
def test_damaged_compressed_files(tmp_path, suffix, compress, damage):
    data = compress(TEXT.encode() * 1000)
    path = tmp_path / f"a.de{suffix}"
    path.write_bytes(data[:-20] if damage == "truncated" else TEXT.encode())
    with pytest.raises(PrepError, match="truncated or damaged"):
        list(read_lines(path))


def test_absent_file(tmp_path):
    with pytest.raises(PrepError, match=r"a\.de: cannot be read"):
        list(read_lines(tmp_path / "a.de"))


@pytest.mark.parametrize("left, right", [(3, 5), (5, 3)])
def test_misaligned_sides_give_both_counts(left, right):
    with pytest.raises(PrepError, match=f"A has {left} lines and B has {right}: not aligned"):
        list(aligned(iter(["x"] * left), iter(["y"] * right), "A", "B"))


def test_empty_side_in_any_split_is_an_error_unless_dropped_from_train(tmp_path, prep, one_line):
    pairs = sentences(12)
    pairs[4] = (pairs[4][0], "  ")
    for split in ("train", "valid", "test"):
        write_pairs(tmp_path / "raw", split, pairs if split == "train" else sentences(3))
    options = ["multi30k", "--raw-dir", tmp_path / "raw", "--until", "get"]
    code, err = prep(tmp_path / "out", *options)
    assert code == 1 and not (tmp_path / "out").exists()
    one_line(err, "train.de + train.en, line 5: the target side is empty", "--drop-empty")
    code, err = prep(tmp_path / "out", *options, "--drop-empty")
    assert code == 0, err
    assert len(read_side(tmp_path / "out", "raw", "train")) == 11
    write_pairs(tmp_path / "raw", "test", [("a", ""), ("b", "c")])  # never dropped from test
    code, err = prep(tmp_path / "out", *options, "--drop-empty")
    assert code == 1
    one_line(err, "test.de + test.en, line 1")
    assert "--drop-empty" not in err.splitlines()[-1]  # which would not help


def test_a_side_that_shows_nothing_is_empty(tmp_path, prep, one_line):
    """Joiners, a soft hyphen, marks of direction; within a word they stay."""
    pairs = sentences(12)
    pairs[4] = (pairs[4][0], "\u200d\u2060\u00ad \u200e")
    pairs[5] = ("می\u200cخواهم", pairs[5][1])
    for split in ("train", "valid", "test"):
        write_pairs(tmp_path / "raw", split, pairs if split == "train" else sentences(3))
    options = ["multi30k", "--raw-dir", tmp_path / "raw", "--until", "get"]
    one_line(prep(tmp_path / "out", *options)[1], "line 5: the target side is empty")
    assert prep(tmp_path / "out", *options, "--drop-empty")[0] == 0
    assert "می\u200cخواهم" in read_side(tmp_path / "out", "raw", "train")


def test_a_file_without_text(tmp_path, prep, one_line):
    for split in ("train", "valid", "test"):
        write_pairs(tmp_path / "raw", split, [])
    code, err = prep(tmp_path / "out", "multi30k", "--raw-dir", tmp_path / "raw")
    assert code == 1
    one_line(err, "no text at all")


MARKED = {
    "segmented": lambda line: " ".join(f"{word[:2]}@@ {word[2:]}" for word in line.split()),
    "tokenized": lambda line: line.replace(".", " .").replace("a", "a &apos;"),
    "pieces": lambda line: " ".join("▁" + word for word in line.split()),
}


@pytest.mark.parametrize("form", MARKED)
@pytest.mark.parametrize("role", ["--src", "--tgt", "--valid-tgt"])
def test_text_that_is_processed_already_is_no_plain_text(tmp_path, prep, one_line, form, role):
    files = own(tmp_path / "own", 200)
    files += ["--valid-src", write_pairs(tmp_path / "own", "valid", sentences(50, 1))[0]]
    files += ["--valid-tgt", tmp_path / "own/valid.en"]
    path = files[files.index(role) + 1]
    text = path.read_text(encoding="utf-8").splitlines()
    path.write_text("".join(MARKED[form](line) + "\n" for line in text), encoding="utf-8")
    code, err = prep(tmp_path / "out", "own", *files)
    assert code == 1 and not (tmp_path / "out").exists()
    one_line(err, str(path), "no plain text", f"of its first {len(text)} lines")
    one_line(err, "spm_decode" if form == "pieces" else f"--from {form}")
    code, err = prep(tmp_path / "out", "own", *files, "--from", "raw", "--until", "get")
    assert code == 0 and f"note: {path.name} was taken for raw text" in err


def test_segmented_text_is_undone_where_the_user_says_so(tmp_path, prep):
    plain = [(f"{a[:-1]} .", f"{b[:-1]} .") for a, b in sentences(200)]
    cut = [tuple(MARKED["segmented"](side) for side in pair) for pair in plain]
    files = own(tmp_path / "own", pairs=cut)
    options = ["--from", "segmented", "--until", "text"]
    code, err = prep(tmp_path / "out", "own", *files, *options)
    assert code == 0, err
    kept = [
        line for s in ("train", "valid", "test") for line in read_side(tmp_path / "out", "raw", s)
    ]
    assert sorted(kept) == sorted(pair[0] for pair in sentences(200))


def test_marks_that_plain_text_has_now_and_then_are_left_alone(tmp_path, prep):
    pairs = sentences(300)
    for n in range(0, 300, 3):  # a text about diffs: hunk headers in a third of its lines
        pairs[n] = (f"@@ -{n},3 +1,4 @@ {pairs[n][0]}", f"@@ -{n},3 +1,4 @@ {pairs[n][1]}")
    pairs[1] = (pairs[1][0] + " x@@ y", pairs[1][1] + " R&amp;D .")
    code, err = prep(tmp_path / "out", "own", *own(tmp_path / "own", pairs=pairs), "--until", "get")
    assert code == 0 and "note" not in err, err


def test_a_corpus_with_processed_text_gets_a_note(tmp_path, prep):
    write_splits(tmp_path / "raw")
    path = tmp_path / "raw/test.en"
    path.write_text("".join(MARKED["segmented"](x) + "\n" for x in path.read_text().splitlines()))
    code, err = prep(tmp_path / "out", "multi30k", "--raw-dir", tmp_path / "raw", "--until", "get")
    assert code == 0 and "note: test.en was taken for raw text" in err
