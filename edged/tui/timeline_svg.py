"""The same timeline as an SVG picture, readable on light and dark."""

from __future__ import annotations

from html import escape

from edged.core.ids import NodeId
from edged.core.plan import Plan
from edged.strategies.rehearsal import Rehearsal, Span
from edged.tui.timeline import Row, is_backward, rows_of, ticks

WIDTH, LEFT, RIGHT, TOP = 960, 150, 24, 64
NODE_HEIGHT, LINK_HEIGHT, GAP = 26, 10, 8
LETTER_WIDTH, SMALL_WIDTH, NUMBER_WIDTH = 7.5, 5.9, 6.2

_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2937 }
.small { font-size: 11px; fill: #6b7280 }
.number { font-size: 11px; fill: #ffffff; text-anchor: middle }
.grid { stroke: #9ca3af; stroke-opacity: 0.35 }
.lane { fill: #9ca3af; fill-opacity: 0.12 }
.forward { fill: #2563eb }
.backward { fill: #c2590a }
.update { fill: #6b7280 }
@media (prefers-color-scheme: dark) {
  text { fill: #e5e7eb } .small { fill: #9ca3af } .forward { fill: #3b82f6 } .backward { fill: #d97706 }
}
"""


def timeline_svg(plan: Plan, rehearsal: Rehearsal, names: dict[NodeId, str], title: str, subtitle: str) -> str:
    """A whole document: rows as in the text, forwards and activations blue, backwards and gradients orange."""
    rows = rows_of(plan, rehearsal, names)
    parts: list[str] = []
    y = TOP
    for row in rows:
        height = LINK_HEIGHT if row.link else NODE_HEIGHT
        parts += _row(plan, row, y, height, rehearsal.step_seconds)
        y += height + GAP
    parts = [*_grid(rehearsal.step_seconds, y), *parts, *_legend(y + 34)]
    height = y + 52
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}">',
            f"<title>{escape(title)}</title>",
            f"<style>{_STYLE}</style>",
            f'<text x="16" y="26" style="font-size:16px;font-weight:600">{escape(title)}</text>',
            f'<text x="16" y="46" class="small">{escape(_fitting(subtitle, WIDTH - 32, SMALL_WIDTH))}</text>',
            *parts,
            "</svg>\n",
        ]
    )


def _x(moment: float, seconds: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * moment / seconds


def _row(plan: Plan, row: Row, y: int, height: int, seconds: float) -> list[str]:
    label = escape(_fitting(row.label, LEFT - 24, SMALL_WIDTH if row.link else LETTER_WIDTH))
    size = ' class="small"' if row.link else ""
    parts = [
        f'<rect x="{LEFT}" y="{y}" width="{WIDTH - LEFT - RIGHT}" height="{height}" rx="3" class="lane"/>',
        f'<text x="{LEFT - 10}" y="{y + height / 2 + 4:g}" text-anchor="end"{size}>{label}</text>',
    ]
    return parts + [part for span in row.spans for part in _span(plan, row, span, y, height, seconds)]


def _span(plan: Plan, row: Row, span: Span, y: int, height: int, seconds: float) -> list[str]:
    begin, end = _x(span.start, seconds), min(_x(span.end, seconds), float(WIDTH - RIGHT))
    kind = "update" if span.kind == "update" else "backward" if is_backward(plan, span) else "forward"
    width = max(end - begin - 0.6, 0.4)
    parts = [f'<rect x="{begin:.1f}" y="{y}" width="{width:.1f}" height="{height}" rx="1.5" class="{kind}"/>']
    number = str(span.micro_batch)
    if not row.link and span.micro_batch >= 0 and width >= NUMBER_WIDTH * len(number) + 2:
        parts.append(f'<text x="{(begin + end) / 2:.1f}" y="{y + height / 2 + 4:g}" class="number">{number}</text>')
    return parts


def _grid(seconds: float, bottom: int) -> list[str]:
    parts = []
    for moment in ticks(seconds):
        x = _x(moment, seconds)
        parts.append(f'<line x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{bottom}" class="grid"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 12}" text-anchor="middle" class="small">{moment:.4g} s</text>')
    return parts


def _legend(y: int) -> list[str]:
    parts, x = [], LEFT
    for kind, text in (("forward", "forward, activations"), ("backward", "backward, gradients"), ("update", "update")):
        parts.append(f'<rect x="{x}" y="{y - 10}" width="12" height="12" rx="2" class="{kind}"/>')
        parts.append(f'<text x="{x + 18}" y="{y}" class="small">{text}</text>')
        x += 40 + 7 * len(text)
    return parts


def _fitting(text: str, width: int, letter_width: float) -> str:
    most = int(width / letter_width)
    return text if len(text) <= most else text[: most - 1] + "…"
