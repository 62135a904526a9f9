"""Who is there and does what, and what the links carry, as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from edged.core.plan import layer_numbers
from edged.tui import cells, safety, words
from edged.tui.lines import Column, Line, Tone, line, table
from edged.tui.pipeline import LEADS, LEAST_RATE

MARKS = {
    "alive": ("●", Tone.GOOD),
    "suspect": ("?", Tone.WARN),
    "dead": ("✗", Tone.BAD),
    "left": ("○", Tone.QUIET),
}
PRESENT = {"alive", "suspect"}

LEAST_LINKS = 3
"""So many lines of links, with their heading, are shown before the nodes take the room."""

NODE_NAME, LINK_NAME = 24, 16
"""Cells that a name may take in a row."""

Status = Mapping[str, Any]


def panel(status: Status, width: int, height: int) -> list[Line]:
    """Nodes above, links below, at most ``height`` lines; what does not fit is counted."""
    members = ordered(status)
    used = links(status, width)
    for_links = min(len(used), max(height - len(members) - 1, LEAST_LINKS if height > 2 * LEAST_LINKS else 0))
    for_nodes = height - for_links
    if len(members) >= for_nodes:  # trouble is shown before those that are well
        members.sort(key=lambda member: member["state"] != "suspect")
    above = _cut(nodes(status, width, members), for_nodes, _by_state(members[max(for_nodes - 2, 0) :]))
    gap = [Line()] if for_links and len(above) + for_links < height else []
    return [*above, *gap, *_cut(used, for_links)]


def nodes(status: Status, width: int, members: Sequence[Mapping[str, Any]] = ()) -> list[Line]:
    """One row for each member, in the order of ``ordered`` unless ``members`` come in another."""
    members = members or ordered(status)
    return table(
        [
            Column("nodes", [_named(status, member) for member in members]),
            Column("layers", [_duty(member) for member in members]),
            Column("holds", [_figure(member, safety.replicas(member), Tone.QUIET) for member in members]),
            Column("busy", [_figure(member, _busy(member)) for member in members], right=True),
            Column("slowness", [_figure(member, _slowness(member)) for member in members], right=True),
            Column("free", [_figure(member, _memory(member)) for member in members], True),
            Column("role", [line((_role(member), Tone.QUIET)) for member in members]),
            Column("on", [_figure(member, str(member.get("device") or "")) for member in members]),
        ],
        width,
    )


def links(status: Status, width: int) -> list[Line]:
    """One row for each link that carries more than gossip; no line at all if there is none."""
    names = {member["node"]: member["name"] for member in status.get("members", ())}
    rows: list[tuple[Line, Line, Line, Line]] = []
    for member in ordered(status):
        for peer, link in sorted((member.get("links") or {}).items()):
            sent = link.get("bytes_per_second") or 0.0
            if sent >= LEAST_RATE:
                most, latency = link.get("bandwidth_bytes_per_second"), link.get("latency_seconds")
                sender, receiver = (_short(name, LINK_NAME) for name in (member["name"], names.get(peer, peer)))
                rows.append((
                    line(sender, (" ─▶ ", Tone.QUIET), receiver),
                    line((words.rate(sent), Tone.FIGURE)),
                    line((f"of {words.rate(most)}" if most else "", Tone.QUIET)),
                    line((words.duration(latency or link.get("round_trip_seconds")), Tone.QUIET)),
                ))  # fmt: skip
    if not rows:
        return []
    ends, sending, able, late = zip(*rows, strict=True)
    return table(
        [
            Column("links", ends),
            Column("now", sending, right=True),
            Column("latency", late, right=True),
            Column("measured", able),
        ],
        width,
    )


def ordered(status: Status) -> list[Mapping[str, Any]]:
    """Those that hold layers in the order of the pipeline, then the others by name; those that have gone last."""

    def place(member: Mapping[str, Any]) -> tuple[bool, int, str]:
        layers = member.get("layers")
        return (member["state"] not in PRESENT, layers[0] if layers else 10**9, member["name"])

    return sorted(status.get("members", ()), key=place)


def fate(member: Mapping[str, Any]) -> str:
    """What became of a member: its state, or that it was shut out for good."""
    return "expelled" if member.get("expelled") else str(member["state"])


def _named(status: Status, member: Mapping[str, Any]) -> Line:
    star = f" {LEADS}" if member["node"] == status.get("leader") else ""
    return line(MARKS.get(member["state"], ("?", Tone.WARN)), " ", _short(member["name"], NODE_NAME), (star, Tone.WARN))


def _short(name: object, most: int) -> str:
    return cells.shorten(words.clean(str(name)), most)


def _duty(member: Mapping[str, Any]) -> Line:
    if member["state"] not in PRESENT:
        return line((fate(member), Tone.QUIET if fate(member) == "left" else Tone.BAD))
    layers = member.get("layers")
    what = layer_numbers(*layers) if layers else "none"
    doubt = ("", Tone.BAD) if member["state"] == "alive" else (f" {member['state']}", Tone.BAD)
    return line((what, Tone.PLAIN if layers else Tone.QUIET), doubt)


def _role(member: Mapping[str, Any]) -> str:
    return ", ".join(role for role in member.get("roles") or () if role != "worker")


def _busy(member: Mapping[str, Any]) -> str:
    return f"{float(member.get('busy') or 0.0) * 100:.0f}%" if member.get("layers") else ""


def _memory(member: Mapping[str, Any]) -> str:
    return words.size(member["memory_bytes"]) if member.get("memory_bytes") else ""


def _slowness(member: Mapping[str, Any]) -> str:
    return f"{member['slowness']:.3g}" if member.get("slowness") else ""


def _figure(member: Mapping[str, Any], text: str, tone: Tone = Tone.PLAIN) -> Line:
    """What is known only of those that are there."""
    return line((text, tone) if member["state"] in PRESENT else "")


def _by_state(members: Sequence[Mapping[str, Any]]) -> str:
    """How many there are in each state: ``: 85 alive, 3 dead``."""
    states = Counter(fate(member) for member in members)
    return ": " + ", ".join(f"{number} {state}" for state, number in states.items())


def _cut(rows: Sequence[Line], height: int, what: str = "") -> list[Line]:
    if len(rows) <= height:
        return list(rows)
    if height < 3:  # noqa: PLR2004 - a heading without a row says nothing
        return []
    left = len(rows) - (height - 1)
    return [*rows[: height - 1], line((f"… {left} more{what}", Tone.QUIET))]
