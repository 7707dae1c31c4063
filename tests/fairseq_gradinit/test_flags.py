"""Flags, help, record and README's table are made from the settings, each said once."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import fairseq_runs
import pytest

from fairseq_gradinit.flags import NO_FLAG, flag_of, options_table, with_flags
from fairseq_gradinit.gradinit import Settings

PACKAGE = fairseq_runs.ROOT / "fairseq_gradinit"
WRITE = """
import sys, fairseq.options, fairseq_gradinit
from pathlib import Path
from fairseq_gradinit.flags import options_table
assert Path(fairseq_gradinit.__file__).parent == Path(sys.argv[1])
print(options_table())
"""


def test_readmes_table_is_the_flags():
    """After a change: python -c 'from fairseq_gradinit.flags import options_table as t;print(t())'
    between README's two marks."""
    readme = (fairseq_runs.ROOT / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"<!-- options -->\n(.*?)\n<!-- end of options -->", readme, re.S)
    assert shown == options_table()


def test_every_setting_has_a_flag_or_says_which_flag_of_the_run():
    table = options_table()
    for one in fields(Settings):
        own = "`--gradinit-" + one.name.replace("_", "-") + "`"
        assert (own in table) == (one.name not in NO_FLAG)
        assert flag_of(one.name) == NO_FLAG.get(one.name, own.strip("`"))


def test_messages_name_flags():
    assert with_flags("`max_scale`: found 0") == "--gradinit-max-scale: found 0"
    assert with_flags("lower `eta`; `unknown`") == "lower --lr or --gradinit-eta; `unknown`"


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    """The package with one default changed, in one place."""
    folder = tmp_path_factory.mktemp("changed") / "fairseq_gradinit"
    shutil.copytree(PACKAGE, folder)
    settings = folder / "gradinit" / "settings.py"
    text, count = re.subn(
        r"(lookahead: int = setting\(\s*)10,", r"\g<1>3,", settings.read_text(encoding="utf-8")
    )
    assert count == 1
    settings.write_text(text, encoding="utf-8")
    return folder


def run_with(changed, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(changed.parent), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    found = subprocess.run(command, capture_output=True, text=True, cwd="/", env=environment)
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_a_changed_default_changes_help_table_and_record(changed, grammar, tmp_path):
    shown = run_with(changed, "-m", "fairseq_cli.train", "--user-dir", str(changed), "--help")
    (told,) = re.findall(r"\n  --gradinit-lookahead GRAD\S+\s+(.*?)--gradinit", shown, re.S)
    assert "default: 3; paper: 1" in " ".join(told.split())
    table = run_with(changed, "-c", WRITE, str(changed))
    assert "| `--gradinit-lookahead` | 3 | 1 |" in table
    flags = ["--gradinit", "--gradinit-iters=1", "--gradinit-trial=0"]
    arguments = fairseq_runs.train_arguments(grammar, tmp_path, *flags, user_dir=False)
    run_with(changed, "-m", "fairseq_cli.train", *arguments, "--user-dir", str(changed))
    record = json.loads((tmp_path / "gradinit" / "scales.json").read_text())
    assert record["config"]["lookahead"] == 3


def test_the_user_dir_is_printed_from_any_folder(tmp_path):
    command = [sys.executable, "-m", "fairseq_gradinit"]
    environment = {**os.environ, "PYTHONPATH": str(fairseq_runs.ROOT)}
    found = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert Path(found.stdout.strip()) == PACKAGE
