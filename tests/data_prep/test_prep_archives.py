"""Unpacking: only what was asked for, never outside its folder, never half."""

import io
import tarfile

import pytest

from data_prep.lib.archives import unpack
from data_prep.lib.packed import PrepError


def make(path, *entries):
    """A .tgz with (name, bytes) files or ready TarInfo objects."""
    with tarfile.open(path, "w:gz") as tar:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                tar.addfile(entry)
            else:
                info = tarfile.TarInfo(entry[0])
                info.size = len(entry[1])
                tar.addfile(info, io.BytesIO(entry[1]))
    return path


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_only_the_named_members_are_written(tmp_path):
    archive = make(tmp_path / "a.tgz", ("x/a.de", b"ja\n"), ("./x/a.en", b"yes\n"), ("x/b", b"?"))
    unpack(archive, ["x/a.de", "x/a.en"], tmp_path / "out")
    files = {p.name: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert files == {"a.de": b"ja\n", "a.en": b"yes\n"}


@pytest.mark.parametrize(
    "entry",
    [
        ("../evil", b"x"),
        ("x/../../evil", b"x"),
        special("x/link", tarfile.SYMTYPE, "../../../etc/passwd"),
        special("x/hard", tarfile.LNKTYPE, "../../evil"),
        special("x/absolute", tarfile.SYMTYPE, "/etc/passwd"),
        special("x/device", tarfile.CHRTYPE),
    ],
    ids=lambda entry: entry[0] if isinstance(entry, tuple) else entry.name,
)
def test_an_entry_that_escapes_refuses_the_archive(tmp_path, entry):
    archive = make(tmp_path / "a.tgz", ("x/a.de", b"ja\n"), entry)
    with pytest.raises(PrepError, match=r"a\.tgz: unsafe entry"):
        unpack(archive, ["x/a.de", "x/late"], tmp_path / "out")
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and p != archive]


def test_absolute_name_stays_inside(tmp_path):
    # tarfile's filter strips the leading slash: such an entry cannot be asked for or written.
    archive = make(tmp_path / "a.tgz", ("/tmp/evil", b"x"), ("a.de", b"ja\n"))
    unpack(archive, ["a.de"], tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").rglob("*")] == ["a.de"]


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_truncated_archive_leaves_nothing(tmp_path, keep):
    archive = make(tmp_path / "a.tgz", ("a.de", bytes(range(256)) * 999), ("a.en", b"e" * 99999))
    data = archive.read_bytes()
    archive.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(PrepError, match="truncated or damaged"):
        unpack(archive, ["a.de", "a.en"], tmp_path / "out")
    assert not [p for p in (tmp_path / "out").rglob("*") if p.is_file()]


def test_member_that_is_not_there(tmp_path):
    archive = make(tmp_path / "a.tgz", ("a.de", b"ja\n"))
    with pytest.raises(PrepError, match=r"has no a\.en"):
        unpack(archive, ["a.de", "a.en"], tmp_path / "out")
    assert not [p for p in (tmp_path / "out").rglob("*") if p.is_file()]


def test_a_corrected_archive_gives_its_own_text(tmp_path, prep):
    """What is unpacked follows the archive: nothing of the one before is left."""
    raw, out = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    for word in ("wrong", "right"):
        entries = []
        for language in ("de", "en"):
            entries.append((f"de-en/train.tags.de-en.{language}", f"{word} {language}\n".encode()))
            for name in (
                "TED.dev2010",
                "TEDX.dev2012",
                "TED.tst2010",
                "TED.tst2011",
                "TED.tst2012",
            ):
                text = f'<seg id="1"> {word} </seg>\n'.encode()
                entries.append((f"de-en/IWSLT14.{name}.de-en.{language}.xml", text))
        make(raw / "de-en.tgz", *entries)
        code, err = prep(out, "iwslt14", "--raw-dir", raw, "--until", "get")
        assert code == 0, err
        assert (out / "work/source/train.de").read_text() == f"{word} de\n"
        assert (out / "work/source/test.en").read_text() == f"{word}\n" * 5
    assert "again, since --raw-dir/de-en.tgz changed" in err
    assert [path.name for path in (out / "work").iterdir()] == ["source"]


def test_an_archive_that_expands_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr("data_prep.lib.packed.SMALL", 1 << 20)
    archive = make(tmp_path / "a.tgz", ("bomb", bytes(50 << 20)), ("a.de", b"ja\n"))
    with pytest.raises(PrepError, match=r"a\.tgz: expands to over 100 times"):
        unpack(archive, ["a.de"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
