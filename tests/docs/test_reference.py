"""The reference pages say what the code has: every flag, and every field of every file."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import sys
from pathlib import Path

import pytest

import fairseq_gradinit.plugin  # noqa: F401  (what the page of flags is made from)
from fairseq_gradinit import lr_range_record, progress, records
from fairseq_gradinit.gradinit import Iteration
from fairseq_gradinit.watch import Look

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SECTIONS = {
    "scales.json": [
        *(records.ScalesRecord, records.BlockRecord),
        *(records.Prediction, records.TrialRecord, records.UnigramRecord),
    ],
    "iterations.jsonl": [Iteration],
    "watch.jsonl": [Look],
    "progress.json": [progress.ProgressRecord],
    "lr_range.json": [lr_range_record.LrRange, lr_range_record.Rate, lr_range_record.EtaInit],
}


def flags_page(monkeypatch):
    spec = importlib.util.spec_from_file_location("flags_page", DOCS / "hooks" / "flags_page.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "flags_page", module)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_flags_is_made_from_the_flags(monkeypatch):
    """After a change: python docs/hooks/flags_page.py"""
    made = flags_page(monkeypatch)
    assert made.PAGE.read_text(encoding="utf-8") == made.page()
    for flag in ("--gradinit-drift", "--init", "--sparsity", "--gi-adam-batches", "--points"):
        assert f"# `{flag}`\n" in made.page()


def section(name: str) -> str:
    text = (DOCS / "reference" / "files.md").read_text(encoding="utf-8")
    (found,) = re.findall(rf"^## {re.escape(name)}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    return found


@pytest.mark.parametrize("file", SECTIONS)
def test_every_field_of_a_file_is_on_the_page_and_no_other(file):
    told = set(re.findall(r"`(\w+)`", section(file)))
    there = set()
    for record in SECTIONS[file]:
        fields = getattr(record, "__struct_fields__", None)
        there |= set(fields or (one.name for one in dataclasses.fields(record)))
    assert there <= told
    rows = re.findall(r"^\| (`.+?`) \|", section(file), re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) <= there


def test_the_tutorial_quotes_the_quickstart():
    recipe = (ROOT / "recipes" / "quickstart.sh").read_text(encoding="utf-8")
    tutorial = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    quoted = re.findall(r"^```bash\n(.*?)^```$", tutorial, re.MULTILINE | re.DOTALL)
    lines = [line for block in quoted for line in block.splitlines()]
    assert len(lines) > 8
    for line in lines:
        assert line in recipe


def test_readme_is_read_without_scrolling_sideways():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for line in text.splitlines():
        assert len(line) <= 120 or line.startswith("|") or "http" in line, line
    first, *_ = text.split("\n## ")
    assert len(first.splitlines()) < 45, "one screen first"
