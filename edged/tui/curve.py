"""The loss as a curve of braille dots: two columns and four rows of dots in every character cell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from edged.tui.lines import Line, Tone, line

BRAILLE = 0x2800
BLANK = chr(BRAILLE)
"""A braille cell without dots: not every font has it, and a space looks the same."""

DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""Bit of the dot at (column 0..1, row 0..3 from the top) of a braille character."""

MARGIN = 7
"""Room for the values beside the curve."""

LEAST_FOR_STEPS = 7
"""From this height on a line below tells the steps."""


def chart(points: Sequence[tuple[float, float]], width: int, height: int) -> list[Line]:
    """The curve with its highest and lowest value beside it and, if there is room, the first and last step below."""
    finite = [(x, y) for x, y in points if math.isfinite(y)]
    inner = width - MARGIN
    if not finite or inner < 1:
        return []
    means = _columns(finite, 2 * inner).values()
    top, bottom = _label(max(means)), _label(min(means))
    has_steps = height >= LEAST_FOR_STEPS
    rows = curve(points, inner, height - has_steps)
    drawn = []
    for number, row in enumerate(rows):
        side = top if number == 0 else bottom if number == len(rows) - 1 else ""
        drawn.append(line((f"{side:>{MARGIN - 1}} ", Tone.QUIET), (row.replace(BLANK, " "), Tone.FIGURE)))
    if has_steps:
        first, last = (f"{x:.0f}" for x in (finite[0][0], finite[-1][0]))
        drawn.append(line((f"{'':{MARGIN}}{first}{last:>{max(inner - len(first), 0)}}", Tone.QUIET)))
    return drawn


def _label(value: float) -> str:
    """As many figures, at most three, as there is room for."""
    texts = [f"{value:.{figures}g}" for figures in (3, 2, 1)]
    return next((text for text in texts if len(text) < MARGIN), texts[-1][: MARGIN - 1])


def curve(points: Sequence[tuple[float, float]], width: int, height: int) -> list[str]:
    """Draw ``(x, y)`` points, ascending in x, as ``height`` strings of ``width`` characters, highest y at the top.

    Points that fall into one column of dots are averaged; gaps are bridged by straight lines; values that are not
    finite are left out.
    """
    finite = [(x, y) for x, y in points if math.isfinite(y)]
    cells = [[0] * width for _ in range(height)]
    if finite and width > 0 and height > 0:
        columns = _columns(finite, 2 * width)
        low, high = min(columns.values()), max(columns.values())
        scale = (4 * height - 1) / (high - low) if high > low else 0.0
        rows = {column: round((high - y) * scale) for column, y in columns.items()}
        for column, row in _joined(rows):
            cells[row // 4][column // 2] |= DOTS[column % 2][row % 4]
    return ["".join(chr(BRAILLE + bits) for bits in row) for row in cells]


def _columns(points: Sequence[tuple[float, float]], width: int) -> dict[int, float]:
    first, last = points[0][0], points[-1][0]
    span = max(last - first, 1e-9)
    gathered: dict[int, list[float]] = {}
    for x, y in points:
        gathered.setdefault(round((x - first) / span * (width - 1)), []).append(y)
    return {column: sum(ys) / len(ys) for column, ys in gathered.items()}


def _joined(rows: dict[int, int]) -> list[tuple[int, int]]:
    ordered = sorted(rows.items())
    dots = ordered[:1]
    for (left, top), (right, bottom) in pairwise(ordered):
        steps = max(right - left, abs(bottom - top))
        dots += [
            (round(left + (right - left) * k / steps), round(top + (bottom - top) * k / steps))
            for k in range(1, steps + 1)
        ]
    return dots
