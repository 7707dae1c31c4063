"""The scripts as a user runs them."""

import io
import json
import lzma
import sys
import tarfile

import pytest
from prep_texts import SCRIPTS, own, sentences, tree, write_pairs

CORPORA = list(SCRIPTS)


def test_own_text_in_any_locale_and_a_second_run_changes_nothing(tmp_path, script):
    options = [*own(tmp_path / "own"), "--sentencepiece", 60]
    done = script("own_text.sh", "--out", tmp_path / "a", *options, LC_ALL="C.UTF-8")
    assert done.returncode == 0, done.stderr
    for name in ("train", "valid", "test"):
        for language in ("de", "en"):
            assert (tmp_path / f"a/data-bin/{name}.de-en.{language}.idx").stat().st_size > 0
            assert (tmp_path / f"a/raw/{name}.{language}").exists()
    record = json.loads((tmp_path / "a/provenance.json").read_text(encoding="utf-8"))
    assert list(record["stages"]) == ["binarise", "card", "get", "learn", "segment", "text"]
    assert "own_text.sh --out" in record["command"]
    facts = json.loads((tmp_path / "a/card.json").read_text(encoding="utf-8"))
    assert sum(split["pairs"] for split in facts["splits"].values()) == 300
    assert facts["splits"]["train"]["de"]["covered_percent"] == 100.0
    joined = [(tmp_path / f"a/data-bin/dict.{lang}.txt").read_bytes() for lang in ("de", "en")]
    assert joined[0] == joined[1]
    assert "data card" in done.stdout

    before = tree(tmp_path / "a")
    again = script("own_text.sh", "--out", tmp_path / "a", *options)
    assert again.stderr.count("done before, skipped") == 6 and tree(tmp_path / "a") == before

    # another locale, other workers, compressed input: the same bytes but for what names the input
    for path in list((tmp_path / "own").iterdir()):
        with lzma.open(f"{path}.xz", "wb") as stream:
            stream.write(path.read_bytes())
    packed = [f"{word}.xz" if str(word).startswith(str(tmp_path)) else word for word in options]
    other = script(
        "own_text.sh", "--out", tmp_path / "b", *packed, "--workers", 3, LC_ALL="C", LANG="de_DE"
    )
    assert other.returncode == 0, other.stderr
    theirs = tree(tmp_path / "b")
    assert {k: v for k, v in theirs.items() if k != "provenance.json"} == {
        k: v for k, v in before.items() if k != "provenance.json"
    }


@pytest.mark.parametrize("name", SCRIPTS.values())
def test_help_and_dry_run_write_nothing(tmp_path, script, name):
    help_text = script(name, "--help")
    assert help_text.returncode == 0 and "--out DIR" in help_text.stdout
    options = own(tmp_path / "own") if name.startswith("own") else []
    done = script(name, "--out", tmp_path / "out", "--dry-run", *options)
    assert done.returncode == 0, done.stderr
    assert "would get" in done.stderr and "would binarise" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("corpus", CORPORA)
def test_bad_options_are_one_line(tmp_path, prep, one_line, corpus):
    out = tmp_path / "out"
    options = own(tmp_path / "own") if corpus == "own" else ["--raw-dir", tmp_path]
    for more, word in (
        (["--out"], "--out: expected one argument"),
        (["--out", ""], "--out: an empty name"),
        (["--worker", 3], "--worker 3"),
        (["stray"], "stray"),
        (["--limit", "-3"], "--limit: '-3'"),
    ):
        code, err = prep(out, corpus, *options, *more)
        assert code == 1 and not out.exists()
        one_line(err, word)


def test_an_option_that_is_missing_is_one_line_of_the_script(script, one_line):
    done = script("own_text.sh")
    assert done.returncode == 1
    one_line(done.stderr, "--out DIR is missing")


@pytest.mark.parametrize(
    "options, words",
    [
        (["--sentencepiece", "many"], ["--sentencepiece", "'many'"]),
        (["--sentencepiece", 0], ["--sentencepiece", "'0'", "1 to 1,000,000"]),
        (["--bpe", "x"], ["--bpe", "'x'"]),
        (["--bpe", 5, "--sentencepiece", 5], ["--sentencepiece and --bpe", "give one"]),
        (["--bpe", 5, "--bpe-codes", "own/train.de"], ["not a file of BPE merges"]),
        (["--bpe", 5, "--bpe-codes", "none"], ["none: cannot be read"]),
        (["--bpe-codes", "own/train.de"], ["--bpe-codes goes with --bpe"]),
        (["--bpe", 5, "--coverage", 0.99], ["--coverage goes with --sentencepiece"]),
        (["--coverage", 2], ["--coverage", "'2'"]),
        (["--ratio", "0.5"], ["--ratio", "1 or more"]),
        (["--ratio", "nan"], ["--ratio", "'nan'"]),
        (["--workers", "two"], ["--workers", "'two'"]),
        (["--workers", "99999"], ["--workers", "'99999' is not a whole number of 1 to 1024"]),
        (["--sentencepiece", "9" * 20], ["--sentencepiece", "is not a whole number of 1 to 1,000"]),
        (["--dict", "none"], ["dict.de.txt: cannot be read"]),
        (["--source-lang", "../en"], ["--source-lang", "language code"]),
        (["--source-lang", ""], ["--source-lang", "language code"]),
        (["--source-lang", "en"], ["--source-lang", "both en"]),
        (["--src", "none"], ["none: cannot be read"]),
        (["--src", "own"], ["own", "directory"]),
        (["--src", "/dev/zero"], ["/dev/zero: is a pipe or device"]),
        (["--valid-src", "own/train.de"], ["--valid-src and --valid-tgt go together"]),
        (["--src", "own/train.en"], ["--src", "--tgt", "the same file"]),
        (["--src", "copy"], ["--src", "--tgt", "the same text"]),
        (["--raw-dir", "own"], ["--raw-dir"]),
    ],
    ids=lambda value: " ".join(map(str, value[:2])) if isinstance(value, list) else value,
)
def test_bad_options_are_one_line_before_anything_is_done(
    tmp_path, prep, one_line, monkeypatch, options, words
):
    monkeypatch.chdir(tmp_path)
    given = own(tmp_path / "own")
    (tmp_path / "copy").write_bytes((tmp_path / "own/train.en").read_bytes())
    code, err = prep(tmp_path / "out", "own", *given, *options)
    assert code == 1 and not (tmp_path / "out").exists()
    assert "get:" not in err
    one_line(err, *words)


def test_missing_packages_are_one_line(tmp_path, script, one_line):
    """An interpreter without this project's packages, as the system's is."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    python.chmod(0o755)
    done = script("multi30k_de_en.sh", "--out", tmp_path / "out", PYTHON=str(python))
    assert done.returncode == 1
    one_line(done.stderr, "lacks this project's packages", "make install")
    done = script("multi30k_de_en.sh", "--out", tmp_path / "out", PYTHON="no-python")
    assert done.returncode == 1
    one_line(done.stderr, "PYTHON=no-python: not found")


@pytest.mark.parametrize("missing", ["--source-lang", "--target-lang", "--src", "--tgt"])
def test_own_text_needs_both_files_and_languages(tmp_path, prep, one_line, missing):
    options = own(tmp_path / "own")
    place = options.index(missing)
    code, err = prep(tmp_path / "out", "own", *options[:place], *options[place + 2 :])
    assert code == 1 and not (tmp_path / "out").exists()
    one_line(err, missing)


@pytest.mark.parametrize("corpus", sorted(set(CORPORA) - {"own"}))
def test_raw_dir_that_has_nothing(tmp_path, prep, one_line, monkeypatch, corpus):
    for folder, word in (("none", "no such folder"), ("empty", "nothing for train")):
        (tmp_path / "empty").mkdir(exist_ok=True)
        monkeypatch.setenv("GRADINIT_RAW_DIR", str(tmp_path / folder))
        code, err = prep(tmp_path / "out", corpus)
        assert code == 1 and not (tmp_path / "out").exists()
        one_line(err, "--raw-dir", word)


def test_misaligned_and_undecodable_text_leave_nothing(tmp_path, prep, one_line):
    options = own(tmp_path / "own")
    with open(tmp_path / "own/train.en", "ab") as stream:
        stream.write(b"one more\n")
    code, err = prep(tmp_path / "out", "own", *options)
    assert code == 1 and not (tmp_path / "out").exists()
    one_line(err, "train.de has 300 lines", "train.en has 301", "not aligned")
    (tmp_path / "own/train.de").write_bytes(b"gut\n\xff\n")
    code, err = prep(tmp_path / "out", "own", *options)
    assert code == 1 and not (tmp_path / "out").exists()
    one_line(err, "train.de, line 2", "0xff")


def test_no_network_for_a_corpus(tmp_path, script, one_line):
    dead = "http://127.0.0.1:9"  # nothing listens on the discard port
    proxies = {"http_proxy": dead, "https_proxy": dead, "no_proxy": ""}
    done = script("multi30k_de_en.sh", "--out", tmp_path / "out", **proxies)
    assert done.returncode != 0
    one_line(done.stderr, "no network", "train.de.gz", "--raw-dir")
    assert not (tmp_path / "out").exists()


def archive_of_talks(path):
    """A small de-en.tgz as WIT3 publishes it."""
    pairs = sentences(60)
    files = {}
    for side, language in enumerate(("de", "en")):
        lines = [f"<url>http://x/{language}</url>", "<talkid>1</talkid>", "<keywords>a</keywords>"]
        lines += [f"<title>Titel: {language}</title>"]
        lines += [f" {pair[side]} " for pair in pairs]
        files[f"de-en/train.tags.de-en.{language}"] = lines
        for name in ("TED.dev2010", "TEDX.dev2012", "TED.tst2010", "TED.tst2011", "TED.tst2012"):
            text = f"Das ist’s, {name} hier." if side == 0 else f"That’s it, {name} here."
            lines = ["<mteval>", f'<seg id="1"> {text} </seg>', "</mteval>"]
            files[f"de-en/IWSLT14.{name}.de-en.{language}.xml"] = lines
    with tarfile.open(path, "w:gz") as tar:
        for name, lines in files.items():
            data = "".join(line + "\n" for line in lines).encode("utf-8")
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def test_iwslt_from_the_talks_archive(tmp_path, prep, one_line):
    archive_of_talks(tmp_path / "de-en.tgz")
    out = tmp_path / "out"
    code, err = prep(out, "iwslt14", "--raw-dir", tmp_path, "--until", "text")
    assert code == 0, err
    train = (out / "work/source/train.de").read_text(encoding="utf-8").splitlines()
    assert len(train) == 61 and train[0] == "Titel: de" and train[1] == sentences(1)[0][0]
    assert len((out / "tokenized/valid.de").read_text(encoding="utf-8").splitlines()) == 2
    test = (out / "tokenized/test.en").read_text(encoding="utf-8").splitlines()
    assert test[0] == "that &apos;s it , ted.dev2010 here ." and len(test) == 5
    assert [line.split()[-3] for line in test] == [
        "ted.dev2010",
        "tedx.dev2012",
        "ted.tst2010",
        "ted.tst2011",
        "ted.tst2012",
    ]
    data = (tmp_path / "de-en.tgz").read_bytes()
    (tmp_path / "de-en.tgz").write_bytes(data[:-100])
    code, err = prep(tmp_path / "other", "iwslt14", "--raw-dir", tmp_path)
    assert code == 1 and not (tmp_path / "other").exists()
    one_line(err, "de-en.tgz", "truncated")


def test_wmt_files_in_mixed_forms_become_raw_text(tmp_path, prep):
    raw = tmp_path / "raw"
    write_pairs(raw, "europarl-head20k", [("Ein „Test“.", 'A "test".')] * 2)
    write_pairs(raw, "nc-v8-head20k.lc.tok", [("ein test , ja .", "it &apos;s a test , yes .")] * 2)
    write_pairs(raw, "wmt15mix10k.tok", [("Zwei @-@ mal ( 2 % ) .", "Two @-@ fold ( 2 % ) .")] * 2)
    write_pairs(
        raw, "newstest2013.tok-atat", [("E ##AT##-##AT## Mail .", "e ##AT##-##AT## mail .")]
    )
    write_pairs(raw, "newstest2014", [("Schluss – hier .", "The end .")])
    out = tmp_path / "out"
    code, err = prep(out, "wmt14", "--raw-dir", raw, "--until", "get")
    assert code == 0, err
    text = {p.name: p.read_text(encoding="utf-8").splitlines() for p in (out / "raw").iterdir()}
    assert text["train.en"][::2] == ['A "test".', "it's a test, yes.", "Two-fold (2%)."]
    assert text["train.de"][::2] == ["Ein „Test“.", "ein test, ja.", "Zwei-mal (2%)."]
    assert text["valid.de"] == ["E-Mail."]
    assert text["test.en"] == ["The end ."]  # already raw: not touched
    notes = json.loads((out / "provenance.json").read_text())["stages"]["get"]["notes"]
    assert any("lower-casing cannot be undone" in note for note in notes)


def test_wmt_from_archives_in_the_recipe_order(tmp_path, prep):
    raw = tmp_path / "raw"
    raw.mkdir()
    for name, files in {
        "training-parallel-europarl-v7.tgz": {"training/europarl-v7.de-en": "europarl"},
        "training-parallel-commoncrawl.tgz": {"commoncrawl.de-en": "crawl"},
        "training-parallel-nc-v9.tgz": {"training/news-commentary-v9.de-en": "news"},
        "dev.tgz": {"dev/newstest2013": "dev"},
    }.items():
        with tarfile.open(raw / name, "w:gz") as tar:
            entries = {
                f"{stem}.{g}": f"{text} {g}\n" for stem, text in files.items() for g in ("de", "en")
            }
            if name == "dev.tgz":
                for role, lang in (("src", "de"), ("ref", "en")):
                    seg = f'<doc>\n<seg id="1">test {lang}</seg>\n</doc>\n'
                    entries[f"dev/newstest2014-deen-{role}.{lang}.sgm"] = seg
            for entry, text in entries.items():
                info = tarfile.TarInfo(entry)
                info.size = len(text)
                tar.addfile(info, io.BytesIO(text.encode()))
    code, err = prep(tmp_path / "out", "wmt14", "--raw-dir", raw, "--until", "get")
    assert code == 0, err
    text = {p.name: p.read_text().splitlines() for p in (tmp_path / "out/raw").iterdir()}
    assert text["train.en"] == ["europarl en", "crawl en", "news en"]
    assert (text["valid.de"], text["test.de"]) == (["dev de"], ["test de"])
    notes = json.loads((tmp_path / "out/provenance.json").read_text())["stages"]["get"]["notes"]
    assert "dev.tgz: not the published file, sha256 differs" in notes and len(notes) == 4
