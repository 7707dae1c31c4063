"""Ways to run data_prep, for its tests."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prep_texts import ROOT, form_of


@pytest.fixture(autouse=True)
def no_raw_dir(monkeypatch):
    """Where this machine's corpora lie is no matter of these tests."""
    monkeypatch.delenv("GRADINIT_RAW_DIR", raising=False)


@pytest.fixture
def prep(capsys):
    """prep(out, corpus, *options) -> (exit code, stderr) of a script, in this process."""
    from data_prep.lib.__main__ import main

    def run(out, corpus, *options, workers=1):
        given = ["--out", out, "--workers", workers, *options]
        code = main([corpus, *form_of(corpus), "--", *map(str, given)])
        return code, capsys.readouterr().err

    return run


@pytest.fixture
def script():
    """script(name, *options, **environment) -> the finished process of a whole script."""

    def run(name, *options, **environment):
        clean = {k: v for k, v in os.environ.items() if not k.startswith("GRADINIT_")}
        return subprocess.run(
            ["bash", str(ROOT / "data_prep" / name), *map(str, options)],
            env={**clean, "PYTHON": sys.executable, **environment},
            capture_output=True,
            text=True,
        )

    return run


@pytest.fixture
def one_line():
    """Assert that text is one "error: ..." line with the given words in it."""

    def check(text, *words):
        errors = [line for line in text.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1 and "Traceback" not in text, text
        for word in words:
            assert word in errors[0], errors[0]

    return check


@pytest.fixture
def shared_data():
    """The folder with the real corpora; a test that needs it is skipped without."""
    folder = os.environ.get("GRADINIT_SHARED_DATA")
    if not folder:
        pytest.skip("GRADINIT_SHARED_DATA is not set: the folder with iwslt14.de-en and others")
    return Path(folder)
