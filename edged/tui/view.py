"""The whole live view: a function from a status object and a size to lines, so that it can be tested as such.

::

    cluster, leader, job, what is wrong      always
    whom it does not see, how others join    while this node is alone
    progress: step, loss, speed, time left   when a job runs
    replicas: version, age, what may die     when a job runs
    plan and decision, in words              on tall screens
    pipeline as boxes                        always, lower where the screen is low
    loss curve | nodes and links             as far as the height allows; below each other on narrow screens
    last events in words                     what is left of the height
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from edged.tui import head, nodes, pipeline, safety, words
from edged.tui.curve import chart
from edged.tui.lines import Line, Tone, beside, line, rule, wrapped

CURVE_LEAST, CURVE_MOST = 4, 20
EVENTS_LEAST = 3
NARROW = 64
"""Below this width curve and nodes stand one below the other."""

NODES_LEAST, GAP = 40, 3

BAD_NEWS = re.compile(r"\b(died|failed|expelled|does not answer|cannot|was lost|were lost)\b")
GOOD_NEWS = re.compile(r"\b(joined|is here|answers again|came back|finished)\b")

ROUTINE = re.compile(r"(kept: )|(epoch )\d+: evaluation")
"""Of news that come again and again only the newest is told: they would push out what a person has to know."""

Status = Mapping[str, Any]


def frame(status: Status, width: int, height: int) -> list[Line]:
    """Draw ``status`` (the object of ``edged status --json`` and its ``view``): at most ``height`` lines."""
    top = [
        *head.head(status, width),
        *head.progress(status, width),
        *head.reasons(status, width, height),
        *pipeline.drawn(status, width, height),
    ]
    rest = height - len(top)
    told = _events(status, width)
    body = _body(status, width, rest, len(told))
    return [each.fitted(width) for each in [*top, *body, *_newest(told, width, rest - len(body))][:height]]


def lines(status: Status, width: int, height: int) -> list[str]:
    """The same as plain text: no line is wider than ``width`` cells."""
    return [each.plain for each in frame(status, width, height)]


def render(status: Status, width: int, height: int) -> Text:
    """The same for rich, in colours."""
    return Text("\n").join(each.text() for each in frame(status, width, height))


def summary(status: Status, width: int) -> list[str]:
    """What ``edged status`` prints: all members, what the job would survive, and no curve or events."""
    drawn = [
        *head.head({**status, "unmet": ()}, width),
        *head.progress(status, width),
        *pipeline.tall(status, width),
        *nodes.nodes(status, width),
        *nodes.links(status, width),
        *(line(each) for each in safety.outlook(status, width)),
        *head.unmet(status, width),
    ]
    return [each.fitted(width).plain.rstrip() for each in drawn]


def _body(status: Status, width: int, rest: int, events: int) -> list[Line]:
    """Curve and nodes: two thirds of what is left, or more where there is little to tell of what happened."""
    room = min(rest - EVENTS_LEAST, max(rest * 2 // 3, rest - events - 1))
    if room < CURVE_LEAST:
        return []
    points = [(float(step), float(loss)) for step, loss in status.get("view", {}).get("loss", ())]
    if not status.get("job"):
        return nodes.panel(status, width, room)
    if width < NARROW:
        people = nodes.panel(status, width, room if len(points) < 2 else max(room // 2, 3))  # noqa: PLR2004 - a curve
        left = min(room - len(people), CURVE_MOST)
        return [*(_loss(points, width, left) if left >= CURVE_LEAST else ()), *people]
    people = nodes.panel(status, max(width // 2, NODES_LEAST), room)
    left = width - max(each.width for each in people) - GAP
    return beside(_loss(points, left, max(min(room, CURVE_MOST), len(people))), people, left, GAP)


def _loss(points: list[tuple[float, float]], width: int, height: int) -> list[Line]:
    if len(points) < 2:  # noqa: PLR2004 - a curve needs two points
        return [rule(line(("loss", Tone.STRONG), ("  after two steps", Tone.QUIET)), width)]
    title = line(("loss", Tone.STRONG), f"  {words.loss(points[0][1], 3)} → {words.loss(points[-1][1], 3)}")
    steps = line((f"  (steps {points[0][0]:.0f}–{points[-1][0]:.0f})", Tone.QUIET))
    return [rule(line(title, steps), width), *chart(points, width, height - 1)]


def _events(status: Status, width: int) -> list[list[Line]]:
    """Each event, wrapped, the oldest first."""
    told = []
    for event in _news(status.get("view", {}).get("events", ())):
        stamp = f"{event['time']}  "
        rows = wrapped(event["text"], max(width - len(stamp), 1), "", _mood(event["text"]))
        told.append([line((stamp if row is rows[0] else " " * len(stamp), Tone.QUIET), row) for row in rows])
    return told


def _news(events: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """All events, but of each routine only the newest."""
    kept: list[Mapping[str, str]] = []
    seen: set[tuple[str | None, ...]] = set()
    for event in reversed(events):
        routine = ROUTINE.match(event["text"])
        if routine is None or routine.groups() not in seen:
            kept.insert(0, event)
        if routine is not None:
            seen.add(routine.groups())
    return kept


def _mood(text: str) -> Tone:
    return Tone.BAD if BAD_NEWS.search(text) else Tone.GOOD if GOOD_NEWS.search(text) else Tone.PLAIN


def _newest(told: list[list[Line]], width: int, height: int) -> list[Line]:
    """As many of the newest events as there is room for; the newest stands last."""
    if height < 2:  # noqa: PLR2004 - the title and one event
        return []
    recent: list[Line] = []
    for rows in reversed(told):
        if len(recent) + len(rows) > height - 1:
            break
        recent = rows + recent
    if not recent and told:
        recent = told[-1][: height - 1]
    return [rule(line(("last events", Tone.STRONG)), width), *recent]
