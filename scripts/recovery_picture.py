"""A recovery's timeline as an SVG picture: all of it, and below, magnified, what lies between the kill and the work.

::

    stages   | RUN        | FENCE | PLAN | TRANSFER | RESUME      | RUN
    steps    | 40 | 41 |x        | 33 again     | 34 again ...
    desk     ▇ ▇▇ ▇ ▇               ▇ ▇▇ ▇
    laptop    ▇ ▇▇ ▇                 ▇ ▇▇ ▇
    pi-5       ▇▇▇▇ ✗
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from recovery_canvas import CHARACTER, INK, MUTED, Canvas, Scale
from recovery_timeline import Arrow, Block, Timeline

WIDTH: Final = 1200
LEFT, RIGHT = 150, 1165
STAGE_Y, STEP_Y, LANE_Y, LANE, GAP = 96, 126, 158, 36, 8
ZOOM_STAGE_Y, ZOOM_HEAD, ZOOM_LANE, ZOOM_GAP = 394, 84, 28, 96

STAGES: Final = {"RUN": "#dcebdf", "FENCE": "#c8374a", "PLAN": "#e9a23b", "TRANSFER": "#1d7f95", "RESUME": "#4f9d69"}
WORK: Final = {
    "forward": "#4a7fb5",
    "backward": "#8fb8de",
    "update": "#22324a",
    "copy": "#8a63b8",
    "build": "#1d7f95",
}
WORDS: Final = {
    "forward": "forward",
    "backward": "backward",
    "update": "update of the weights",
    "copy": "snapshot",
    "build": "building the new stages",
}
KILL: Final = "#c8374a"
STATE: Final = "#1d7f95"
REPLICA: Final = "#8a63b8"


def draw(timeline: Timeline) -> str:
    """The picture as an SVG document; needs no font but a plain one."""
    stages = dict(timeline.stages)
    pause, resume = stages["RUN"], stages["RESUME"]
    works = [block.begin for block in timeline.blocks if block.begin > resume and block.step]
    known = min([mark.at for mark in timeline.marks], default=stages["FENCE"])
    length = min(works, default=resume) - known
    whole = Scale(-0.45 * pause, 1.45 * pause, LEFT, RIGHT)
    part = Scale(max(known - 0.12 * length, -0.04 * pause), known + 1.2 * length, LEFT, RIGHT)
    height = ZOOM_STAGE_Y + ZOOM_HEAD + (len(timeline.nodes) - 1) * (ZOOM_LANE + ZOOM_GAP) - ZOOM_GAP + 140
    canvas = Canvas(WIDTH, height)
    _title(canvas, timeline)
    _overview(canvas, timeline, whole)
    _wedge(canvas, timeline, whole, part)
    _magnified(canvas, timeline, part)
    _legend(canvas, timeline, height - 52)
    return canvas.document()


def _title(canvas: Canvas, timeline: Timeline) -> None:
    leader, victim = timeline.leader, timeline.victim
    canvas.text(32, 40, f"{victim} is killed, the others go on", size=22, weight=700)
    canvas.text(
        32,
        64,
        f"{len(timeline.nodes)} nodes, one pipeline; {leader} leads; "
        f"{victim} runs {timeline.layers[victim][0]} and gets SIGKILL at 0 ms",
        size=13,
        colour=MUTED,
    )


def _overview(canvas: Canvas, timeline: Timeline, scale: Scale) -> None:
    bottom = LANE_Y + len(timeline.nodes) * (LANE + GAP)
    canvas.axis(scale, bottom + 4)
    _stages(canvas, timeline, scale, STAGE_Y)
    canvas.text(LEFT - 14, STAGE_Y + 16, "the job's stage", anchor="end", size=12, colour=MUTED)
    canvas.text(LEFT - 14, STEP_Y + 15, "steps", anchor="end", size=12, colour=MUTED)
    _steps(canvas, timeline, scale)
    for index, node in enumerate(timeline.nodes):
        y = LANE_Y + index * (LANE + GAP)
        _lane(canvas, timeline, node, scale, y, LANE)
        for block in _blocks(timeline, node, scale):
            x, width = scale.span(block.begin, block.end)
            canvas.box(x, y + 7, width, LANE - 14, WORK[block.kind], radius=1.5)
    canvas.line(scale(0.0), STEP_Y - 2, scale(0.0), bottom, KILL, width=1.6)


def _steps(canvas: Canvas, timeline: Timeline, scale: Scale) -> None:
    """One box for each step, from its first forward to its last update; the one that was cut short ends ragged."""
    fence = dict(timeline.stages)["FENCE"]
    reached = timeline.report["rolled_back_to"] + timeline.report["lost_steps"]
    plans = {block.plan for block in timeline.blocks if block.step}
    groups: dict[tuple[int, int], list[Block]] = {}
    for block in timeline.blocks:
        if block.step:
            groups.setdefault((block.plan, block.step), []).append(block)
    for (plan, step), blocks in sorted(groups.items()):
        begin, end = min(block.begin for block in blocks), max(block.end for block in blocks)
        again = plan == max(plans) and step <= reached + 1
        lost = plan == min(plans) and step > reached
        if (lost and begin > fence) or not scale.shows(begin, end):
            continue
        x, width = scale.span(begin, end)
        colour = "#f6dcdf" if lost else "#e7defa" if again else "#e8edf3"
        canvas.box(x + 0.5, STEP_Y, width - 1, 22, colour, radius=3)
        long = "cut short" if lost else f"step {step}{' again' if again else ''}"
        words = next((words for words in (long, str(step)) if CHARACTER * 11.5 * len(words) < width), "")
        canvas.text(x + width / 2, STEP_Y + 15, words, anchor="middle", size=11, colour=INK)


def _lane(canvas: Canvas, timeline: Timeline, node: str, scale: Scale, y: float, height: float) -> None:
    """A lane's name, what it runs before and after, its ground; a dead node's ends with its life."""
    before, after = timeline.layers[node]
    end = min(scale(0.0), scale.right) if node == timeline.victim else scale.right
    canvas.box(scale.left, y, max(end - scale.left, 0.0), height, "#f3f5f8", radius=3)
    canvas.text(LEFT - 14, y + height / 2 - 2, node, anchor="end", size=14, weight=600)
    layers = before if node == timeline.victim else f"{before} → {after.removeprefix('layers ')}"
    canvas.text(LEFT - 14, y + height / 2 + 13, layers, anchor="end", size=10.5, colour=MUTED)
    if node == timeline.victim:
        middle, end = y + height / 2, max(end, scale.left)
        canvas.line(end + 12, middle, scale.right, middle, "#c9ced6", width=1.2, dashes="3 5")
        if end > scale.left:
            canvas.cross(end, middle, 6, KILL)


def _stages(canvas: Canvas, timeline: Timeline, scale: Scale, y: float) -> None:
    begins = [("RUN", scale.begin), *timeline.stages, ("", scale.end)]
    for (name, begin), (_, end) in pairwise(begins):
        x, width = scale.span(begin, end)
        if width <= 0.0:
            continue
        canvas.box(x, y, width, 24, STAGES[name], radius=0)
        colour = INK if name == "RUN" else "#ffffff"
        if width > 10.0 * len(name):
            canvas.text(x + width / 2, y + 16.5, name, anchor="middle", size=12, weight=600, colour=colour)
    unseen, width = scale.span(0.0, timeline.stages[0][1])
    canvas.hatch(unseen, y, width, 24)


def _wedge(canvas: Canvas, timeline: Timeline, whole: Scale, part: Scale) -> None:
    """Shows which part is magnified."""
    top = LANE_Y + len(timeline.nodes) * (LANE + GAP) + 28
    left, right = whole(part.begin), whole(part.end)
    corners = [(left, top), (right, top), (part.right, ZOOM_STAGE_Y - 22), (part.left, ZOOM_STAGE_Y - 22)]
    canvas.polygon(corners, "#eef2f7")
    canvas.line(left, top, right, top, MUTED, width=1.5)


def _magnified(canvas: Canvas, timeline: Timeline, scale: Scale) -> None:
    """The survivors, from the first evidence to the first computation under the new plan."""
    _stages(canvas, timeline, scale, ZOOM_STAGE_Y)
    survivors = [node for node in timeline.nodes if node != timeline.victim]
    tops = {n: ZOOM_STAGE_Y + ZOOM_HEAD + index * (ZOOM_LANE + ZOOM_GAP) for index, n in enumerate(survivors)}
    bottom = max(tops.values()) + ZOOM_LANE
    for _, at in timeline.stages:
        if scale.shows(at, at):
            canvas.line(scale(at), ZOOM_STAGE_Y + 24, scale(at), bottom, "#d5dae1", width=1, dashes="2 4")
    for node, y in tops.items():
        _lane(canvas, timeline, node, scale, y, ZOOM_LANE)
        canvas.reserve(0, y, RIGHT, ZOOM_LANE)
        for block in _blocks(timeline, node, scale):
            x, width = scale.span(block.begin, block.end)
            canvas.box(x, y + 4, width, ZOOM_LANE - 8, WORK[block.kind], radius=2)
    _lengths(canvas, timeline, scale)
    for node, top in tops.items():
        above = top == min(tops.values())
        marks = sorted((mark for mark in timeline.marks if mark.node == node), key=lambda mark: mark.at)
        for mark in marks:
            x, width = scale(mark.at), CHARACTER * 11.5 * len(mark.text)
            left = x - width if mark is marks[0] else x
            canvas.dot(x, top if above else top + ZOOM_LANE, 4, KILL)
            canvas.label([(left, top - 9 if above else top + ZOOM_LANE + 17)], mark.text, KILL)
    for arrow in _arrows(timeline, scale):
        _arrow(canvas, arrow, scale, tops)
    canvas.axis(scale, bottom + 28)


def _lengths(canvas: Canvas, timeline: Timeline, scale: Scale) -> None:
    """How long each stage took, below its band; with its name, where that did not fit into the band."""
    begins, free = [("", 0.0), *timeline.stages], scale.left
    for (name, begin), (_, end) in pairwise(begins):
        x, width = scale.span(begin, end)
        words = f"{1000 * (end - begin):.0f} ms"
        if width > 10.0 * len(name) and width > 6.5 * len(words):
            canvas.text(x + width / 2, ZOOM_STAGE_Y + 39, words, anchor="middle", size=11, colour=MUTED)
        else:
            words, free = f"{name} {words}", max(x, free)
            canvas.label([(free, ZOOM_STAGE_Y + 52)], words, MUTED, 11)
            free += CHARACTER * 11 * len(words) + 10


def _arrow(canvas: Canvas, arrow: Arrow, scale: Scale, tops: dict[str, int]) -> None:
    begin, end = scale(arrow.begin), scale(arrow.begin if arrow.end is None else arrow.end)  # in view, it has arrived
    down = tops[arrow.receiver] > tops[arrow.sender]
    y1 = float(tops[arrow.sender] + (ZOOM_LANE if down else 0))
    y2 = float(tops[arrow.receiver] + (0 if down else ZOOM_LANE))
    if end > scale.right:
        y2, end = y1 + (y2 - y1) * (scale.right - begin) / (end - begin), scale.right
    places = [(begin + (end - begin) * part + 6, y1 + (y2 - y1) * part + 4) for part in (0.5, 0.3, 0.7, 0.15, 0.85)]
    if arrow.kind in {"state", "replica"}:
        colour = STATE if arrow.kind == "state" else REPLICA
        canvas.line(begin, y1, end, y2, colour, width=7 if arrow.kind == "state" else 2.5, opacity=0.45)
        words = arrow.layers if arrow.kind == "state" else f"replica of {arrow.layers}"
        canvas.label([(x + 6, y) for x, y in places], words, colour)
    else:
        canvas.arrow(begin, y1, end, y2, INK)
        canvas.label(places, arrow.kind, INK)


def _arrows(timeline: Timeline, scale: Scale) -> Iterator[Arrow]:
    """What went between the survivors in view: of each kind of message the first; what moved before what was said."""
    seen: set[str] = set()
    moved = [arrow for arrow in timeline.arrows if arrow.layers]
    said = sorted((arrow for arrow in timeline.arrows if not arrow.layers), key=lambda arrow: arrow.begin)
    for arrow in (*moved, *said):
        arrived = arrow.end is not None and timeline.victim not in {arrow.sender, arrow.receiver}
        key = arrow.kind + arrow.layers
        if arrived and key not in seen and arrow.sender != arrow.receiver and scale.shows(arrow.begin, arrow.begin):
            seen.add(key)
            yield arrow


def _blocks(timeline: Timeline, node: str, scale: Scale) -> Iterator[Block]:
    for block in timeline.blocks:
        if block.node == node and scale.shows(block.begin, block.end):
            yield block


def _legend(canvas: Canvas, timeline: Timeline, y: float) -> None:
    x = 32.0
    for kind, colour in WORK.items():
        canvas.box(x, y - 10, 14, 12, colour, radius=2)
        canvas.text(x + 20, y, WORDS[kind], size=12, colour=MUTED)
        x += 44 + 6.7 * len(WORDS[kind])
    canvas.hatch(x, y - 10, 14, 12)
    canvas.text(x + 20, y, "dead, and not yet known", size=12, colour=MUTED)
    canvas.text(32, y + 30, f"“{timeline.report['text']}”", size=13, weight=600)
