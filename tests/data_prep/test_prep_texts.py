"""Checked reading: what is accepted, and one clear line for what is not."""

import gzip
import lzma
from pathlib import Path

import pytest
from prep_texts import sentences, write_pairs

from data_prep.lib.dictionary import from_apt
from data_prep.lib.errors import PrepError
from data_prep.lib.texts import aligned, read_lines

TEXT = "Größe – ja\nzweite Zeile\n"


@pytest.mark.parametrize("suffix, opener", [("", open), (".gz", gzip.open), (".xz", lzma.open)])
def test_plain_gz_and_xz_read_alike(tmp_path, suffix, opener):
    path = tmp_path / f"a.de{suffix}"
    with opener(path, "wb") as stream:
        stream.write(TEXT.encode("utf-8"))
    assert list(read_lines(path)) == ["Größe – ja", "zweite Zeile"]


def test_only_newline_ends_a_line(tmp_path):
    path = tmp_path / "a.de"
    path.write_bytes("\ufeffa\u2028b\x85c\rd\r\ne\x0bf".encode())
    # fairseq reads a lone \r as a line end, so it must not survive; the others must not split.
    assert list(read_lines(path)) == ["a\u2028b\x85c d", "e\x0bf"]


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


def test_empty_side_in_any_split_is_an_error_unless_dropped_from_train(tmp_path, stage, one_line):
    pairs = sentences(12)
    pairs[4] = (pairs[4][0], "  ")
    for split in ("train", "valid", "test"):
        write_pairs(tmp_path / "raw", split, pairs if split == "train" else sentences(3))
    get = ["get", "multi30k", "--raw-dir", tmp_path / "raw"]
    code, err = stage(tmp_path / "out", *get)
    assert code == 1 and not (tmp_path / "out").exists()
    one_line(err, "train.de + train.en, line 5: the target side is empty", "--drop-empty")
    code, err = stage(tmp_path / "out", *get, "--drop-empty")
    assert code == 0, err
    assert len((tmp_path / "out/raw/train.de").read_text().splitlines()) == 11
    write_pairs(tmp_path / "raw", "test", [("a", ""), ("b", "c")])  # never dropped from test
    code, err = stage(tmp_path / "out", *get, "--drop-empty")
    assert code == 1
    one_line(err, "test.de + test.en, line 1")


def test_a_file_without_text(tmp_path, stage, one_line):
    for split in ("train", "valid", "test"):
        write_pairs(tmp_path / "raw", split, [])
    code, err = stage(tmp_path / "out", "get", "multi30k", "--raw-dir", tmp_path / "raw")
    assert code == 1
    one_line(err, "no text at all")


def test_dictionary_package_unpacks_below_a_relative_folder(tmp_path, monkeypatch):
    """The quickstart's --out is relative; apt-get and dpkg-deb run in the folder of the package."""
    programs = tmp_path / "bin"
    programs.mkdir()
    commands = {
        "apt-get": "echo phrases > trans-de-en_1_all.deb",
        "dpkg-deb": 'mkdir -p "$3/usr/share/trans" && cp "$2" "$3/usr/share/trans/de-en"',
    }
    for name, command in commands.items():
        (programs / name).write_text(f"#!/bin/sh\n{command}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    assert from_apt(Path("out/downloads")).read_text() == "phrases\n"
