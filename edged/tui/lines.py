"""Lines of text in tones: what the live view is made of, before a terminal or a picture gives the tones a colour.

A tone is an ornament: every meaning is also in the characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import zip_longest

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from edged.tui import cells, words


class Tone(Enum):
    """How something is said. The value is the style that rich knows."""

    PLAIN = ""
    STRONG = "bold"
    QUIET = "dim"
    GOOD = "green"
    WARN = "yellow"
    BAD = "red"
    FIGURE = "cyan"


Span = tuple[str, Tone]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the screen; widths are counted in cells, of which wide characters take two."""

    spans: tuple[Span, ...] = ()

    @property
    def plain(self) -> str:
        """The characters alone."""
        return "".join(text for text, _ in self.spans)

    @property
    def width(self) -> int:
        """In cells."""
        return sum(cell_len(text) for text, _ in self.spans)

    def fitted(self, width: int) -> Line:
        """At most ``width`` cells, the cut shown by ``…``."""
        if self.width <= width or width < 1:
            return self if width > 0 else Line()
        kept: list[Span] = []
        room = width - 1
        for text, tone in self.spans:
            wide = cell_len(text)
            if wide > room:
                return Line((*kept, (set_cell_size(text, room) + cells.CUT, tone)))
            kept.append((text, tone))
            room -= wide
        return Line(tuple(kept))

    def padded(self, width: int) -> Line:
        """Exactly ``width`` cells."""
        cut = self.fitted(width)
        missing = width - cut.width
        return Line((*cut.spans, (" " * missing, Tone.PLAIN))) if missing else cut

    def text(self) -> Text:
        """As rich prints it."""
        return Text.assemble(*((text, tone.value) for text, tone in self.spans), no_wrap=True, overflow="crop")


def line(*parts: str | Span | Line) -> Line:
    """Put together from plain text, text in a tone, and other lines. What no terminal should be sent is left out."""
    spans: list[Span] = []
    for part in parts:
        if isinstance(part, Line):
            spans += part.spans
        elif isinstance(part, str):
            spans.append((words.clean(part), Tone.PLAIN))
        else:
            spans.append((words.clean(part[0]), part[1]))
    return Line(tuple(span for span in spans if span[0]))


def bar(share: float, width: int) -> Line:
    """A share between 0 and 1: ``████░░``."""
    full = words.bar(share, width).rstrip("░")
    return Line(((full, Tone.FIGURE), ("░" * (width - len(full)), Tone.QUIET)))


def wrapped(text: str, width: int, indent: str = "", tone: Tone = Tone.PLAIN) -> list[Line]:
    """A sentence in one tone, in as many lines as it needs; those after the first begin with ``indent``."""
    return [line((each, tone)) for each in cells.wrap(words.clean(text), width, indent)]


def apart(left: Line, right: Line, width: int) -> Line | None:
    """One at each end of a line; ``None`` if there is no room between them."""
    room = width - right.width - 2
    return line(left.padded(room), "  ", right) if left.width <= room else None


def beside(left: Sequence[Line], right: Sequence[Line], left_width: int, gap: int = 2) -> list[Line]:
    """Two columns."""
    return [
        line((a or Line()).padded(left_width), " " * gap, b or Line()) if b else line(a or Line())
        for a, b in zip_longest(left, right)
    ]


def rule(title: Line, width: int) -> Line:
    """A title, and a quiet stroke to the end of the line."""
    stroke = width - title.width - 1
    return line(title, (" " + "─" * stroke, Tone.QUIET)) if stroke > 0 else title.fitted(width)


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: its heading and cells, flush right or left."""

    heading: str
    cells: Sequence[Line]
    right: bool = False

    @property
    def width(self) -> int:
        """In cells."""
        return max(cell_len(self.heading), *(cell.width for cell in self.cells), 0)


def table(columns: Sequence[Column], width: int) -> list[Line]:
    """The headings and the rows, at most ``width`` wide.

    What does not fit is given up from the last column on; of the first two, the one with the names shrinks.
    """
    wanted = [column for column in columns if any(cell.spans for cell in column.cells)]
    while len(wanted) > 2 and sum(column.width + 2 for column in wanted) - 2 > width:  # noqa: PLR2004 - names, duties
        wanted.pop()
    widths = [column.width for column in wanted]
    if widths:
        widths[0] = max(min(widths[0], width - sum(each + 2 for each in widths[1:])), min(widths[0], 6))
    rows = [[line((column.heading, Tone.QUIET)) for column in wanted], *_rows(wanted)]
    return [_row(wanted, row, widths).fitted(width) for row in rows]


def _rows(columns: Sequence[Column]) -> list[list[Line]]:
    return [list(row) for row in zip(*(column.cells for column in columns), strict=True)]


def _row(columns: Sequence[Column], cells: Sequence[Line], widths: Sequence[int]) -> Line:
    parts: list[str | Line] = []
    for column, cell, width in zip(columns, cells, widths, strict=True):
        cut = cell.fitted(width)
        filling = " " * (width - cut.width)
        parts += [filling, cut, "  "] if column.right else [cut, filling, "  "]
    return line(*parts[:-1])
