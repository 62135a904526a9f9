"""Text measured in cells of the terminal, of which wide characters take two."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size

CUT = "…"


def shorten(text: str, width: int) -> str:
    """At most ``width`` cells, the cut shown by ``…``."""
    if cell_len(text) <= width:
        return text
    return (set_cell_size(text, width - 1).rstrip() if width > 1 else "") + CUT[:width]


def wrap(text: str, width: int, indent: str = "") -> list[str]:
    """The words in lines of at most ``width`` cells; lines after the first begin with ``indent``.

    What is longer than a line goes on in the next one, so that nothing of it is lost.
    """
    lines: list[str] = []
    begin = line = ""
    for word in text.split():
        longer = line + word if line == begin else f"{line} {word}"
        if cell_len(longer) > width and line != begin:
            lines.append(line)
            begin, longer = indent, indent + word
        while cell_len(longer) > width and (fitting := _fitting(longer, width)) > len(begin):
            lines.append(longer[:fitting])
            begin, longer = indent, indent + longer[fitting:]
        line = longer
    return [*lines, line] if line != begin else lines


def _fitting(text: str, width: int) -> int:
    """How many characters of ``text`` stand in ``width`` cells."""
    count, cells = 0, 0
    for character in text:
        cells += cell_len(character)
        if cells > width:
            break
        count += 1
    return count
