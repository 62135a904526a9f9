"""The leader's half of graceful leaving: who wants to go, and when nothing hangs on it any more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet

from edged.core.effects import Effect, SendMessage
from edged.core.events import Event, MemberChanged, MessageReceived
from edged.core.ids import NodeId
from edged.core.messages import LeaveGranted, LeaveRequest
from edged.core.watch import GONE

FORGET_SECONDS = 10.0
"""Who has not repeated its request for this long has changed its mind (or its process is another one)."""


class Leavers(AbstractSet[NodeId]):
    """The set of nodes that have asked to leave; each request is answered as soon as the node can be spared."""

    def __init__(self) -> None:
        """Nobody wants to leave."""
        self._asked: dict[NodeId, float] = {}

    def handle(self, event: Event, now: float, spared: Callable[[NodeId], bool]) -> list[Effect]:
        """Take in one fact. ``spared``: whether nothing of any job hangs on a node."""
        match event:
            case MessageReceived(sender, LeaveRequest(node)) if sender == node:
                self._asked[node] = now
                return [SendMessage(node, LeaveGranted(node))] if spared(node) else []
            case MemberChanged(record) if record.state in GONE:
                self._asked.pop(record.node, None)
            case _:
                pass
        for node in [node for node, asked in self._asked.items() if now >= asked + FORGET_SECONDS]:
            del self._asked[node]
        return []

    def deadline(self) -> float | None:
        """Return when the first of them is forgotten."""
        return min(self._asked.values(), default=0.0) + FORGET_SECONDS if self._asked else None

    def are_all(self, nodes: Iterable[NodeId]) -> bool:
        """Whether every one of these nodes, and there is one, wants to leave."""
        wanted = set(nodes)
        return bool(wanted) and wanted <= self._asked.keys()

    def __contains__(self, node: object) -> bool:
        """Whether this node wants to leave."""
        return node in self._asked

    def __iter__(self) -> Iterator[NodeId]:
        """Go through those who want to leave, in order of their ids."""
        return iter(sorted(self._asked))

    def __len__(self) -> int:
        """Count those who want to leave."""
        return len(self._asked)
