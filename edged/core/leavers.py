"""The leader's half of graceful leaving: who wants to go, and when nothing hangs on it any more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet

from edged.core.effects import Effect, SendMessage
from edged.core.events import Event, LeaderChanged, MemberChanged, MessageReceived
from edged.core.ids import JobId, NodeId
from edged.core.messages import JobRecord, JobState, LeaveGranted, LeaveRequest
from edged.core.watch import GONE

FORGET_SECONDS = 10.0
"""Who has not repeated its request for this long has changed its mind (or its process is another one)."""


class Leavers(AbstractSet[NodeId]):
    """The set of nodes that have asked to leave; each request is answered as soon as the node can be spared."""

    def __init__(self) -> None:
        """Nobody wants to leave."""
        self._asked: dict[NodeId, float] = {}
        self._relieved: set[tuple[NodeId, JobId]] = set()

    def handle(self, event: Event, now: float, spared: Callable[[NodeId], bool]) -> list[Effect]:
        """Take in one fact. ``spared``: whether nothing of any job hangs on a node."""
        match event:
            case MessageReceived(sender, LeaveRequest(node)) if sender == node:
                self._asked[node] = now
                return [SendMessage(node, LeaveGranted(node))] if spared(node) else []
            case MemberChanged(record) if record.state in GONE:
                self._asked.pop(record.node, None)
            case LeaderChanged():
                self._relieved.clear()
            case _:
                pass
        for node in [node for node, asked in self._asked.items() if now >= asked + FORGET_SECONDS]:
            del self._asked[node]
        self._relieved = {(node, job) for node, job in self._relieved if node in self._asked}
        return []

    def relieve(self, record: JobRecord) -> None:
        """If this job stands now, what those who want to leave hold of it has gone to others, as far as it can."""
        if record.state is JobState.PAUSED:
            self._relieved |= {(node, record.job) for node in self._asked}

    def hold(self, job: JobId) -> bool:
        """Whether somebody wants to leave that has not been relieved of this job, which stands."""
        return any((node, job) not in self._relieved for node in self._asked)

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
