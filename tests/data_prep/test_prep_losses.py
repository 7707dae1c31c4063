"""What is not ours is never lost, and what was given wrong and then mended is done again."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prep_texts import own, sentences, tree, write_pairs, write_splits

from data_prep.lib import record
from data_prep.lib.packed import PrepError
from fairseq_gradinit.files import FileError


def get(tmp_path, *more):
    return ["multi30k", "--raw-dir", tmp_path / "raw", "--until", "get", *more]


@pytest.mark.parametrize(
    "name", ["raw/train.de", "data-bin/dict.en.txt", "card.json", "sentencepiece.model"]
)
def test_files_of_the_users_own_are_in_the_way_and_stay(tmp_path, prep, one_line, name):
    write_splits(tmp_path / "raw")
    mine = tmp_path / "out" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    (tmp_path / "out/empty").mkdir()
    code, err = prep(tmp_path / "out", *get(tmp_path))
    assert code == 1
    one_line(err, str(mine), "was not written by this program", "another --out")
    assert tree(tmp_path / "out") == {name: b"mine"} and (tmp_path / "out/empty").is_dir()


@pytest.mark.parametrize("what", ["file", "link", "lost link", "folder"])
def test_what_blocks_a_later_stage_is_found_before_the_first(tmp_path, prep, one_line, what):
    """The user's own: a file or a link out of --out where a folder must be, a folder for a file."""
    write_splits(tmp_path / "raw")
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    for folder in (out, elsewhere):
        folder.mkdir()
    if what == "file":
        (out / "data-bin").write_text("mine")
    elif what == "link":
        (out / "data-bin").symlink_to(elsewhere)
    elif what == "lost link":
        (out / "card.json").symlink_to(out / "nowhere")
    else:
        (out / "card.json").mkdir()
    code, err = prep(out, *get(tmp_path))
    assert code == 1
    one_line(err, str(out), "lies outside" if what == "link" else "is in the way")
    assert len(list(out.iterdir())) == 1 and not list(elsewhere.iterdir())


def test_files_beside_ours_stay(tmp_path, prep):
    write_splits(tmp_path / "raw")
    notes = tmp_path / "out/raw/notes.txt"
    notes.parent.mkdir(parents=True)
    notes.write_text("mine")
    for limit in (10, 20):
        code, err = prep(tmp_path / "out", *get(tmp_path, "--limit", limit))
        assert code == 0, err
    assert notes.read_text() == "mine"


@pytest.mark.parametrize("how", ["../precious", "{tmp_path}/precious", "raw/../../precious"])
def test_provenance_is_never_followed_out_of_its_folder(tmp_path, prep, one_line, how):
    write_splits(tmp_path / "raw")
    assert prep(tmp_path / "out", *get(tmp_path))[0] == 0
    precious = tmp_path / "precious"
    precious.write_text("x")
    path = tmp_path / "out/provenance.json"
    provenance = json.loads(path.read_text())
    digest = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"  # of "x"
    provenance["stages"]["get"]["outputs"][how.format(tmp_path=tmp_path)] = digest
    path.write_text(json.dumps(provenance))
    code, err = prep(tmp_path / "out", *get(tmp_path, "--limit", 5))
    assert code == 1 and precious.read_text() == "x"
    one_line(err, "provenance.json: lists", "precious", "remove")


@pytest.mark.parametrize("link", ["raw", "raw/train.de"])
def test_a_link_is_never_followed_out_of_the_folder(tmp_path, prep, one_line, link):
    """A file of the same bytes elsewhere is not ours, although the hash is right."""
    write_splits(tmp_path / "raw")
    assert prep(tmp_path / "out", *get(tmp_path))[0] == 0
    place, away = tmp_path / "out" / link, tmp_path / "away"
    place.rename(away)
    place.symlink_to(away)
    before = tree(tmp_path / "away") if away.is_dir() else away.read_bytes()
    code, err = prep(tmp_path / "out", *get(tmp_path, "--limit", 5))
    assert code == 1
    one_line(err, "lies outside")
    assert before == (tree(tmp_path / "away") if away.is_dir() else away.read_bytes())


NO_RECORD = ["", "null", "[]", "{", '{"stages": 3}', '{"stages": {"get": null}}', "[" * 99999]
OF_ANOTHER = ["{}", '{"model": "mine"}']


@pytest.mark.parametrize("text", NO_RECORD + OF_ANOTHER)
def test_a_provenance_that_is_none_is_one_line(tmp_path, prep, one_line, text):
    write_splits(tmp_path / "raw")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/provenance.json").write_text(text)
    code, err = prep(tmp_path / "out", *get(tmp_path))
    assert code == 1
    one_line(err, "provenance.json", "another --out")
    assert tree(tmp_path / "out") == {"provenance.json": text.encode()}


_json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
_names = st.sampled_from(["raw/a", "../a", "/a", "", ".", "..", "a/../../b", "a"]) | st.text()
_stage = st.fixed_dictionaries(
    {"params": _json, "inputs": _json, "outputs": st.dictionaries(_names, _json | st.text())}
)


@settings(deadline=None)
@given(st.fixed_dictionaries({"stages": st.dictionaries(st.text(), _stage) | _json}) | _json)
def test_any_json_is_a_record_of_files_inside_or_is_refused(tmp_path_factory, value):
    out = tmp_path_factory.getbasetemp() / "any-provenance"
    out.mkdir(exist_ok=True)
    (out / "provenance.json").write_text(json.dumps(value))
    try:
        known = record.read(out).known()
    except (FileError, PrepError) as error:
        assert "provenance.json" in str(error) and "\n" not in str(error)
    else:
        for name in known:
            assert (out / name).resolve().is_relative_to(out.resolve())


def test_sides_and_splits_that_were_swapped_are_done_again(tmp_path, prep):
    a = write_pairs(tmp_path / "own", "train", sentences(100))
    b = write_pairs(tmp_path / "own", "valid", sentences(20, 1))
    c = write_pairs(tmp_path / "own", "test", sentences(20, 2))
    languages = ["--source-lang", "de", "--target-lang", "en", "--until", "text"]

    def options(train, valid, test):
        flags = ["--src", "--tgt", "--valid-src", "--valid-tgt", "--test-src", "--test-tgt"]
        return [w for pair in zip(flags, [*train, *valid, *test]) for w in pair] + languages

    for wrong in ((a[::-1], b[::-1], c[::-1]), (a, c, b), (b, a, c)):
        code, err = prep(tmp_path / "out", "own", *options(*wrong))
        assert code == 0, err
        code, err = prep(tmp_path / "out", "own", *options(a, b, c))
        assert code == 0 and "get: again, since" in err and "src changed" in err
        for split, files in (("train", a), ("valid", b), ("test", c)):
            for language, path in zip(("de", "en"), files):
                made = tmp_path / f"out/raw/{split}.{language}"
                assert made.read_bytes() == path.read_bytes()
    code, err = prep(tmp_path / "out", "own", *options(a, b, c))
    assert err.count("done before, skipped") == 2


def test_other_languages_start_anew_and_leave_nothing_of_before(tmp_path, prep):
    for languages in (("de", "en"), ("fr", "en"), ("en", "fr")):
        files = own(tmp_path / languages[0], languages=languages)
        code, err = prep(tmp_path / "out", "own", *files, "--until", "text")
        assert code == 0, err
    assert "again, since languages was" in err
    kept = {path.suffix for path in (tmp_path / "out/raw").iterdir()}
    assert kept == {".fr", ".en"}


def test_another_raw_dir_starts_anew_and_says_so(tmp_path, prep):
    for number, folder in enumerate(("raw", "other")):
        for split in ("train", "valid", "test"):
            write_pairs(tmp_path / folder, split, sentences(50, number))
        options = ["--raw-dir", tmp_path / folder, "--until", "get"]
        code, err = prep(tmp_path / "out", "quickstart", *options)
        assert code == 0, err
    assert "get: again, since --raw-dir/test.de changed" in err
    made = (tmp_path / "out/raw/train.de").read_bytes()
    assert made == (tmp_path / "other/train.de").read_bytes()


def test_another_form_leaves_nothing_of_before(tmp_path, prep):
    """From sentencepiece to BPE and back: the same files as if made so from the start."""
    files = own(tmp_path / "own")
    forms = (["--sentencepiece", 60], ["--bpe", 20], ["--sentencepiece", 60])
    for form in forms:
        code, err = prep(tmp_path / "out", "own", *files, *form, "--until", "segment")
        assert code == 0, err
    write_splits(tmp_path / "raw")
    for form in forms:  # here stage `text` comes and goes
        options = ["--raw-dir", tmp_path / "raw", *form, "--until", "segment"]
        code, err = prep(tmp_path / "wmt", "wmt14", *options)
        assert code == 0, err
    code, err = prep(tmp_path / "fresh", "own", *files, *forms[0], "--until", "segment")
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")
    code, err = prep(tmp_path / "wmt2", "wmt14", *options)
    assert tree(tmp_path / "wmt") == tree(tmp_path / "wmt2")
