"""Reads the documents: blocks of code, the commands in them, and what those are said to print.

What stands between fences is a file if its first line names one (``# job.py``); in ``bash`` each line is a command, in
``console`` each that begins with ``$``, and what follows is what it prints. All of it is run, page by page, unless a
comment above the block says why not: ``<!-- not run: CI is made of these -->``. ``<!-- on: laptop -->`` has a block run
on another device than the desk.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / f"{name}.md" for name in ("README", "ARCHITECTURE", "CONTRIBUTING", "SECURITY", "examples/README")]
PAGES += sorted((ROOT / "docs").rglob("*.md"))

DESK = "desk"
LANGUAGES = {"bash", "console", "ini", "json", "markdown", "python", "text", "toml", "xml", "yaml"}
PROGRAMS = ("edged", "make", "pip", "pytest", "python", "python3")

FENCE = "```"
MARKER = re.compile(r"<!-- (not run|on): (.+) -->")
NAMED = re.compile(r"# ([\w./-]+\.(?:py|toml))\n")
ANYTHING = "…"
VALUES = (
    (r"(?m)^edged: ", ""),  # which stands before a line of a log, and not before the same line in the live view
    (r"--key \S+", "--key KEY"),
    (r"(?<!\S)/(?:[\w.-]+/)+", "/"),
    (r"\d+–\d+", "N"),
    (r"\b(?:desk|laptop|pi-\d)\b", "NAME"),
    (r"\b[0-9a-f]{12,64}\b", "ID"),
    (r"\d+(?:\.\d+)?(?:e-?\d+)?(?: (?:min \d+ s|ms|s|[kM]|[kMG]?B)\b)?", "N"),
)
"""What is another value in every run, in the order in which it is looked for."""


@dataclass(frozen=True)
class Step:
    """A command, and what the page says that it prints; ``None``: it does not say."""

    command: str
    printed: str | None


@dataclass(frozen=True)
class Block:
    """A block of code of a page: where it begins, in which language, and what the comment above it says."""

    page: Path
    line: int
    language: str
    text: str
    why_not: str
    device: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def file(self) -> str:
        """The name of the file that this is, if it is one."""
        named = NAMED.match(self.text)
        return named[1] if named else ""

    @property
    def is_run(self) -> bool:
        return self.language in {"bash", "console"} and not self.why_not

    def steps(self) -> list[Step]:
        """The commands of a ``bash`` or ``console`` block."""
        text = self.text.replace("\\\n", " ")
        if self.language == "bash":
            return [Step(line, None) for line in text.splitlines() if line.strip() and not line.startswith("#")]
        found = [part.partition("\n") for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]]
        return [Step(command, printed) for command, _, printed in found]


def blocks(page: Path, text: str | None = None) -> list[Block]:
    """All blocks of code of a page."""
    found, above, opened = [], "", 0
    language, body, marker = "", [""], None
    for number, line in enumerate((text or page.read_text(encoding="utf-8")).splitlines(), 1):
        if not opened and line.startswith(FENCE):
            opened, language, body, marker = number, line.removeprefix(FENCE), [], MARKER.fullmatch(above)
        elif opened and line == FENCE:
            said = {marker[1]: marker[2]} if marker else {}
            text = "".join(f"{each}\n" for each in body)
            found.append(Block(page, opened, language, text, said.get("not run", ""), said.get("on", DESK)))
            opened = 0
        elif opened:
            body.append(line)
        above = line
    assert not opened, f"{page}:{opened}: this block never ends"
    return found


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    kept, is_code = [], False
    for line in page.read_text(encoding="utf-8").splitlines():
        is_code ^= line.startswith(FENCE)
        kept.append("" if is_code else line)
    return "\n".join(kept)


def spans(page: Path) -> list[str]:
    """What a page has in backticks within its prose, in one line each."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose(page))]


def links(page: Path) -> list[str]:
    """The files of the repository that a page links to, as seen from its folder."""
    return re.findall(r"\]\((?![a-z]+:|#)([^)#\s]+)", prose(page))


def commands(page: Path) -> Iterator[str]:
    """All that a page tells to type, whether it is run or not: in blocks, and within prose what begins with edged."""
    for block in blocks(page):
        if block.language in {"bash", "console"}:
            yield from (step.command for step in block.steps())
    yield from (span for span in spans(page) if span.startswith("edged "))


def agrees(said: str, printed: str) -> bool:
    """Whether a command printed what the page says: line by line, up to values that differ from run to run.

    ``…`` stands for any text, and alone on a line for any number of lines.
    """
    pattern = ""
    for line in _general(said).splitlines():
        if line == ANYTHING:
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*?".join(map(re.escape, line.split(ANYTHING))) + r"\n"
    return re.fullmatch(pattern, _general(printed)) is not None


def _general(text: str) -> str:
    for value, name in VALUES:
        text = re.sub(value, name, text)
    return "".join(f"{' '.join(line.split())}\n" for line in text.splitlines() if line.strip())
