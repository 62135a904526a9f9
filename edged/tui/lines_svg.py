"""Lines as an SVG picture. Frames, bars, arrows and curves become shapes, so that no font can tear them apart."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from html import escape

from rich.cells import cell_len

from edged.tui.curve import BRAILLE, DOTS
from edged.tui.lines import Line, Tone

CELL, ROW = 8.4, 19.0
"""Width and height of a character, in pixels."""

MARGIN, TITLE = 18.0, 36.0
FONT_SIZE, BASELINE = 14, 14.0
DOT = 1.5
FONTS = "'DejaVu Sans Mono', Menlo, Consolas, 'Liberation Mono', monospace"
COLOURS = {
    Tone.PLAIN: "#c9d1d9",
    Tone.STRONG: "#f0f6fc",
    Tone.QUIET: "#7d8590",
    Tone.GOOD: "#56d364",
    Tone.WARN: "#e3b341",
    Tone.BAD: "#ff7b72",
    Tone.FIGURE: "#6cb6ff",
}
PIECE = re.compile(r"█+|░+|─+|[│╭╮╰╯▶◀]|[⠁-⣿]|[^\s█░─│╭╮╰╯▶◀⠀-⣿]+(?: [^\s█░─│╭╮╰╯▶◀⠀-⣿]+)*")
"""What is drawn as one: a run of a bar or a stroke, one sign, or words with single spaces between."""

CORNERS: dict[str, Callable[[float, float, float, float], str]] = {
    "╭": lambda x, y, right, bottom: f"M{x:g} {bottom:g}Q{x:g} {y:g} {right:g} {y:g}",
    "╮": lambda x, y, right, bottom: f"M{right - CELL:g} {y:g}Q{x:g} {y:g} {x:g} {bottom:g}",
    "╰": lambda x, y, right, bottom: f"M{x:g} {bottom - ROW:g}Q{x:g} {y:g} {right:g} {y:g}",
    "╯": lambda x, y, right, bottom: f"M{right - CELL:g} {y:g}Q{x:g} {y:g} {x:g} {bottom - ROW:g}",
}
"""From the middle of the cell (x, y) to its edges."""


def picture(lines: Sequence[Line], columns: int, title: str) -> str:
    """The whole document; it fetches nothing, not even a font."""
    width, height = columns * CELL + 2 * MARGIN, len(lines) * ROW + TITLE + MARGIN
    styles = "".join(f".{tone.name.lower()}{{fill:{colour}}}" for tone, colour in COLOURS.items())
    strokes = "".join(f".{tone.name.lower()}-s{{stroke:{colour}}}" for tone, colour in COLOURS.items())
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}">',
            f"<title>{escape(title)}</title>",
            f"<style>text{{font:{FONT_SIZE}px {FONTS};white-space:pre}}.strong{{font-weight:700}}{styles}{strokes}",
            "path{fill:none;stroke-width:1.2}.empty{opacity:.28}</style>",
            f'<rect width="{width:g}" height="{height:g}" rx="9" fill="#0d1117"/>',
            f'<text x="{width / 2:g}" y="22" text-anchor="middle" class="quiet">{escape(title)}</text>',
            *(part for row, line in enumerate(lines) for part in _line(line, TITLE + row * ROW)),
            "</svg>\n",
        ]
    )


def _line(line: Line, top: float) -> list[str]:
    parts: list[str] = []
    column = 0
    for text, tone in line.spans:
        for piece in PIECE.finditer(text):
            left = MARGIN + (column + cell_len(text[: piece.start()])) * CELL
            parts.append(_piece(piece[0], left, top, tone))
        column += cell_len(text)
    return parts


def _piece(text: str, left: float, top: float, tone: Tone) -> str:
    name, right = tone.name.lower(), left + cell_len(text) * CELL
    x, y = left + CELL / 2, top + ROW / 2
    sign = text[0]
    if sign in "█░":
        empty = " empty" if sign == "░" else ""
        return f'<rect x="{left:.1f}" y="{top + 4:g}" width="{right - left:.1f}" height="11" class="{name}{empty}"/>'
    if sign == "─":
        return f'<path d="M{left:.1f} {y:g}H{right:.1f}" class="{name}-s"/>'
    if sign == "│":
        return f'<path d="M{x:.1f} {top:g}V{top + ROW:g}" class="{name}-s"/>'
    if sign in CORNERS:
        return f'<path d="{CORNERS[sign](round(x, 1), y, round(right, 1), top + ROW)}" class="{name}-s"/>'
    if sign in "▶◀":
        tip, back = (right - 1, left) if sign == "▶" else (left + 1, right)
        return f'<polygon points="{back:.1f},{y - 4:g} {tip:.1f},{y:g} {back:.1f},{y + 4:g}" class="{name}"/>'
    if BRAILLE < ord(sign) <= BRAILLE + 0xFF:
        return _dots(ord(sign) - BRAILLE, left, top, name)
    fitted = f'textLength="{right - left:.1f}" lengthAdjust="spacingAndGlyphs"'
    return f'<text x="{left:.1f}" y="{top + BASELINE:g}" {fitted} class="{name}">{escape(text)}</text>'


def _dots(bits: int, left: float, top: float, name: str) -> str:
    return "".join(
        f'<circle cx="{left + (column + 0.5) * CELL / 2:.1f}" cy="{top + (row + 0.5) * ROW / 4:.1f}" r="{DOT}" '
        f'class="{name}"/>'
        for column, signs in enumerate(DOTS)
        for row, sign in enumerate(signs)
        if bits & sign
    )
