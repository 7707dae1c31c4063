"""MkDocs hooks: what the site takes from outside docs/, so that each fact stands in one place.

- A link in a page works in the repository and on the site: what it points at outside docs/ is
  copied, and a Markdown file there becomes a page, its own links included.
- The first page is README up to its table of options.
- `<!-- code: FILE NAME -->` becomes the source of that function, `<!-- code: FILE NAME FROM TO -->`
  its lines from the first that holds FROM to the next that holds TO. A name that is gone ends the
  build.
"""

from __future__ import annotations

import ast
import os
import posixpath
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)\s#]+)")
CODE = re.compile(r"^<!-- code: (\S+) (\S+)(?: `(.+?)` `(.+?)`)? -->$", re.MULTILINE)
FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.MULTILINE | re.DOTALL)
HOME_ENDS = "\n## Options\n"


def site_path(path: str) -> str:
    """Where a file of the repository lies on the site; both from their roots."""
    if path == "README.md":
        return "index.md"
    return path.removeprefix("docs/")


def repository_path(src: str) -> str:
    """The way back."""
    if src == "index.md":
        return "README.md"
    return f"docs/{src}" if (ROOT / "docs" / src).exists() else src


def outside_code(markdown: str) -> Iterator[tuple[str, bool]]:
    """A page in parts, each with whether it is a fenced block."""
    at = 0
    for fence in FENCE.finditer(markdown):
        yield markdown[at : fence.start()], False
        yield fence.group(), True
        at = fence.end()
    yield markdown[at:], False


def targets(path: str) -> Iterator[str]:
    """The files of the repository that a page links to."""
    for part, fenced in outside_code(text_of(path)):
        for link in () if fenced else LINK.findall(part):
            found = posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
            if (ROOT / found).is_file():
                yield found


def text_of(path: str) -> str:
    """A page's Markdown."""
    text = (ROOT / path).read_text(encoding="utf-8")
    return text.split(HOME_ENDS)[0] + "\n" if path == "README.md" else text


def on_files(files: Files, config: Any) -> Files:
    """Adds the first page and all that is linked to, directly or not."""
    waiting = ["README.md", *nav_pages(config["nav"])]
    waiting += [f"docs/{file.src_uri}" for file in files.documentation_pages()]
    seen: set[str] = set()
    while waiting:
        path = waiting.pop()
        if path in seen or not (ROOT / path).is_file():
            continue
        seen.add(path)
        page = path.endswith(".md")
        if files.get_file_from_path(site_path(path)) is None:
            given = {"content": text_of(path)} if page else {"abs_src_path": str(ROOT / path)}
            files.append(File.generated(config, site_path(path), **given))
        if page:
            waiting += targets(path)
    return files


def nav_pages(nav: Any) -> Iterator[str]:
    """The pages that the navigation names, as paths of the repository."""
    for one in nav:
        for value in one.values() if isinstance(one, dict) else [one]:
            if isinstance(value, list):
                yield from nav_pages(value)
            else:
                yield repository_path(value)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links as the site has them, and code in the place of its name."""
    src = page.file.src_uri
    here = posixpath.dirname(repository_path(src))

    def moved(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(here, link[1]))
        return os.path.relpath(site_path(path), posixpath.dirname(src) or ".")

    parts = outside_code(markdown)
    markdown = "".join(part if fenced else LINK.sub(moved, part) for part, fenced in parts)
    return CODE.sub(lambda one: code(*one.groups()), markdown)


def code(file: str, name: str, first: str | None, last: str | None) -> str:
    """A function or class of a source file, or some of its lines, as a fenced block."""
    source = (ROOT / file).read_text(encoding="utf-8")
    nodes = {node.name: node for node in ast.walk(ast.parse(source)) if hasattr(node, "name")}
    if name not in nodes:
        raise PluginError(f"{file}: there is no {name}")
    node = nodes[name]
    lines = source.splitlines()[node.lineno - 1 : node.end_lineno]
    if first is not None and last is not None:
        start = at(lines, first, 0, file)
        lines = lines[start : at(lines, last, start, file) + 1]
    elif ast.get_docstring(node) is not None:
        told = node.body[0]
        del lines[told.lineno - node.lineno : told.end_lineno - node.lineno + 1]
    return f'```python title="{file}"\n' + textwrap.dedent("\n".join(lines)) + "\n```"


def at(lines: list[str], words: str, start: int, file: str) -> int:
    """The first line from `start` on that holds the words."""
    for number, line in enumerate(lines[start:], start):
        if words in line:
            return number
    raise PluginError(f"{file}: no line holds {words!r}")
