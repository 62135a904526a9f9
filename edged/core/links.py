"""The leader's view of links: which two nodes cannot reach each other though others reach both.

A faulty link is not a faulty node. Two kinds of evidence make a *pair*, which no plan puts together:

- a node says that it cannot reach another one, whose answers come by way of others (``Unreachable``): the pair lasts as
  long as that is said again;
- two nodes lose the connection between them twice within a minute, whatever their pings say (``broke``): the pair lasts
  two minutes after the last time, or until no plan is possible without it, then it is tried again; or until the first
  kind of evidence has come and gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edged.core.effects import Effect, Log
from edged.core.events import Event, MemberChanged, MessageReceived
from edged.core.ids import NodeId
from edged.core.messages import MemberRecord, Unreachable
from edged.core.reach import REPEAT_SECONDS
from edged.core.watch import GONE, named

LAPSE_SECONDS = 3.5 * REPEAT_SECONDS
"""A word that has not been repeated for so long counts no more: its sender cannot reach the leader, or has died."""

BREAKS = 2
"""A connection that breaks this often ..."""

BREAK_SECONDS = 60.0
"""... within this time is not used ..."""

REST_SECONDS = 120.0
"""... for so long after the last break."""

Pair = tuple[NodeId, NodeId]
"""Two nodes, the smaller id first."""


def pair_of(one: NodeId, other: NodeId) -> Pair:
    """Return the two as a pair."""
    return (one, other) if one < other else (other, one)


class Links:
    """The pairs that must be kept apart now. ``members`` is the live list, owned by the caller."""

    def __init__(self, members: Mapping[NodeId, MemberRecord]) -> None:
        """Everyone reaches everyone, as far as is known."""
        self.pairs: frozenset[Pair] = frozenset()
        self._members = members
        self._told: dict[NodeId, tuple[frozenset[NodeId], float]] = {}
        self._breaks: dict[Pair, tuple[float, ...]] = {}
        self._rests: dict[Pair, float] = {}

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take in what a node says of others, and who is gone; forget what is out of date; tell what has changed."""
        match event:
            case MessageReceived(sender, Unreachable(nodes)):
                self._hear(sender, frozenset(nodes), now)
            case MemberChanged(record) if record.state in GONE:
                self._forget(record.node)
            case _:
                pass
        return self._settle(now)

    def broke(self, one: NodeId, other: NodeId, now: float) -> list[Effect]:
        """``one`` says that its connection with ``other`` broke, or that ``other`` does not answer it."""
        pair = pair_of(one, other)
        recent = tuple(moment for moment in self._breaks.get(pair, ()) if moment > now - BREAK_SECONDS)
        self._breaks[pair] = (*recent, now)
        if len(recent) + 1 >= BREAKS:
            self._rests[pair] = now + REST_SECONDS
        return self._settle(now)

    def retry(self, now: float) -> list[Effect]:
        """Nothing can be done without what rests: try it again at once."""
        self._breaks, self._rests = {}, {}
        return self._settle(now)

    def apart(self, one: NodeId, other: NodeId) -> bool:
        """Whether these two must not depend on each other."""
        return bool(self.pairs) and pair_of(one, other) in self.pairs

    def deadline(self) -> float | None:
        """Return when something is out of date."""
        moments = [*(until for nodes, until in self._told.values() if nodes), *self._rests.values()]
        return min(moments, default=None)

    def check(self) -> None:
        """Assert that a pair is two different nodes in order, and that there is evidence for it."""
        assert all(one < other for one, other in self.pairs), "a pair out of order"
        assert not self.pairs or self.deadline() is not None, "a pair that never ends"

    def _hear(self, sender: NodeId, nodes: frozenset[NodeId], now: float) -> None:
        before, _ = self._told.get(sender, (frozenset(), 0.0))
        for node in before - nodes:  # it reaches this one again: what broke earlier broke for that reason
            self._breaks.pop(pair_of(sender, node), None)
            self._rests.pop(pair_of(sender, node), None)
        self._told[sender] = (nodes, now + LAPSE_SECONDS)

    def _forget(self, gone: NodeId) -> None:
        self._told.pop(gone, None)
        self._told = {node: (nodes - {gone}, until) for node, (nodes, until) in self._told.items()}
        self._breaks = {pair: moments for pair, moments in self._breaks.items() if gone not in pair}
        self._rests = {pair: until for pair, until in self._rests.items() if gone not in pair}

    def _settle(self, now: float) -> list[Effect]:
        self._told = {node: word for node, word in self._told.items() if word[0] and word[1] > now}
        self._rests = {pair: until for pair, until in self._rests.items() if until > now}
        told = (pair_of(node, other) for node, (others, _) in self._told.items() for other in others if other != node)
        before, self.pairs = self.pairs, frozenset((*told, *self._rests))
        return [
            *self._log("cannot reach each other: they are kept apart", "warning", self.pairs - before),
            *self._log("may work together again", "info", before - self.pairs),
        ]

    def _log(self, text: str, level: str, pairs: Iterable[Pair]) -> list[Effect]:
        return [Log(level, "links", f"{named(pair, self._members)} {text}") for pair in sorted(pairs)]
