"""The real IWSLT'14 files: valid and test to the byte, the published ids."""

import hashlib
import json

# sha256 of the tokenized files that fairseq's recipe gives, and of their BPE form as
# `subword-nmt apply-bpe -c code` gives it.
TOKENIZED = {
    "valid.de": "3f051579c9d8c7281a6ea8c72ad4ae09dbaa9bb24dfd41166f2c3a3df7cd940a",
    "valid.en": "e6d7317a9772cd1ed970910c611e9e7dada1f34439269b44a9d801334bff948d",
    "test.de": "e718c783e33160b7d72af8f733756a466e0d0c016eff8ab624c1b0d1d01cbbdf",
    "test.en": "4b127beb9050511a3e6209cd837ff36f623a3a423666b32aba6e208b7330cf4c",
}
SEGMENTED = {
    "valid.de": "27660c689b99b54f0f858775527ff351c520f7581be90aac84b6d16f14624c9e",
    "valid.en": "1b1f2246625cc907fbd9c8195776434b24687c3fc4e068c6f3d3ec542846823f",
    "test.de": "0bca28e500495a4a9694ae134b0ae35526a280cb0966abbcf3c9af3edc3dfe10",
    "test.en": "c2951533a0b03557599978ea1726c440bdbb8210454d1e9ef3b87c2b6228ac43",
}


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_iwslt14_valid_and_test_are_the_published_ones(tmp_path, script, shared_data):
    from fairseq.data import data_utils

    folder, out = shared_data / "iwslt14.de-en", tmp_path / "out"
    published = ["--bpe-codes", folder / "bpe.codes", "--dict", folder]
    done = script(
        "iwslt14_de_en.sh",
        "--out",
        out,
        "--raw-dir",
        shared_data,
        "--from",
        "tokenized",
        *published,
        "--limit",
        7283,  # all of valid and test, a part of train: the test must be quick
        "--workers",
        2,
        LC_ALL="C",
    )
    assert done.returncode == 0, done.stderr
    for name, digest in TOKENIZED.items():
        assert sha256(out / "tokenized" / name) == digest
        assert sha256(out / "segmented" / name) == SEGMENTED[name]
    for language in ("de", "en"):
        dictionary = out / f"data-bin/dict.{language}.txt"
        assert dictionary.read_bytes() == (folder / dictionary.name).read_bytes()
        words = [line.split(" ")[0] for line in dictionary.read_text("utf-8").splitlines()]
        ids = {word: number for number, word in enumerate(words, 4)}  # after the 4 special ones
        for split in ("valid", "test"):
            data = data_utils.load_indexed_dataset(str(out / f"data-bin/{split}.de-en.{language}"))
            lines = (out / f"segmented/{split}.{language}").read_text("utf-8").splitlines()
            assert len(data) == len(lines)
            for number, line in enumerate(lines):
                want = [ids.get(word, 3) for word in line.split(" ")] + [2]
                assert data[number].tolist() == want
    facts = json.loads((out / "card.json").read_text(encoding="utf-8"))
    assert [facts["splits"][s]["pairs"] for s in ("valid", "test")] == [7283, 6750]
    assert any("58 %" in note for note in facts["notes"])
    assert facts["in_train_too"]["test"]["pair"] == 0
