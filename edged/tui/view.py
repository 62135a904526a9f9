"""The whole live view: a function from a status object and a size to lines of text, so that it can be tested as such.

::

    cluster, leader, job                     always
    whom it does not see, how others join    while this node is alone
    pipeline as boxes                        always
    progress: step, loss, speed, time left   when a job runs
    replicas: version, age, what may die     when a job runs
    loss curve | members and links           as far as the height allows
    last events in words                     what is left of the height
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from rich.text import Text

from edged.core.plan import layers_in_words
from edged.tui import pipeline, safety, words
from edged.tui.curve import BRAILLE, curve

STATES = {"alive": "●", "suspect": "?", "dead": "✗", "left": "○"}
CURVE_LEAST, CURVE_MOST = 4, 16
EVENTS_LEAST = 3
ALONE_LINES = 6
"""Most lines that say why this node sees nobody: about two sentences."""

BLANK = chr(BRAILLE)
"""A braille cell without dots: not every font has it, and a space looks the same."""

LEAST_RATE = 5000.0
"""Bytes per second below which a link carries only gossip, and is not shown."""

_TIME_COLUMN = 12


def render(status: Mapping[str, Any], width: int, height: int) -> Text:
    """Draw ``status`` (the object of ``edged status --json``) on ``width`` x ``height`` characters."""
    return Text("\n").join(_paint(line) for line in lines(status, width, height))


def lines(status: Mapping[str, Any], width: int, height: int) -> list[str]:
    """The same as plain lines, at most ``height``, none wider than ``width``."""
    head = [*_head(status, width), *pipeline.boxes(status, width), *_progress(status, width)]
    rest = height - len(head)
    body: list[str] = []
    if rest >= CURVE_LEAST + EVENTS_LEAST:
        most = max(CURVE_MOST, len(status.get("members", ())) + 1)
        middle = max(CURVE_LEAST, min(rest - EVENTS_LEAST, rest * 3 // 5, most))
        body = _beside(_loss(status, width // 2 - 2, middle), _members(status, width - width // 2, middle), width)
    events = _events(status, width, rest - len(body))
    return [words.shorten(line, width) for line in (head + body + events)[:height]]


def summary(status: Mapping[str, Any], width: int) -> list[str]:
    """What ``edged status`` prints: all members, what the job would survive, and no curve or events."""
    head = [*_head({**status, "unmet": ()}, width), *pipeline.boxes(status, width), *_progress(status, width)]
    rest = [*_members(status, width, 10**6), *safety.outlook(status, width), *_unmet(status, width)]
    return [words.shorten(line, width) for line in [*head, *rest]]


def _head(status: Mapping[str, Any], width: int) -> list[str]:
    members = status.get("members", [])
    belonging = [member for member in members if _fate(member) not in {"left", "expelled"}]
    alive = sum(member["state"] == "alive" for member in belonging)
    names = {member["node"]: member["name"] for member in members}
    leader = status.get("leader")
    leads = f"{names.get(leader, leader)} leads (★, term {status.get('term', 0)})" if leader else "no leader yet"
    job = status.get("job")
    what = f"job {job['name']}: {job['state']}" if job else "no job: edged train JOB.py"
    if job and job.get("reason") and job["state"] in {"finished", "failed", "stopped"}:
        what += f" ({job['reason']})"
    head = [f"edged · {status.get('cluster', '')} · {alive} of {len(belonging)} nodes alive · {leads}", what]
    head += _waiting(status, width)
    head += [status["tentative"]] if status.get("tentative") else []
    if alive > 1:
        return head
    head += _unmet(status, width)[:ALONE_LINES]
    return head + textwrap.wrap(status.get("invitation") or "", width, break_on_hyphens=False)


def _unmet(status: Mapping[str, Any], width: int) -> list[str]:
    """Whom this node does not see, and why, the most telling first; wrapped, as each sentence ends with what to do."""
    lines: list[str] = []
    for unmet in status.get("unmet", ()):
        lines += textwrap.wrap(f"not met: {unmet['text']}", width, subsequent_indent="  ", break_on_hyphens=False)
    return lines


def _waiting(status: Mapping[str, Any], width: int) -> list[str]:
    """Why nothing goes on, wrapped: what follows from it stands at the end of the sentence."""
    why = status.get("view", {}).get("waiting")
    if not why:
        return []
    job = status.get("job")
    is_paused = bool(job and job["state"] == "paused")
    what = "no leader: " if not status.get("leader") else "" if is_paused else "waiting: "
    return textwrap.wrap(f"{what}{why}", width, subsequent_indent="  ")


def _progress(status: Mapping[str, Any], width: int) -> list[str]:
    job, view = status.get("job"), status.get("view", {})
    if not job or not job.get("steps"):
        return []
    step, steps = job.get("step", 0), job["steps"]
    loss = view["loss"][-1][1] if view.get("loss") else None
    text = f" step {step}/{steps}"
    text += f"  loss {loss:.4f}" if loss is not None else ""
    if job["state"] == "running":
        text += f"  {words.count(view.get('samples_per_second') or 0)} samples/s"
        text += f"  {words.duration(view.get('seconds_left'))} left"
    return [words.bar(step / steps, max(width - len(text) - 1, 8)) + text, safety.headline(status)]


def _loss(status: Mapping[str, Any], width: int, height: int) -> list[str]:
    points = [(float(step), float(loss)) for step, loss in status.get("view", {}).get("loss", [])]
    if len(points) < 2:  # noqa: PLR2004 - a curve needs two points
        return ["loss: after two steps"]
    values = [loss for _, loss in points]
    title = f"loss  {values[0]:.3f} → {values[-1]:.3f}  (steps {points[0][0]:.0f}–{points[-1][0]:.0f})"
    return [title, *(row.replace(BLANK, " ") for row in curve(points, width, height - 1))]


def _members(status: Mapping[str, Any], width: int, height: int) -> list[str]:
    names = {member["node"]: member["name"] for member in status.get("members", [])}
    rows = []
    for member in sorted(status.get("members", []), key=_place):
        state = "" if member["state"] == "alive" else f"{_fate(member):<7} "
        row = f"{STATES.get(member['state'], '?')} {member['name']:<12} {state}{_duty(member)}"
        rows.append(row + _able(member, width - len(row)))
        for peer, link in sorted((member.get("links") or {}).items()):
            sent, trip = link.get("bytes_per_second") or 0.0, link.get("round_trip_seconds")
            if sent >= LEAST_RATE:
                most, latency = link.get("bandwidth_bytes_per_second"), link.get("latency_seconds") or trip
                of = f" of {words.rate(most)}" if most else ""
                after = f", {words.duration(latency)}" if latency else ""
                rows.append(f"   ─▶ {names.get(peer, peer)} {words.rate(sent)}{of}{after}")
    if len(rows) > height - 1:
        rows = [*rows[: height - 2], f"… {len(rows) - height + 2} more"]
    return [words.shorten(row, width) for row in ["nodes and links", *rows]]


def _fate(member: Mapping[str, Any]) -> str:
    """What became of a member: its state, or that it was shut out for good."""
    return "expelled" if member.get("expelled") else str(member["state"])


def _place(member: Mapping[str, Any]) -> tuple[int, str]:
    """Those that hold layers in the order of the pipeline, then the others by name."""
    layers = member.get("layers")
    return (layers[0] if layers else 10**9), member["name"]


def _duty(member: Mapping[str, Any]) -> str:
    if member["state"] in {"dead", "left"}:
        return ""
    layers = member.get("layers")
    what = layers_in_words(*layers) if layers else "no layers"
    held = safety.replicas(member)
    roles = [role for role in member.get("roles", ()) if role != "worker"]
    return ", ".join([*roles, what, *([held] if held else [])])


def _able(member: Mapping[str, Any], room: int) -> str:
    """What was measured of a device, its speed and the memory that it can give, if it fits into ``room``."""
    slowness, memory = member.get("slowness"), member.get("memory_bytes")
    known = [f"slowness {slowness:.3g}"] if slowness else []
    text = "".join(f", {each}" for each in [*known, *([f"{words.size(memory)} free"] if memory else [])])
    return text if member["state"] in {"alive", "suspect"} and len(text) <= room else ""


def _events(status: Mapping[str, Any], width: int, height: int) -> list[str]:
    """The newest events, each wrapped, as many as there is room for; the newest stands last."""
    events = status.get("view", {}).get("events", [])
    if height < 2:  # noqa: PLR2004 - the title and one event
        return []
    recent: list[str] = []
    for event in reversed(events):
        wrapped = textwrap.wrap(
            event["text"], width, initial_indent=f"  {event['time']}  ", subsequent_indent=" " * _TIME_COLUMN
        )
        if len(recent) + len(wrapped) > height - 1:
            break
        recent = wrapped + recent
    if not recent and events:
        recent = [f"  {events[-1]['time']}  {events[-1]['text']}"]
    return ["last events", *recent]


def _beside(left: list[str], right: list[str], width: int) -> list[str]:
    half = width // 2
    tall = max(len(left), len(right))
    left = left + [""] * (tall - len(left))
    right = right + [""] * (tall - len(right))
    return [f"{words.shorten(a, half - 2):<{half}}{b}" for a, b in zip(left, right, strict=True)]


def _paint(line: str) -> Text:
    """Colour is an ornament: every meaning is also in the characters."""
    text = Text(line, no_wrap=True, overflow="crop")
    text.highlight_regex(r"[█⠁-⣿]+", "cyan")
    text.highlight_regex(r"★", "yellow")
    text.highlight_regex(r"●", "green")
    text.highlight_regex(r"✗.*|! \w+|died|failed", "red")
    text.highlight_regex(r"^(edged|last events|loss)|nodes and links$", "bold")
    return text
