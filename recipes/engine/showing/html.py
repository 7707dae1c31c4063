"""report.html: one file with tables and figures in it, legible on a phone."""

from __future__ import annotations

import html
import re
from pathlib import Path

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #111; background: #fff;
       max-width: 62rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2rem; } h3 { font-size: 1.05rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; white-space: nowrap; }
th, td { border: 1px solid #999; padding: .25rem .5rem; text-align: right; }
th:first-child, td:first-child { text-align: left; }
th { background: #eee; }
figure { margin: 1rem 0; } figure svg { width: 100%; min-width: 34rem; height: auto; }
code, pre { font-size: .85rem; overflow-wrap: anywhere; white-space: pre-wrap; }
"""


def page(title: str, sections: list[str]) -> str:
    """A whole HTML document that refers to nothing outside itself."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style></head>\n<body>\n"
        f"<h1>{html.escape(title)}</h1>\n" + "\n".join(sections) + "\n</body></html>\n"
    )


def section(title: str, *parts: str) -> str:
    return f"<h2>{html.escape(title)}</h2>\n" + "\n".join(parts)


def figure(svg: Path, number: int, caption: str) -> str:
    """An SVG file inlined, its ids made unique among the page's figures."""
    text = svg.read_text(encoding="utf-8")
    text = text[text.index("<svg") :]
    # Two figures of matplotlib share ids (glyphs, clip paths); in one page they would mix up.
    text = re.sub(r'\bid="', f'id="f{number}-', text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>f{number}-", text)
    label = html.escape(caption, quote=True)
    text = text.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
    caption_tag = f"<figcaption>{html.escape(caption)}</figcaption>"
    return f'<figure><div class="wide">{text}</div>{caption_tag}</figure>'


def pre(text: str) -> str:
    return f"<pre>{html.escape(text)}</pre>"


def from_markdown(text: str) -> str:
    """HTML of the Markdown this engine writes: ### headings, tables, paragraphs, bold, code."""
    parts = []
    for block in re.split(r"\n\s*\n", text.strip()):
        lines = block.splitlines()
        if lines and lines[0].startswith("### "):
            parts.append(f"<h3>{_inline(lines[0][4:])}</h3>")
            lines = lines[1:]
        if lines and lines[0].startswith("|"):
            parts.append(_table([line for line in lines if line.startswith("|")]))
        elif lines:
            parts.append(f"<p>{_inline(' '.join(lines))}</p>")
    return "\n".join(parts)


def _table(lines: list[str]) -> str:
    rows = []
    for number, line in enumerate(lines):
        if number == 1:
            continue  # the rule below the header
        tag = "td" if number else "th"
        cells = (f"<{tag}>{_inline(cell.strip())}</{tag}>" for cell in line.strip("|").split("|"))
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return f'<div class="wide"><table>{"".join(rows)}</table></div>'


def _inline(text: str) -> str:
    text = html.escape(text)
    text = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", text)
    return re.sub(r"`(.+?)`", r"<code>\1</code>", text)
