"""News about members on their way to everyone: a queue in which each item is sent a limited number of times.

Taking costs O(items taken). News that was never sent goes first; after that items take turns (SWIM, section 4.1).
"""

from __future__ import annotations

import math
from collections import deque

from edged.core.ids import NodeId
from edged.core.messages import MemberRecord

NOTHING: tuple[MemberRecord, ...] = ()


def transmissions(members: int, factor: float) -> int:
    """How often one node sends one piece of news so that it reaches ``members`` nodes with near certainty."""
    return max(1, math.ceil(factor * math.log10(members + 1)))


class News:
    """The newest record of each member that still has to be told, with the number of sendings left."""

    __slots__ = ("_fresh", "_left", "_records", "_told")

    def __init__(self) -> None:
        """Start with nothing to tell."""
        self._records: dict[NodeId, MemberRecord] = {}
        self._left: dict[NodeId, int] = {}
        self._fresh: deque[NodeId] = deque()
        self._told: deque[NodeId] = deque()

    def __bool__(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self._records)

    def add(self, record: MemberRecord, times: int) -> None:
        """Tell ``record`` ``times`` times; it replaces what was to be told of the same member."""
        node = record.node
        if node not in self._records:
            self._fresh.append(node)
        self._records[node] = record
        self._left[node] = times

    def drop(self, node: NodeId) -> None:
        """Tell nothing more of ``node``."""
        if self._records.pop(node, None) is not None:
            del self._left[node]
            queue = self._fresh if node in self._fresh else self._told
            queue.remove(node)

    def take(self, most: int, copies: int = 1) -> tuple[MemberRecord, ...]:
        """At most ``most`` records for one message that goes to ``copies`` nodes."""
        if not self._records:
            return NOTHING
        taken: list[MemberRecord] = []
        again: list[NodeId] = []
        while len(taken) < most and (self._fresh or self._told):
            node = self._fresh.popleft() if self._fresh else self._told.popleft()
            taken.append(self._records[node])
            left = self._left[node] - copies
            if left > 0:
                self._left[node] = left
                again.append(node)
            else:
                del self._records[node], self._left[node]
        self._told.extend(again)
        return tuple(taken)

    def check(self) -> None:
        """Assert that every piece of news stands in exactly one of the queues."""
        queued = sorted([*self._fresh, *self._told])
        assert queued == sorted(self._records) == sorted(self._left), "news and queues differ"
        assert all(left > 0 for left in self._left.values()), "news with no sending left"
