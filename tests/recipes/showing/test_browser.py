"""The page in a browser: every chart is drawn, its controls filter, and no script fails."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason=f"no browser: none of {', '.join(NAMES)} is installed"
)
# Appended to a page under test: uses its controls as a reader does, once the charts are drawn.
USE = """<script type="module">
const root = document.documentElement, wait = () => new Promise(done => setTimeout(done, 400));
const count = (id) => document.querySelectorAll(`#${id} .mark-symbol.role-mark path`).length;
while (!root.dataset.drawn) await wait();
root.dataset.before = count("bleu-0");
document.querySelector("[data-init=none]").click();
await wait();
root.dataset.without = count("bleu-0");
document.querySelector("[data-init=none]").click();
const setting = document.querySelector("[data-pick=pick_setting]");
setting.value = "beta2 0.9";
setting.dispatchEvent(new Event("change"));
await wait();
root.dataset.at = document.querySelector("#bleu-0 .mark-symbol.role-mark path").ariaLabel || "";
const cell = document.querySelector("[data-pick=pick_cell]"), line = () =>
  document.querySelector("#scales-0 .mark-line path").getAttribute("d");
const first = line();
cell.value = cell.options[1].value;
cell.dispatchEvent(new Event("change"));
await wait();
root.dataset.other = line() !== first;
root.dataset.wide = root.scrollWidth > root.clientWidth;
root.dataset.used = true;
</script>"""


class Page(HTMLParser):
    """The attributes of <html>, and how many marks each panel drew."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.root: dict[str, str | None] = {}
        self.marks: dict[str, int] = {}
        self.panel = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "html":
            self.root = found
        if "panel" in (found.get("class") or "").split():
            self.panel = found["id"] or ""
            self.marks[self.panel] = 0
        if tag in ("path", "text") and self.panel and found.get("d", " ") != "":
            self.marks[self.panel] += 1


def opened(file: Path, profile: Path, width: int) -> Page:
    command = [
        str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
        "--no-first-run", "--disable-background-networking", "--disable-component-update",
        "--disable-sync", f"--user-data-dir={profile}", f"--window-size={width},2000",
        "--virtual-time-budget=30000", "--dump-dom", f"file://{file}",
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return Page(result.stdout)


@pytest.fixture
def page(written) -> Path:
    return written[0] / "report.html"


@pytest.mark.parametrize("width", [1400, 390])
def test_every_chart_is_drawn_and_the_controls_work(page, tmp_path, width):
    text = page.read_text(encoding="utf-8")
    used = tmp_path / "used.html"
    used.write_text(text.replace("</body>", f"{USE}</body>"), encoding="utf-8")
    seen = opened(used, tmp_path / "profile", width)
    panels = re.findall(r'class="panel" id="([\w-]+)"', text)
    assert len(panels) == 2 + 2 + 2 + 1 + 3
    assert seen.root["data-failed"] == "0" and seen.root["data-drawn"] == str(len(panels))
    assert set(seen.marks) == set(panels) and min(seen.marks.values()) > 5
    assert (seen.root["data-before"], seen.root["data-without"]) == ("4", "2")
    assert "beta2 0.9" in (seen.root["data-at"] or "")
    assert seen.root["data-other"] == "true", "another cell's scales"
    assert seen.root["data-wide"] == "false", "nothing sticks out of the window"


def test_a_chart_that_fails_is_said_in_the_page(page, tmp_path):
    text = page.read_text(encoding="utf-8")
    broken = tmp_path / "broken.html"
    broken.write_text(text.replace('"mark":{"type":"rect"', '"mark":{"type":"nothing"'))
    seen = opened(broken, tmp_path / "profile", 1400)
    assert int(seen.root["data-failed"] or 0) >= 1
