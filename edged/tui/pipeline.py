"""The pipeline: stages in order, as boxes with arrows, as many in a row as the width allows.

::

    ╭ pi-4 ★ ───────╮           ╭ macbook ──────╮
    │ layers 0–4    │ 3.1 MB/s  │ layers 5–11   │
    │ ██████░░  72% │ ────────▶ │ ███████░  91% │
    │ 14 ms/micro   │ ◀──────── │ 12 ms/micro   │
    │ 310 MB v 120  │ 2.9 MB/s  │ 290 MB v 120  │
    ╰───────────────╯           ╰───────────────╯

Where that is too high the boxes are lower (``0–4 72%``, ``14 ms``), and where these are, too, a chain of names is left:
``pi-4 ★ 0–4 72% ─▶ macbook 5–11 91%``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edged.core.plan import layer_numbers, layers_in_words
from edged.tui import cells, words
from edged.tui.lines import Line, Tone, bar, line

LEADS = "★"
NARROW_GAP, WIDE_GAP, WIDEST_GAP = 4, 11, 15
"""Cells between two boxes: an arrow, or an arrow with what the link carries."""

LEAST_RATE = 5000.0
"""Bytes per second below which a link carries only gossip, which is not shown."""

LARGEST_SHARE = 0.42
"""Boxes take no more of the height."""

IDLE = "waiting for work"
CHAIN_LINES, CHAIN_NAME = 4, 16
MORE_ROOM = 11
"""At the end of a chain's last line: ``… 100 more``."""


@dataclass(frozen=True, slots=True)
class Form:
    """How boxes are drawn: their height with the frame, and between which widths they are useful."""

    lines: int
    narrowest: int
    widest: int


TALL, LOW = Form(6, 17, 28), Form(4, 13, 20)


def drawn(status: Mapping[str, Any], width: int, height: int) -> list[Line]:
    """The first route of the plan (or, without a plan, all members that are there), for a screen of this size."""
    stages = _stages(status)
    if not stages:
        return [line("no node yet")]
    works = is_planned(status)
    for form in (TALL, LOW):
        rows = -(-len(stages) // _fitting(form, len(stages), width))
        if rows * form.lines <= height * LARGEST_SHARE:
            return [*_boxes(status, stages, form, rows, width), *_other_routes(status)]
    return [*_chain(stages, width, works=works), *_other_routes(status)]


def tall(status: Mapping[str, Any], width: int) -> list[Line]:
    """The same where the height does not matter."""
    return drawn(status, width, 10**6)


def is_planned(status: Mapping[str, Any]) -> bool:
    """Whether the plan is of a job that is not over."""
    plan, job = status.get("plan"), status.get("job")
    return bool(plan and plan["routes"] and job and job["state"] in {"preparing", "running"})


def _stages(status: Mapping[str, Any]) -> list[dict[str, Any]]:
    members = {member["node"]: member for member in status.get("members", ())}
    leader = status.get("leader")
    if is_planned(status):
        hops = list(status["plan"]["routes"][0]["hops"])
    else:
        hops = [{"node": node} for node, member in members.items() if member["state"] in {"alive", "suspect"}]
    return [{**members.get(hop["node"], {}), **hop, "leads": hop["node"] == leader} for hop in hops]


def _other_routes(status: Mapping[str, Any]) -> list[Line]:
    others = len(status["plan"]["routes"]) - 1 if is_planned(status) else 0
    return [line((f"and {others} more {'route' if others == 1 else 'routes'}", Tone.QUIET))] if others else []


def _fitting(form: Form, stages: int, width: int) -> int:
    return max(1, min(stages, (width + NARROW_GAP) // (form.narrowest + NARROW_GAP)))


def _boxes(
    status: Mapping[str, Any], stages: Sequence[Mapping[str, Any]], form: Form, rows: int, width: int
) -> list[Line]:
    per_row = -(-len(stages) // rows)
    room = width - (NARROW_GAP if rows > 1 else 0)
    gaps = per_row - 1
    gap = WIDE_GAP if (room - gaps * WIDE_GAP) // per_row > form.narrowest else NARROW_GAP
    box_width = min(form.widest, (room - gaps * gap) // per_row)
    if gap == WIDE_GAP and gaps:
        gap = min(WIDEST_GAP, (room - per_row * box_width) // gaps)
    works = is_planned(status)
    lines: list[Line] = []
    for start in range(0, len(stages), per_row):
        row = stages[start : start + per_row]
        boxes = [(_tall_box if form is TALL else _low_box)(stage, box_width) for stage in row]
        following = stages[start + 1 : start + 1 + per_row]
        joints = [_joint(a, b, form, gap, works=works) for a, b in zip(row, following, strict=False)]
        if len(joints) == len(row):  # the last one leads to the next row
            joints[-1] = _joint({}, {}, form, NARROW_GAP, works=works)
        for index in range(form.lines):
            pairs = zip(boxes, [*joints, [Line()] * form.lines], strict=False)
            lines.append(line(*(part[index] for pair in pairs for part in pair)))
    return lines


def _joint(sender: Mapping[str, Any], receiver: Mapping[str, Any], form: Form, gap: int, *, works: bool) -> list[Line]:
    """What stands between two boxes: activations go right, gradients left, each with what the link carries now."""
    stroke = "─" * (gap - 3)
    arrows = [line((f" {stroke}▶ ", Tone.QUIET)), line((f" ◀{stroke} ", Tone.QUIET))]
    blank = line(" " * gap)
    if not works:
        return [blank] * form.lines
    if form is LOW:
        return [blank, *arrows, blank]
    there, back = (
        line((f"{_sent(a, b):^{gap}}", Tone.QUIET)) if gap >= WIDE_GAP else blank
        for a, b in ((sender, receiver), (receiver, sender))
    )
    return [blank, there, *arrows, back, blank]


def _sent(sender: Mapping[str, Any], receiver: Mapping[str, Any]) -> str:
    rate = ((sender.get("links") or {}).get(receiver.get("node")) or {}).get("bytes_per_second")
    return words.rate(rate) if rate and rate >= LEAST_RATE else ""


def _tall_box(stage: Mapping[str, Any], width: int) -> list[Line]:
    inner = width - 4
    busy = float(stage.get("busy") or 0.0)
    holds = "first_layer" in stage
    pace = stage.get("micro_batch_seconds") or 0.0
    slowness = stage.get("slowness") or 0.0
    held = words.size(stage.get("resident_bytes") or 0)
    speed = f"slowness {slowness:.3g}" if slowness else "measuring"
    source = ("source", Tone.QUIET) if "source" in stage.get("roles", ()) else ("", Tone.QUIET)
    idle = IDLE if inner >= len(IDLE) else "no layers"
    what = layers_in_words(stage["first_layer"], stage["last_layer"]) if holds else idle
    rows = [
        (_state(stage) or line((what, Tone.PLAIN if holds else Tone.QUIET)), line(source)),
        (bar(busy, max(inner - 5, 1)), line(f"{busy * 100:3.0f}%")),
        (line(f"{words.duration(pace)}/micro" if holds and pace else speed), Line()),
        (line(held), line(f"v {stage.get('weight_version') or 0}" if holds else "held")),
    ]
    return _framed(stage, rows, width)


def _low_box(stage: Mapping[str, Any], width: int) -> list[Line]:
    busy = line((f"{float(stage.get('busy') or 0.0) * 100:.0f}%", Tone.FIGURE))
    holds = "first_layer" in stage
    pace, slowness = stage.get("micro_batch_seconds") or 0.0, stage.get("slowness") or 0.0
    held = line((words.size(stage.get("resident_bytes") or 0), Tone.QUIET))
    what = line(layer_numbers(stage["first_layer"], stage["last_layer"]) if holds else ("idle", Tone.QUIET))
    speed = words.duration(pace) if holds and pace else f"{slowness:.3g}×" if slowness else "…"
    return _framed(stage, [(_state(stage) or what, busy), (line(speed), held)], width)


def _framed(stage: Mapping[str, Any], rows: Sequence[tuple[Line, Line]], width: int) -> list[Line]:
    inner = width - 4
    frame = Tone.BAD if stage.get("state", "alive") != "alive" else Tone.QUIET
    star = f" {LEADS}" if stage["leads"] else ""
    name = cells.shorten(words.clean(str(stage.get("name") or stage["node"])), inner - 1 - len(star))
    title = line((name, Tone.STRONG), (star, Tone.WARN), " ")
    lines = [line(("╭ ", frame), title, ("─" * (width - 3 - title.width) + "╮", frame))]
    for left, right in rows:
        room = inner - right.width - 1
        shown = line(left.padded(room), " ", right) if right.spans and left.width <= room else left.padded(inner)
        lines.append(line(("│ ", frame), shown, (" │", frame)))
    return [*lines, line(("╰" + "─" * (width - 2) + "╯", frame))]


def _state(stage: Mapping[str, Any]) -> Line | None:
    """Said instead of the layers: what is wrong with the node comes first."""
    state = stage.get("state", "alive")
    return None if state == "alive" else line((f"! {state}", Tone.BAD))


def _chain(stages: Sequence[Mapping[str, Any]], width: int, *, works: bool) -> list[Line]:
    """Names in order, with layers and busy share; what does not fit is counted."""
    joint = line((" ─▶ " if works else "  ", Tone.QUIET))
    lines: list[Line] = []
    current = Line()
    for number, stage in enumerate(stages):
        link = _link(stage)
        longer = line(current, joint, link) if current.spans else link
        is_last = len(lines) == CHAIN_LINES - 1
        if longer.width > width - (MORE_ROOM if is_last else joint.width) and current.spans:
            if is_last:
                rest = line(current, (f" … {len(stages) - number} more", Tone.QUIET))
                return [*lines, rest]
            lines.append(line(current, joint) if works else current)
            longer = link
        current = longer
    return [*lines, current]


def _link(stage: Mapping[str, Any]) -> Line:
    name = words.clean(str(stage.get("name") or stage["node"]))
    star = f" {LEADS}" if stage["leads"] else ""
    called = line((cells.shorten(name, CHAIN_NAME), Tone.STRONG), (star, Tone.WARN))
    if (wrong := _state(stage)) is not None:
        return line(called, " ", wrong)
    if "first_layer" not in stage:
        return called
    layers = layer_numbers(stage["first_layer"], stage["last_layer"])
    return line(called, f" {layers} ", (f"{float(stage.get('busy') or 0.0) * 100:.0f}%", Tone.FIGURE))
