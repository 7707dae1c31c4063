"""Data folders that are damaged or do not fit: one line with the file and the remedy, before any
scale is learned; never a trace, never a training on something else."""

import itertools
import os
import shutil
import struct

import pytest
from corpus import binarise, binarise_target, write_corpus
from fairseq import options
from fairseq.data import Dictionary
from fairseq.data.huffman import HuffmanMMapIndex
from fairseq.data.indexed_dataset import IndexedDataset, MMapIndexedDataset
from fairseq_cli import preprocess
from fairseq_runs import run, train, train_arguments
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fairseq_gradinit.data_files import HEADER, Side, check_sides
from fairseq_gradinit.gradinit import GradInitError

GRADINIT = [
    *("--gradinit", "--gradinit-iters=1", "--gradinit-lookahead=1", "--gradinit-trial=1"),
    *("--gradinit-start=fixed", "--max-tokens=120", "--encoder-layers=1", "--decoder-layers=1"),
]
SENTENCES = 60
SIZE, PLACE = HEADER.size + 4 * 5, HEADER.size + 4 * SENTENCES + 8 * 5  # of the sixth sentence
AGAIN = "run fairseq-preprocess (or data_prep) again, into a new folder"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad")
    write_corpus(folder, {"train": SENTENCES, "valid": 8})
    return binarise(folder)


@pytest.fixture(scope="module")
def data_folder(data, tmp_path_factory):
    return shutil.copytree(data, tmp_path_factory.mktemp("changed") / "data")


def first(share):
    return lambda file: file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])


def other(at, value, code):
    def act(file):
        content = bytearray(file.read_bytes())
        struct.pack_into(code, content, at, value)
        file.write_bytes(content)

    return act


def of_valid(file):
    shutil.copy(file.with_name(file.name.replace("train", "valid")), file)


def as_folder(file):
    file.unlink()
    file.mkdir()


def as_pipe(file):
    file.unlink()
    os.mkfifo(file)


def lines(count):
    return lambda file: file.write_text("".join(file.open().readlines()[:count]))


DAMAGES = {
    "bin-cut": ("train.de-en.{}.bin", first(0.5), "does not fit its .bin of"),
    "bin-empty": ("train.de-en.{}.bin", first(0), "does not fit its .bin of 0 bytes"),
    "bin-of-zeros": (
        "train.de-en.{}.bin",
        lambda file: file.write_bytes(bytes(file.stat().st_size)),
        "damaged (sentence 1 ends in <s>)",
    ),
    "bin-other-words": ("train.de-en.{}.bin", other(40, 60_000, "<H"), "holds token 60000, but"),
    "bin-of-another": ("train.de-en.{}.bin", of_valid, "does not fit its .bin of"),
    "bin-missing": ("train.de-en.{}.bin", lambda file: file.unlink(), ".bin: missing; run"),
    "bin-folder": ("train.de-en.{}.bin", as_folder, ".bin: is not a regular file"),
    "idx-cut": ("train.de-en.{}.idx", first(0.5), "cut short or damaged ("),
    "idx-empty": ("train.de-en.{}.idx", first(0), "not an index of fairseq's"),
    "idx-header": ("train.de-en.{}.idx", other(0, ord("G"), "B"), "not an index of fairseq's"),
    "idx-version": ("train.de-en.{}.idx", other(9, 7, "<Q"), "damaged (version 7, type of tok"),
    "idx-type": ("train.de-en.{}.idx", other(17, 99, "B"), "type of tokens 99)"),
    "idx-width": ("train.de-en.{}.idx", other(17, 4, "B"), "does not fit its .bin of"),
    "idx-count": ("train.de-en.{}.idx", other(18, 2**64 - 1, "<Q"), "cut short or damaged ("),
    "idx-size": ("train.de-en.{}.idx", other(SIZE, 10**6, "<i"), "does not fit its .bin of"),
    "idx-negative": ("train.de-en.{}.idx", other(SIZE, -5, "<i"), "does not fit its .bin of"),
    "idx-no-size": ("train.de-en.{}.idx", other(SIZE, 0, "<i"), "does not fit its .bin of"),
    "idx-place": ("train.de-en.{}.idx", other(PLACE, -(10**9), "<q"), "does not fit its .bin"),
    "idx-missing": ("train.de-en.{}.idx", lambda file: file.unlink(), ".idx: missing; run"),
    "valid-cut": ("valid.de-en.{}.bin", first(0.5), "does not fit its .bin of"),
    "dict-shorter": ("dict.{}.txt", lines(40), "--share-all-embeddings: dict.de.txt of"),
    "dict-no-counts": ("dict.{}.txt", lambda f: f.write_text("hello\n"), "no dictionary of fairs"),
    "dict-bytes": ("dict.{}.txt", lambda f: f.write_bytes(b"\xff\xfe a 1"), "no dictionary of fa"),
    "dict-missing": ("dict.{}.txt", lambda f: f.unlink(), "cannot be read (No such file"),
    "bin-pipe": ("train.de-en.{}.bin", as_pipe, ".bin: is not a regular file"),
    "dict-pipe": ("dict.{}.txt", as_pipe, "is not a regular file"),
    "dict-folder": ("dict.{}.txt", as_folder, "is not a regular file"),
}


# A damage of either side in turn, so that both are looked at.
@pytest.mark.parametrize(
    "side, damage", zip(itertools.cycle(("de", "en")), DAMAGES.values()), ids=DAMAGES
)
def test_a_damaged_file_is_named(data, tmp_path, side, damage):
    name, act, says = damage
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    act(folder / name.format(side))
    message = refusal(folder, tmp_path / "run")
    assert says in message
    if "--share" not in message:
        assert f"{folder / name.format(side)}"[:-3] in message  # the index, for some of its .bin
    assert not (tmp_path / "run" / "gradinit" / "scales.json").exists()


def refusal(folder, save_dir, *flags):
    """The one line with which training on a folder is refused."""
    with pytest.raises(SystemExit) as caught:
        train(folder, save_dir, *GRADINIT, *flags)
    message = str(caught.value)
    assert message.startswith("fairseq-train: error: ") and "\n" not in message
    assert "; " in message  # a remedy
    return message


def test_what_is_not_damaged_is_trained_on(data, tmp_path):
    train(data, tmp_path, *GRADINIT)
    assert (tmp_path / "gradinit" / "scales.json").exists()


def test_a_dictionary_of_another_text_is_refused_without_shared_embeddings(data, tmp_path):
    shutil.copytree(data, tmp_path / "data")
    lines(40)(tmp_path / "data" / "dict.en.txt")
    given = train_arguments(tmp_path / "data", tmp_path / "run", *GRADINIT)
    with pytest.raises(SystemExit, match=r"but dict\.en\.txt has 44 words; give the dictionary"):
        run([flag for flag in given if flag != "--share-all-embeddings"])


def test_no_folder(tmp_path):
    assert "no such folder; give the one" in refusal(tmp_path / "nowhere", tmp_path / "run")
    (tmp_path / "empty").mkdir()
    assert "no binarised languages there" in refusal(tmp_path / "empty", tmp_path / "run")


def test_a_later_piece_of_the_train_split_is_checked_too(data, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    for file in list(folder.glob("valid.*")):
        shutil.copy(file, folder / file.name.replace("valid", "train1"))
    first(0.5)(folder / "train1.de-en.en.bin")
    assert f"{folder}/train1.de-en.en.idx: does not fit" in refusal(folder, tmp_path / "run")


def write(folder, **texts):
    """The data-bin of given texts: `train_de="a\\nb\\n"`."""
    folder.mkdir()
    for name, text in {"valid_de": "a b\n" * 8, "valid_en": "x y\n" * 8, **texts}.items():
        (folder / name.replace("_", ".")).write_text(text, encoding="utf-8")
    arguments = ["-s=de", "-t=en", "--joined-dictionary", f"--destdir={folder / 'data-bin'}"]
    arguments += [f"--{split}pref={folder / split}" for split in ("train", "valid")]
    preprocess.main(options.get_preprocessing_parser().parse_args(arguments))
    return folder / "data-bin"


def test_a_train_split_without_a_sentence(tmp_path):
    data = write(tmp_path / "text", train_de="", train_en="")
    assert "holds no sentence; give a split" in refusal(data, tmp_path / "run")


def test_sides_of_different_lengths(tmp_path):
    data = write(tmp_path / "text", train_de="a b\n" * 9, train_en="x y\n" * 8)
    message = refusal(data, tmp_path / "run")
    assert "train.de-en.de 9 and train.de-en.en 8 sentences; give both sides of one" in message


def test_sentences_longer_than_the_positions(tmp_path):
    """In train those that fit are trained on, and a split without one is refused; in valid, one."""
    long, short = "a " * 40 + "\n", "a b c\n"
    positions = ["--max-source-positions=16", "--max-target-positions=16"]
    data = write(tmp_path / "some", train_de=(long + short) * 9, train_en=(short + short) * 9)
    train(data, tmp_path / "some" / "run", *GRADINIT, *positions)
    assert (tmp_path / "some" / "run" / "gradinit" / "scales.json").exists()
    data = write(tmp_path / "all", train_de=long * 9, train_en=short * 9)
    assert "no sentence short enough" in refusal(data, tmp_path / "all" / "run", *positions)
    texts = {
        "train_de": short * 9,
        "train_en": short * 9,
        "valid_de": long * 8,
        "valid_en": short * 8,
    }
    data = write(tmp_path / "valid", **texts)
    message = refusal(data, tmp_path / "valid" / "run", *positions)
    assert "--valid-subset valid: " in message
    assert "--skip-invalid-size-inputs-valid-test" in message
    skipping = "--skip-invalid-size-inputs-valid-test"
    message = refusal(data, tmp_path / "valid" / "run", *positions, skipping)
    assert "makes no batch of its 8 sentence(s)" in message


def test_a_valid_split_of_one_sentence(tmp_path):
    """Known before the scales are learned, not after."""
    short = "a b c\n"
    texts = {"train_de": short * 9, "train_en": short * 9, "valid_de": short, "valid_en": short}
    data = write(tmp_path / "text", **texts)
    assert "no batch of its 1 sentence(s) in multiples of 8" in refusal(data, tmp_path / "run")
    train(data, tmp_path / "run", *GRADINIT, "--required-batch-size-multiple=1")
    train(data, tmp_path / "none", *GRADINIT, "--disable-validation")


def test_a_language_model(tmp_path):
    write_corpus(tmp_path / "text", {"train": SENTENCES, "valid": 40})
    data = binarise_target(tmp_path / "text")
    for file, act, says in (
        ("train.bin", other(40, 60_000, "<H"), "holds token 60000, but dict.txt has"),
        ("train.idx", first(0.5), "cut short or damaged"),
        ("dict.txt", as_folder, "dict.txt: is not a regular file"),
    ):
        broken = tmp_path / f"broken-{file}"
        shutil.copytree(data, broken)
        act(broken / file)
        arguments = [str(broken), "--task=language_modeling_gradinit", "--arch=transformer_lm"]
        arguments += ["--decoder-layers=1", "--decoder-embed-dim=16", "--decoder-ffn-embed-dim=16"]
        arguments += ["--decoder-attention-heads=2", "--tokens-per-sample=16", "--max-tokens=120"]
        arguments += ["--optimizer=adam", "--lr=1e-3", "--cpu", "--max-update=1", "--gradinit"]
        with pytest.raises(SystemExit, match=says):
            run([*arguments, f"--save-dir={tmp_path / 'run'}"])


@pytest.mark.parametrize("magic", [IndexedDataset._HDR_MAGIC, HuffmanMMapIndex._HDR_MAGIC])
def test_other_formats_are_left_to_fairseq(tmp_path, magic):
    side = Side(tmp_path / "train.de-en.de", Dictionary(), "dict.de.txt")
    check_sides([side])  # nothing there
    for file in side.files:
        file.write_bytes(magic + bytes(99))
    check_sides([side])
    side.files[0].write_bytes(b"x" + magic + bytes(99))
    with pytest.raises(GradInitError, match="not an index of fairseq's"):
        check_sides([side])


@example(at=17, flip=8 ^ 3)
@given(at=st.integers(0, HEADER.size + 12 * SENTENCES - 1), flip=st.integers(1, 255))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_no_change_of_an_index_is_read_as_another_text(data_folder, at, flip):
    """Whatever byte of an .idx is another, it is refused, or (a signed type of the same width)
    fairseq reads the sentences that were written."""
    words = Dictionary.load(str(data_folder / "dict.de.txt"))
    side = Side(data_folder / "train.de-en.de", words, "")
    index, before = side.files[0], data_folder / "before"
    if not before.exists():
        shutil.copy(index, before)
        for file in side.files:
            shutil.copy(file, data_folder / f"right.{file.name[-3:]}")
    content = bytearray(before.read_bytes())
    content[at] ^= flip
    index.write_bytes(content)
    try:
        check_sides([side])
    except GradInitError as error:
        assert str(error).isprintable()
        return
    found, wanted = (MMapIndexedDataset(str(data_folder / n)) for n in (side.prefix.name, "right"))
    assert len(found) == len(wanted)
    assert all(found[i].equal(wanted[i]) for i in range(len(wanted)))
