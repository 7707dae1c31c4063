"""files.py: whole or absent, and read back only when right."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from fairseq_gradinit import files


class Shape(msgspec.Struct):
    name: str
    sizes: list[float]


WRONG = {
    "null": b"null",
    "list": b"[]",
    "empty object": b"{}",
    "empty": b"",
    "truncated": b'{"name": "a"',
    "not UTF-8": b'{"name": "\xff", "sizes": []}',
    "NaN": b'{"name": "a", "sizes": [NaN]}',
    "too large a float": b'{"name": "a", "sizes": [1e400]}',
    "400 digits": b'{"name": "a", "sizes": [' + b"9" * 400 + b"]}",
    "null in a list": b'{"name": "a", "sizes": [null]}',
    "deep": b'{"other": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
}


def test_a_files_own_text_is_a_short_part_of_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"a": "\n\x1b[2J\u2028" + 3000 * "["}))
    with pytest.raises(files.FileError) as caught:
        files.read_json(path, dict[str, Literal["b"]])
    said = str(caught.value)
    assert said.isprintable() and len(said) < 600 and r"\n\x1b[2J\u2028[[" in said


@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG.keys())
def test_what_was_not_written_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "shape.json"
    path.write_bytes(content)
    with pytest.raises(files.FileError, match=r"shape\.json: .*; learn it again") as refused:
        files.read_json(path, Shape, "learn it again")
    assert "\n" not in str(refused.value)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "shape.json"
    files.write_json(path, Shape("ö", [1.5]))
    assert files.read_json(path, Shape) == Shape("ö", [1.5])
    assert os.listdir(path.parent) == ["shape.json"]


def test_numbers_that_json_cannot_say_become_null(tmp_path: Path) -> None:
    files.write_json(tmp_path / "x.json", {"a": [float("nan"), 1.0], "b": float("inf")})
    assert files.read_json(tmp_path / "x.json", dict) == {"a": [None, 1.0], "b": None}


def test_an_error_while_writing_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    files.write_text(path, "old")
    with pytest.raises(RuntimeError), files.replacing(path) as file:
        file.write("half")
        raise RuntimeError
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["kept"]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(files.FileError, match="cannot be written"):
        files.write_text(tmp_path / "file" / "below", "text")


def test_an_unfinished_last_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text('{"a": 1}\n{"a": 2}\n{"a":')
    assert files.read_json_lines(path, dict) == [{"a": 1}, {"a": 2}]
    path.write_text('{"a": 1}\nnull\n')
    with pytest.raises(files.FileError, match="line 2"):
        files.read_json_lines(path, dict)


def test_a_pipe_or_a_huge_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(files.FileError, match="not a regular file"):
        files.read_bytes(tmp_path / "pipe")
    with pytest.raises(files.FileError, match="not a regular file"):
        files.read_bytes(Path("/dev/zero"))
    (tmp_path / "large").write_bytes(b"x" * 11)
    with pytest.raises(files.FileError, match="larger"):
        files.read_bytes(tmp_path / "large", largest=10)


@pytest.mark.parametrize("name", ["../precious", "/etc/passwd", "link/x", "a/../../b"])
def test_no_name_leads_out_of_its_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    with pytest.raises(files.FileError, match="outside"):
        files.inside(folder, name)
    assert files.inside(folder, "a/b") == folder / "a" / "b"


def test_a_lock_is_held_once_and_released(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "lock"):
        with files.locked(path) as first, files.locked(path) as second:
            assert first is not None and second is None and files.is_locked(path)
        assert not files.is_locked(path)


def test_a_file_system_without_locks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_flock(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(files.fcntl, "flock", no_flock)
    with (
        pytest.raises(files.FileError, match=f"{tmp_path}: its file system has no locks"),
        files.locked(tmp_path / "lock"),
    ):
        pass


def test_reading_files_loads_neither_torch_nor_fairseq() -> None:
    code = (
        "import sys, fairseq_gradinit.files; assert not {'torch', 'fairseq'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("value", [{"a": 1.5, "b": {"c": [1, 2]}}, {"é": "seal"}, {"a": 0.1 + 0.2}])
def test_no_byte_of_a_sealed_file_can_change_without_being_noticed(tmp_path: Path, value) -> None:
    path = tmp_path / "sealed.json"
    files.write_json(path, value, sealed=True)
    assert files.read_json(path, dict) == value
    whole = path.read_bytes()
    for at in range(len(whole)):
        for flip in (1, 2, 4, 32):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :])
            try:
                found = files.read_json(path, dict)
            except files.FileError:
                continue
            # The seal's own name may go: then what it sealed is whole.
            assert {key: found[key] for key in value} == value
    for end in range(len(whole) - 1):
        path.write_bytes(whole[:end])
        with pytest.raises(files.FileError):
            files.read_json(path, dict)


def test_a_file_without_a_seal_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "by_hand.json"
    path.write_text('{"a": 1}')
    assert files.read_json(path, dict) == {"a": 1}


def test_what_a_kill_left_of_a_file_goes_and_what_another_writes_stays(tmp_path: Path) -> None:
    path, words = (
        tmp_path / "a.json",
        "import os, sys; from fairseq_gradinit.files import replacing; ",
    )
    words += "context = replacing(__import__('pathlib').Path(sys.argv[1])); context.__enter__(); "
    killed = [sys.executable, "-c", words + "os.kill(os.getpid(), 9)", str(path)]
    assert subprocess.run(killed, check=False).returncode == -9
    (left,) = tmp_path.iterdir()
    waiting = [sys.executable, "-c", words + "print(flush=True); sys.stdin.read()", str(path)]
    with subprocess.Popen(waiting, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline()
        assert not left.exists()  # the other's writing removed it
        files.write_text(path, "mine")
        assert {file.name for file in tmp_path.iterdir()} == {"a.json", f".a.json.{other.pid}.tmp"}
        other.kill()
    files.write_text(path, "again")
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_a_line_is_added_through_no_link(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "watch.jsonl").symlink_to(tmp_path / "precious")
    with pytest.raises(
        files.FileError, match=r"watch\.jsonl: is a link, which is not followed; remove it"
    ):
        files.append_json_line(tmp_path / "watch.jsonl", {"update": 1})
    assert (tmp_path / "precious").read_text() == "mine"
