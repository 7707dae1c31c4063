"""The data card's numbers, counted again from the texts: of a corpus in which none of them is 0."""

import json
import re
from collections import Counter

import pytest
from prep_texts import sentences, write_pairs


def tokens_of(path):
    return [line.split() for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """OUT of own_text.sh: 200 train pairs of which 30 come twice; 40 valid pairs, of which 7 lie
    in train, 3 more share its source only, and 5 have letters that train has not."""
    from data_prep.lib.__main__ import main

    folder = tmp_path_factory.mktemp("card")
    base = sentences(200)
    files = {"": base + base[:30]}
    valid = sentences(40, seed=5)
    valid[:7] = base[50:57]
    valid[7:10] = [(base[60 + at][0], f"other {at}") for at in range(3)]
    valid[10:15] = [(f"{german} жж", f"{english} ψψ") for german, english in valid[10:15]]
    files["valid-"] = valid
    files["test-"] = sentences(20, seed=9)
    options = []
    for split, pairs in files.items():
        source, target = write_pairs(folder / "own", split.strip("-") or "train", pairs)
        options += [f"--{split}src", source, f"--{split}tgt", target]
    languages = ["--source-lang", "de", "--target-lang", "en", "--sentencepiece", 60]
    given = ["--out", folder / "out", "--workers", 1, *options, *languages, "--joined-dictionary"]
    assert main(["own", "--", *map(str, given)]) == 0
    return folder / "out"


def test_every_count_of_the_card_is_that_of_the_texts(made):
    facts = json.loads((made / "card.json").read_text(encoding="utf-8"))
    texts = {
        split: [tokens_of(made / f"segmented/{split}.{side}") for side in ("de", "en")]
        for split in ("train", "valid", "test")
    }
    for split, sides in texts.items():
        found = facts["splits"][split]
        pairs = Counter(zip(*[[" ".join(line) for line in side] for side in sides]))
        assert found["pairs"] == pairs.total()
        assert found["duplicate_pairs"] == pairs.total() - len(pairs)
        for language, side in zip(("de", "en"), sides):
            lines = (made / f"data-bin/dict.{language}.txt").read_text("utf-8").splitlines()
            known = {line.split(" ")[0] for line in lines}
            counted = Counter(token for line in side for token in line)
            unknown = sum(count for token, count in counted.items() if token not in known)
            assert found[language]["tokens"] == counted.total()
            assert found[language]["unknown_tokens"] == unknown
            assert found[language]["average_length"] == pytest.approx(
                counted.total() / len(side), abs=0.006
            )
            assert found[language]["covered_percent"] == pytest.approx(
                100 - 100 * unknown / counted.total(), abs=0.0006
            )
            assert facts["dictionary"][language] == len(known)
    for split in ("valid", "test"):
        train = [[" ".join(line) for line in side] for side in texts["train"]]
        mine = [[" ".join(line) for line in side] for side in texts[split]]
        for what, known, lines in (
            ("pair", set(zip(*train)), list(zip(*mine))),
            ("source", set(train[0]), mine[0]),
            ("target", set(train[1]), mine[1]),
        ):
            assert facts["in_train_too"][split][what] == sum(line in known for line in lines)


def test_the_card_of_this_corpus_holds_no_zeros(made):
    """Else the test above would not tell a count from none."""
    facts = json.loads((made / "card.json").read_text(encoding="utf-8"))
    train, valid = facts["splits"]["train"], facts["splits"]["valid"]
    assert train["duplicate_pairs"] == 30
    assert facts["in_train_too"]["valid"] == {"pair": 7, "source": 10, "target": 7}
    assert all(valid[side]["unknown_tokens"] >= 5 for side in ("de", "en"))
    assert all(valid[side]["covered_percent"] < 100 for side in ("de", "en"))
    text = (made / "card.txt").read_text(encoding="utf-8")
    rows = {
        row[1].strip(): [cell.strip() for cell in row[2:5]]
        for row in (re.split("[│┃]", line) for line in text.splitlines())
        if len(row) == 6
    }
    assert rows["duplicate pairs"] == [
        str(facts["splits"][split]["duplicate_pairs"]) for split in ("train", "valid", "test")
    ]
    assert rows["source also in train"][1] == "10"
