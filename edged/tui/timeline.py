"""One step of a plan as a picture in text: a row for each node, then one for each link that matters.

::

    desk       abcdefghABiCDj…#         a: the forward of micro-batch 0, A: its backward, #: the update
    desk→pi     a b c d e f             what travels: activations small, gradients large
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edged.core.ids import NodeId
from edged.core.plan import Plan
from edged.strategies.rehearsal import Rehearsal, Span

LETTERS = "abcdefghijklmnopqrstuvwxyz"
IDLE, UPDATE = "·", "#"
WIDTH = 80
MOST_NODES = 24
MOST_LINKS = 12
WORTH_SHOWING = 0.01
"""Of a step, what a link must be busy to have a row."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a timeline: what it is called, and what takes time in it; ``link``: something travels."""

    label: str
    spans: tuple[Span, ...]
    link: bool


def rows_of(plan: Plan, rehearsal: Rehearsal, names: dict[NodeId, str]) -> list[Row]:
    """The nodes in the order of their routes, then the busiest links in the order in which they are used."""
    computed = [span for span in rehearsal.spans if span.kind != "transfer"]
    nodes = [Row(names[node], tuple(s for s in computed if s.node == node), link=False) for node in plan.nodes()]
    links: dict[tuple[NodeId, NodeId], list[Span]] = {}
    for span in rehearsal.spans:
        if span.kind == "transfer":
            links.setdefault((span.node, _receiver(plan, span)), []).append(span)
    least = WORTH_SHOWING * rehearsal.step_seconds
    busy = {link: sum(span.end - span.start for span in spans) for link, spans in links.items()}
    shown = sorted((link for link in links if busy[link] >= least), key=lambda link: -busy[link])[:MOST_LINKS]
    travel = [
        Row(f"{names[one]}→{names[other]}", tuple(links[one, other]), link=True)
        for one, other in links
        if (one, other) in shown
    ]
    return nodes[:MOST_NODES] + travel


def is_backward(plan: Plan, span: Span) -> bool:
    """Whether this is a backward, or a gradient on its way."""
    if span.kind != "transfer":
        return span.kind == "backward"
    hops = plan.routes[plan.route_of(span.micro_batch)].hops
    later, earlier = hops[span.hop + 1 : span.hop + 2], hops[max(0, span.hop - 1) : span.hop]
    return any(hop.node == span.node for hop in later) and not any(hop.node == span.node for hop in earlier)


def letter(plan: Plan, span: Span) -> str:
    """How a span is written."""
    if span.kind == "update":
        return UPDATE
    found = LETTERS[span.micro_batch % len(LETTERS)]
    return found.upper() if is_backward(plan, span) else found


def timeline(plan: Plan, rehearsal: Rehearsal, names: dict[NodeId, str], width: int = WIDTH) -> list[str]:
    """Lines of at most ``width`` columns."""
    rows = rows_of(plan, rehearsal, names)
    label = min(max(len(row.label) for row in rows), width // 4)
    columns = width - label - 1
    bars = [(row, _bar(plan, row, rehearsal.step_seconds, columns)) for row in rows]
    lines = [f"{_shortened(row.label, label):<{label}} {bar}" for row, bar in bars if bar or not row.link]
    hidden = len(plan.nodes()) - MOST_NODES
    more = [f"(and {hidden} more {'device' if hidden == 1 else 'devices'})"] if hidden > 0 else []
    end = f"{rehearsal.step_seconds:.3g} s"
    return [*lines, *more, f"{'':<{label}} 0{end:>{columns - 1}}"]


def legend(micro_batches: int) -> str:
    """How to read it."""
    again = ", and from a again" if micro_batches > len(LETTERS) else ""
    letters = "a" if micro_batches == 1 else f"a–{LETTERS[min(micro_batches, len(LETTERS)) - 1]}"
    return f"{letters}{again}: a micro-batch's forward; capitals: its backward; {UPDATE}: the update; {IDLE}: idle"


def _receiver(plan: Plan, span: Span) -> NodeId:
    return plan.routes[plan.route_of(span.micro_batch)].hops[span.hop].node


def _bar(plan: Plan, row: Row, seconds: float, columns: int) -> str:
    """Each column shows what takes the most of its time, if that is a third of it at least."""
    taken: list[dict[str, float]] = [{} for _ in range(columns)]
    column = seconds / columns
    for span in row.spans:
        sign = letter(plan, span)
        last = min(columns - 1, int(span.end / column))
        for index in range(max(0, int(span.start / column)), last + 1):
            overlap = min(span.end, (index + 1) * column) - max(span.start, index * column)
            if overlap > 0.0:
                taken[index][sign] = taken[index].get(sign, 0.0) + overlap
    return "".join(_sign(each, column, " " if row.link else IDLE) for each in taken).rstrip(" ")


def _sign(taken: dict[str, float], column: float, idle: str) -> str:
    if sum(taken.values()) < column / 3:
        return idle
    return max(taken, key=lambda sign: taken[sign])


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def ticks(seconds: float, most: int = 8) -> Sequence[float]:
    """Round moments from 0 to ``seconds``, at most so many."""
    step = 10.0**-9
    for factor in (2.0, 2.5, 2.0) * 12:
        if seconds / step <= most:
            break
        step *= factor
    return [step * number for number in range(int(seconds / step) + 1)]
