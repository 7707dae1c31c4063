"""The page in a browser: every chart is drawn, its controls filter, and no script fails."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason=f"no browser: none of {', '.join(NAMES)} is installed"
)
# Appended to a page under test: uses its controls as a reader does, once the charts are drawn.
USE = """<script type="module">
const root = document.documentElement;
const all = (...at) => [...document.querySelectorAll(at.join(" "))];
const wait = () => new Promise(done => setTimeout(done, 400));
const choose = async (field, value) => {
  const select = document.querySelector(`[data-pick=pick_${field}]`);
  select.value = value;
  select.dispatchEvent(new Event("change"));
  await wait();
};
const points = () => all("#bleu-0", ".mark-symbol.role-mark path");
while (!root.dataset.drawn) await wait();
const marked = all(".panel").filter(p => p.querySelector(".role-mark path[d]:not([d=''])"));
root.dataset.marked = marked.length;
root.dataset.before = points().length;
document.querySelector("[data-init=none]").click();
await wait();
root.dataset.without = points().length;
document.querySelector("[data-init=none]").click();
const at = [];
for (const setting of ["beta2 0.9", "beta2 0.98"]) {
  await choose("setting", setting);
  const labels = points().map(point => point.ariaLabel);
  at.push(labels.length === 4 && labels.every(label => label.includes(setting + ";")));
}
root.dataset.at = at;
const line = () => document.querySelector("#scales-0 .mark-line path").getAttribute("d");
const first = line();
await choose("cell", document.querySelector("[data-pick=pick_cell]").options[1].value);
root.dataset.other = line() !== first;
root.dataset.wide = root.scrollWidth > root.clientWidth;
</script>"""


def opened(file: Path, profile: Path, width: int) -> dict[str, str]:
    """What the page wrote on its <html> element, as data-*, once it stood still."""
    command = [
        str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
        "--no-first-run", "--disable-background-networking", "--disable-component-update",
        "--disable-sync", f"--user-data-dir={profile}", f"--window-size={width},2000",
        "--virtual-time-budget=30000", "--dump-dom", f"file://{file}",
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    start = re.search(r"<html[^>]*>", result.stdout)
    return dict(re.findall(r'data-(\w+)="([^"]*)"', start.group())) if start else {}


@pytest.fixture
def page(written) -> Path:
    return written[0] / "report.html"


@pytest.mark.parametrize("width", [1400, 390])
def test_every_chart_is_drawn_and_the_controls_work(page, tmp_path, width):
    text = page.read_text(encoding="utf-8")
    used = tmp_path / "used.html"
    used.write_text(text + USE, encoding="utf-8")
    seen = opened(used, tmp_path / "profile", width)
    panels = str(len(re.findall(r'class="panel"', text)))
    assert panels == str(2 + 2 + 2 + 1 + 3)
    assert (seen["failed"], seen["drawn"], seen["marked"]) == ("0", panels, panels)
    assert (seen["before"], seen["without"]) == ("4", "2"), "an init can be taken out"
    assert seen["at"] == "true,true", "a setting can be chosen"
    assert seen["other"] == "true", "another cell's scales"
    assert seen["wide"] == "false", "nothing sticks out of the window"


def test_a_chart_that_fails_is_said_in_the_page(page, tmp_path):
    text = page.read_text(encoding="utf-8")
    broken = tmp_path / "broken.html"
    broken.write_text(text.replace('"mark":{"type":"rect"', '"mark":{"type":"nothing"'))
    seen = opened(broken, tmp_path / "profile", 1400)
    assert int(seen["failed"]) >= 1
