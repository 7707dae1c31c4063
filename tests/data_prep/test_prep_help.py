"""LibreOffice's help as a corpus: pages to pairs, splits that share nothing, safe packages."""

import io
import shutil
import subprocess
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prep_texts import read_side

from data_prep.lib import debian, help_pages
from data_prep.lib.packed import PrepError

PAGE = """<html><body>
<h1 id="hd_id1" dir="auto">   {title}
</h1>
<p id="par_id2" class="paragraph">{two} <span class="switchinline"><span hidden="true" class="MAC">
 <b>Mac words</b></span><span hidden="true" id="default1">{button}</span></span>.</p>
<p id="par_id3" class="bascode">Dim a As Integer in some code</p>
<p class="embedded">No id, so not aligned with anything here.</p>
<p id="par_id4"></p><!-- a comment --><p id="other5">not a paragraph of the help</p>
</body></html>"""
GERMAN = dict(
    title="Ein Titel mit fünf Wörtern", two="Hier steht ein Satz. Klicken Sie auf", button="Öffnen"
)
ENGLISH = dict(title="A title of five words", two="Here is a sentence. Click on", button="Open")


def test_paragraphs_by_id_without_code_and_other_systems_words():
    found = help_pages.paragraphs(PAGE.format(**GERMAN).encode())
    assert found == {
        "hd_id1": "Ein Titel mit fünf Wörtern",
        "par_id2": "Hier steht ein Satz. Klicken Sie auf Öffnen.",
        "par_id4": "",
    }


def test_sentences_where_both_sides_have_equally_many():
    two = ("Eins ist da. Zwei auch!", "One is there. Two as well!")
    assert list(help_pages.sentences(*two)) == [
        ("Eins ist da.", "One is there."),
        ("Zwei auch!", "Two as well!"),
    ]
    one = ("Eins ist da. Zwei auch!", "One is there, and two as well!")
    assert list(help_pages.sentences(*one)) == [one]


def test_pairs_are_prose_of_a_fit_length_and_each_stands_once():
    good = ("vier Wörter sind gut", "four words are good")
    page = {
        "a": good[0],
        "b": "vier Wörter sind gut",
        "c": "zu kurz hier",
        "d": "vier Wörter gegen neun",
        "e": "same text on both",
        "f": "w " * 41,
        "g": "nur auf dieser Seite steht",
    }
    other = {
        "a": good[1],
        "b": "four words are good",
        "c": "too short here",
        "d": "four words against the many that are here now",
        "e": "same text on both",
        "f": "v " * 41,
    }
    both = {"p": page, "q": page, "only here": page}, {"p": other, "q": other}
    assert help_pages.pairs_by_page(*both) == {"p": [good], "q": []}


def corpus(pages=60, size=10):
    """Pages of sentences that share few words, and on every page one that resembles another's."""
    words = [f"w{chr(97 + n % 26)}{chr(97 + n // 26)}" for n in range(600)]
    found = {}
    for page in range(pages):
        pairs = []
        for n in range(size):
            k = (page * size + n) % 590
            text = " ".join(words[k : k + 9])
            pairs.append((text, text.upper() + " x"))
        number = f"Seite {page} von den {pages} Seiten mit Text"
        pairs.append((number, f"Page {page} of all the {pages} pages with text"))
        found[f"text/{page}.html"] = pairs
    return found


def test_valid_and_test_are_whole_pages_and_nothing_near_them_is_in_train():
    pages = corpus()
    parts, removed = help_pages.split(pages)
    assert removed + sum(map(len, parts.values())) == sum(map(len, pages.values()))
    assert all(len(part) >= 20 for part in parts.values()) and removed
    whole = [page for page, pairs in pages.items() if set(pairs) <= set(parts["test"])]
    assert sorted(parts["test"]) == sorted(pair for page in whole for pair in pages[page])
    # slow and plain: every sentence of train against every held out one
    for split in ("valid", "train"):
        held = parts["test"] + (parts["valid"] if split == "train" else [])
        for side in (0, 1):
            for pair in parts[split]:
                assert not any(similar(pair[side], other[side]) for other in held)
    # the order of the pages and what else there is do not matter
    assert help_pages.split(dict(reversed(pages.items())))[0]["test"] == parts["test"]


def similar(one, other):
    a, b = (help_pages._word_pairs(text) for text in (one, other))
    return len(a & b) >= help_pages.TOO_NEAR * len(a | b)


_text = st.text("ab 1.", max_size=12)


@given(st.lists(_text, max_size=5), _text)
def test_resembling_is_what_the_plain_comparison_says(known, text):
    assert help_pages.resembling(known)(text) == any(similar(text, other) for other in known)


def test_numbers_and_case_and_stops_make_no_other_sentence():
    near = help_pages.resembling(["Click the third button, then wait 5 seconds."])
    assert near("click the third button then wait 10 seconds")
    assert near("Click the third button, then wait.") and not near("Close the window at last.")


def package(path, files, links=()):
    """A Debian package, as far as dpkg-deb looks at it."""
    folder = path.parent / (path.name + ".d")
    (folder / "DEBIAN").mkdir(parents=True)
    (folder / "DEBIAN/control").write_text(
        f"Package: {path.name.split('_')[0]}\nVersion: 4:7.4.7-1\nArchitecture: all\n"
        "Maintainer: a <a@b.c>\nDescription: x\n"
    )
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    for name, target in links:
        (folder / name).symlink_to(target)
    command = ["dpkg-deb", "--root-owner-group", "--build", str(folder), str(path)]
    subprocess.run(command, check=True, capture_output=True)
    shutil.rmtree(folder)


@pytest.fixture
def packages(tmp_path):
    """The two packages with 40 small pages each, in a folder."""
    if not shutil.which("dpkg-deb"):
        pytest.skip("dpkg-deb is not here: the packages cannot be made")
    folder = tmp_path / "packages"
    folder.mkdir()
    for name, code, texts in (
        ("libreoffice-help-de", "de", GERMAN),
        ("libreoffice-help-en-us", "en-US", ENGLISH),
    ):
        files = {}
        for n in range(40):
            word = "".join(chr(97 + int(c)) for c in str(n))
            unlike = {key: f"{text} {word} {word}x y{word}z {word}q" for key, text in texts.items()}
            files[f"usr/share/libreoffice/help/{code}/text/{n}.html"] = PAGE.format(**unlike)
        link = f"usr/share/libreoffice/help/{code}/text/link.html"
        package(folder / f"{name}_4%3a7.4.7-1_all.deb", files, [(link, "/etc/passwd")])
    return folder


def test_quickstart_takes_the_packages_from_raw_dir(tmp_path, prep, packages):
    options = ["--raw-dir", packages, "--sentencepiece", 80]
    code, err = prep(tmp_path / "out", "quickstart", *options)
    assert code == 0, err
    assert "corpus: LibreOffice help 7.4.7; licence: MPL-2.0" in err
    card = (tmp_path / "out/card.json").read_text(encoding="utf-8")
    assert '"corpus": "LibreOffice help 7.4.7"' in card and '"version": "4:7.4.7-1"' in card
    assert "compare no scores with Multi30k" in card
    lines = {s: read_side(tmp_path / "out", "raw", s) for s in ("train", "valid", "test")}
    assert all(lines.values()) and not set(lines["train"]) & set(lines["test"])


def test_quickstart_fetches_the_packages_where_multi30k_does_not_answer(
    tmp_path, prep, packages, monkeypatch
):
    """apt-get without lists of its own at first, as in a fresh container; dpkg-deb is the real."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "apt-get").write_text(
        "#!/bin/sh\n"
        f'echo "$@" >>{tmp_path}/asked\n'
        'case "$*" in *Dir::State::lists=*update*)\n'
        '  for word; do case "$word" in Dir::State::lists=*) ls -d "${word#*=}/partial" '
        ">/dev/null && touch lists;; esac; done;; *download*)\n"
        f"  [ -e lists ] || {{ echo 'E: Unable to locate package' >&2; exit 100; }}\n"
        f"  cp {packages}/*.deb . ;; esac\n"
    )
    (programs / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setattr("data_prep.lib.fetch.reachable", lambda *_: False)
    monkeypatch.chdir(tmp_path)  # the quickstart's --out is relative
    code, err = prep("out", "quickstart", "--until", "get")
    assert code == 0, err
    assert "Multi30k: no answer from" in err and "corpus: LibreOffice help" in err
    asked = (tmp_path / "asked").read_text()
    assert [" download " in line for line in asked.splitlines()] == [True, False, True]
    code, err = prep("out", "quickstart", "--until", "get")
    assert "done before, skipped" in err and (tmp_path / "asked").read_text() == asked


def test_no_corpus_at_all_is_one_line(tmp_path, prep, one_line, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("data_prep.lib.fetch.reachable", lambda *_: False)
    code, err = prep(tmp_path / "out", "quickstart")
    assert code == 1 and not (tmp_path / "out").exists()
    one_line(err, "no corpus: Multi30k (no answer", "no apt-get", "--raw-dir")


def test_a_damaged_package_is_one_line(tmp_path, prep, one_line, packages):
    path = next(packages.glob("*-de_*"))
    path.write_bytes(path.read_bytes()[:300])
    code, err = prep(tmp_path / "out", "quickstart", "--raw-dir", packages)
    assert code == 1 and not (tmp_path / "out").exists()
    one_line(err, path.name)


def test_a_file_without_end_in_a_package(tmp_path, monkeypatch):
    big = tmp_path / "a.tar"
    with tarfile.open(big, "w") as tar:
        info = tarfile.TarInfo("a.html")
        info.size = 100
        tar.addfile(info, io.BytesIO(bytes(100)))
    programs = tmp_path / "dpkg-deb"
    programs.write_text(f"#!/bin/sh\nexec cat {big}\n")
    programs.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(debian, "LARGEST_FILE", 99)
    with pytest.raises(PrepError, match=r"a\.html has 100 bytes"):
        list(debian.files_in(tmp_path / "x.deb", ".html"))
