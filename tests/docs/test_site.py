"""The site of docs/: warnings are errors, it is complete in itself, no page exceeds its window."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mkdocs") is None, reason="needs mkdocs-material (the extra docs)"
)
# Two frames of the widths looked at; what each page says of itself once it stands still.
WIDE = """<body><script>
const seen = [], pages = {pages}, root = document.documentElement;
let left = pages.length;
for (const [page, width] of pages) {{
  const frame = document.createElement("iframe");
  frame.width = width; frame.height = 900; frame.src = page;
  frame.onload = () => setTimeout(() => {{
    const inner = frame.contentDocument.documentElement;
    if (inner.scrollWidth > inner.clientWidth) seen.push(`${{page}} at ${{width}}`);
    root.dataset.wide = seen.join(", ") || "none";
    if (--left === 0) root.dataset.done = "yes";
  }}, 500);
  document.body.append(frame);
}}
</script></body>"""


def build(source: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """`mkdocs build --strict` of a checkout."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(site)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(
        command, cwd=source, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    ended = build(ROOT, folder)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return folder


def test_what_lies_outside_docs_is_there(site):
    home = (site / "index.html").read_text(encoding="utf-8")
    assert "make quickstart" in home and "--gradinit-lookahead" not in home
    for name in ("recipes/index.html", "CHANGELOG.html", "results/quickstart/curves.svg"):
        assert (site / name).is_file(), name
    beside = (site / "explanation" / "algorithm.html").read_text(encoding="utf-8")
    assert "fairseq_gradinit/gradinit/paper.py" in beside and "norm_by_scale" in beside


def test_nothing_is_fetched_from_elsewhere(site):
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        if page.name == "report.html":
            continue  # a grid's own page, tested with the recipes
        assert not re.findall(r'<(?:script|img|iframe)[^>]* src="?https?:', text), page
        assert not re.findall(r'<link[^>]*rel="?(?:stylesheet|preconnect)[^>]*https?:', text), page


@pytest.mark.parametrize(
    "page, before, after",
    [
        ("faq.md", "# Questions\n", "# Questions\n\n[gone](gone.md)\n"),
        ("faq.md", "# Questions\n", "# Questions\n\n[gone](../results/gone.tsv)\n"),
        ("faq.md", "# Questions\n", "# Questions\n\n[gone](start.md#gone)\n"),
        ("explanation/algorithm.md", "paper.py paper `", "paper.py gone `"),
        ("explanation/algorithm.md", "`yield record`", "`gone`"),
    ],
)
def test_a_link_or_a_function_that_is_gone_ends_the_build(tmp_path, page, before, after):
    ignored = shutil.ignore_patterns(".*", "outputs", "tests")
    shutil.copytree(ROOT, tmp_path / "copy", ignore=ignored)
    file = tmp_path / "copy" / "docs" / page
    text = file.read_text(encoding="utf-8")
    assert before in text
    file.write_text(text.replace(before, after), encoding="utf-8")
    ended = build(tmp_path / "copy", tmp_path / "site")
    assert ended.returncode != 0 and "gone" in ended.stderr


@pytest.mark.skipif(BROWSER is None, reason="no browser is installed")
def test_no_page_is_wider_than_its_window(site, tmp_path):
    pages = [
        [str(page.relative_to(site)), width]
        for page in sorted(site.rglob("*.html"))
        for width in (1400, 390)
        if "results" not in page.parts and page.name != "404.html"
    ]
    assert len(pages) > 40
    (site / "wide.html").write_text(WIDE.format(pages=pages), encoding="utf-8")
    command = [
        *(str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--disable-sync"),
        *("--allow-file-access-from-files", f"--user-data-dir={tmp_path / 'profile'}"),
        *("--window-size=1500,1000", "--virtual-time-budget=60000", "--dump-dom"),
        f"file://{site / 'wide.html'}",
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    (start,) = re.findall(r"<html[^>]*>", result.stdout)[:1]
    seen = dict(re.findall(r'data-(\w+)="([^"]*)"', start))
    assert seen == {"wide": "none", "done": "yes"}
