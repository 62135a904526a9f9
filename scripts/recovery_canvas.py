"""SVG by hand: boxes, lines, words; a scale of time; labels that keep out of each other's way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

INK: Final = "#1f2937"
MUTED: Final = "#6b7280"
FONTS: Final = "Inter, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"
CHARACTER: Final = 0.56
"""Width of a character, in sizes of the font, on average."""

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Scale:
    """Seconds from ``begin`` to ``end`` onto pixels from ``left`` to ``right``."""

    begin: float
    end: float
    left: float
    right: float

    def __call__(self, at: float) -> float:
        """The pixel of a moment."""
        return self.left + (at - self.begin) / (self.end - self.begin) * (self.right - self.left)

    def span(self, begin: float, end: float) -> tuple[float, float]:
        """Left edge and width of what is in view of a stretch of time."""
        first, last = max(self(begin), self.left), min(self(end), self.right)
        return first, last - first

    def shows(self, begin: float, end: float) -> bool:
        """Whether any of a stretch of time is in view."""
        return begin <= self.end and end >= self.begin

    def ticks(self) -> list[float]:
        """Round moments, five to ten of them."""
        rough = (self.end - self.begin) / 9
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
        first = math.ceil(self.begin / step)
        return [step * number for number in range(first, math.floor(self.end / step) + 1)]


class Canvas:
    """Collects an SVG document."""

    def __init__(self, width: float, height: float) -> None:
        """A white card."""
        self._size = (width, height)
        self._parts: list[str] = []
        self._taken: list[tuple[float, float, float, float]] = []

    def document(self) -> str:
        """The whole document."""
        width, height = self._size
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
            f'width="{width:.0f}" height="{height:.0f}" font-family="{FONTS}">\n'
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            f'orient="auto"><path d="M0,0.5 L8,4 L0,7.5 Z" fill="{INK}"/></marker>'
            '<pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
            '<line x1="0" y1="0" x2="0" y2="6" stroke="#c8374a" stroke-width="2" opacity="0.55"/></pattern></defs>\n'
            f'<rect width="{width:.0f}" height="{height:.0f}" rx="10" fill="#ffffff" stroke="#dfe3e8"/>\n'
        )
        return head + "\n".join(self._parts) + "\n</svg>\n"

    def box(self, x: float, y: float, width: float, height: float, colour: str, *, radius: float) -> None:
        """A filled box, at least a pixel wide."""
        self._parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 1.0):.1f}" height="{height:.1f}" '
            f'rx="{radius}" fill="{colour}"/>'
        )

    def hatch(self, x: float, y: float, width: float, height: float) -> None:
        """A hatched box."""
        self._parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 1.0):.1f}" height="{height:.1f}" fill="url(#hatch)"/>'
        )

    def line(
        self,
        x1: float,
        y1: float,
        x2: float,
        y2: float,
        colour: str,
        *,
        width: float,
        dashes: str = "",
        opacity: float = 1.0,
    ) -> None:
        """A straight line."""
        more = f' stroke-dasharray="{dashes}"' if dashes else ""
        more += f' opacity="{opacity}"' if opacity < 1.0 else ""
        self._parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
            f'stroke-width="{width}" stroke-linecap="round"{more}/>'
        )

    def arrow(self, x1: float, y1: float, x2: float, y2: float, colour: str) -> None:
        """A thin line with a tip."""
        self._parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
            'stroke-width="1.2" marker-end="url(#tip)"/>'
        )

    def polygon(self, corners: Sequence[Point], colour: str) -> None:
        """A filled area."""
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
        self._parts.append(f'<polygon points="{points}" fill="{colour}"/>')

    def dot(self, x: float, y: float, radius: float, colour: str) -> None:
        """A filled circle."""
        self._parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}"/>')

    def cross(self, x: float, y: float, size: float, colour: str) -> None:
        """Two strokes, on white."""
        self.dot(x, y, size + 3, "#ffffff")
        self.line(x - size, y - size, x + size, y + size, colour, width=3)
        self.line(x - size, y + size, x + size, y - size, colour, width=3)

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        anchor: str = "start",
        size: float = 12,
        weight: int = 400,
        colour: str = INK,
    ) -> None:
        """Words on one line, (x, y) at their foot."""
        if words:
            self._parts.append(
                f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" '
                f'fill="{colour}">{escape(words)}</text>'
            )

    def reserve(self, x: float, y: float, width: float, height: float) -> None:
        """Keep labels out of here."""
        self._taken.append((x, y, x + width, y + height))

    def label(self, places: Sequence[Point], words: str, colour: str, size: float = 11.5) -> None:
        """Words at the first of ``places`` (or near it) where they cover nothing; with a white rim."""
        width = CHARACTER * size * len(words)
        nudged = [
            (x + dx, y + dy) for dx, dy in ((0.0, 0.0), (-width - 12, 0.0), (0.0, 14), (0.0, -14)) for x, y in places
        ]
        x, y = next((place for place in nudged if self._free(place, width, size)), places[0])
        self._taken.append((x - 2, y - size, x + width + 2, y + 3))
        self._parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" stroke="#ffffff" stroke-width="3.5" '
            f'stroke-linejoin="round" paint-order="stroke">{escape(words)}</text>'
        )

    def axis(self, scale: Scale, y: float) -> None:
        """Ticks with milliseconds."""
        for at in scale.ticks():
            self.line(scale(at), y - 4, scale(at), y + 1, "#c3c9d1", width=1)
            words = f"{1000 * at:.0f} ms"
            self.text(scale(at), y + 15, words, anchor="middle", size=10.5, colour=MUTED)

    def _free(self, place: Point, width: float, size: float) -> bool:
        x, y = place
        if x + width > self._size[0] - 20:
            return False
        return all(
            x + width + 2 < left or x - 2 > right or y + 3 < top or y - size > bottom
            for left, top, right, bottom in self._taken
        )
