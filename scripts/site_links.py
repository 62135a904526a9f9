"""Hooks of mkdocs: the site made of ``docs/`` has the same pages and links as the repository.

In the repository a link leads from file to file, wherever these lie, so that it works where they are read. A site knows
only what lies in ``docs/``. So pages that stand elsewhere are brought in, any other file that a page links to is laid
beside them, and links follow. What is in the repository neither stays as it is, and the strict build refuses it.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]

BROUGHT_IN = {
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security-policy.md",
    "examples/README.md": "examples.md",
}
"""Pages that stand outside ``docs/``, and their places on the site."""

FENCE = "```"
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")
"""The file that a link or a picture leads to, without what comes after ``#``."""


def on_config(config: MkDocsConfig) -> None:
    """Let an entry of the navigation such as ``adr/*.md`` stand for all these pages."""
    config.nav = [_spread_out(entry) for entry in config.nav or []]


def on_files(files: Files, *, config: MkDocsConfig) -> None:
    """Bring in the pages that stand elsewhere."""
    for path, uri in BROUGHT_IN.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let the links of a page lead to where things are on the site."""
    uri = page.file.src_uri
    path = next((path for path, place in BROUGHT_IN.items() if place == uri), f"docs/{uri}")

    def led(link: re.Match[str]) -> str:
        place = place_of(posixpath.normpath(posixpath.join(posixpath.dirname(path), link[1])))
        if place is None:
            return link[1]
        if place not in files.src_uris:
            files.append(File.generated(config, place, abs_src_path=str(ROOT / place.removeprefix("files/"))))
        return posixpath.relpath(place, posixpath.dirname(uri) or ".")

    return relinked(markdown, led)


def place_of(path: str) -> str | None:
    """Where a file of the repository is on the site: a page, or laid beside the pages; ``None``: nowhere."""
    if path in BROUGHT_IN:
        return BROUGHT_IN[path]
    if path == "README.md":
        return "index.md"
    if not (ROOT / path).is_file():
        return None
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return None if path.endswith(".md") else f"files/{path}"


def relinked(markdown: str, led: Any) -> str:
    """A page with every link led elsewhere, but for what looks like one in a block of code."""
    lines, is_code = [], False
    for line in markdown.split("\n"):
        is_code ^= line.lstrip().startswith(FENCE)
        lines.append(line if is_code else LINK.sub(led, line))
    return "\n".join(lines)


def _spread_out(entry: Any) -> Any:
    if isinstance(entry, dict):
        return {title: _spread_out(below) for title, below in entry.items()}
    if isinstance(entry, list):
        return [page for below in entry for page in _as_list(_spread_out(below))]
    if isinstance(entry, str) and "*" in entry:
        return sorted(path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").glob(entry))
    return entry


def _as_list(entry: Any) -> list[Any]:
    return entry if isinstance(entry, list) else [entry]
