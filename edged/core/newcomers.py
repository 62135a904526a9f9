"""When it is worth asking the planner whether a member that has no layers would be of use.

It would be of none before it has the job's program: a plan is not stopped for somebody who is not ready. So every
member without layers is asked to learn the program while the plan runs, also for the case that another dies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from edged.core.ids import NodeId
from edged.core.messages import MemberRecord

SETTLED_SECONDS = 5.0
"""A plan has run at least this long before it is changed for a newcomer."""

REPEAT_SECONDS = 1.0
"""Who has not learned the program is asked again this often."""

_Process = tuple[NodeId, int]


class Newcomers:
    """Remembers who has the program, and for whom the planner has been asked: each set of them once per plan."""

    def __init__(self) -> None:
        """Nobody has been considered, and no plan runs."""
        self._considered: frozenset[_Process] = frozenset()
        self._settled_at: float | None = None
        self._settled = False
        self._ready: set[_Process] = set()
        self._ask_at: dict[_Process, float] = {}

    def planned(self, members: Iterable[MemberRecord]) -> None:
        """A plan is being made over these members; whoever it leaves out is of no use to it."""
        self._considered = _processes(members)
        self._settled_at, self._settled = None, False

    def reconsider(self, nodes: AbstractSet[NodeId]) -> None:
        """What kept these nodes out may be over."""
        self._considered = frozenset(process for process in self._considered if process[0] not in nodes)

    def running(self, now: float) -> None:
        """The plan runs now."""
        if not self._settled and self._settled_at is None:
            self._settled_at = now + SETTLED_SECONDS

    def settle(self, now: float) -> None:
        """See whether the plan has run for long enough."""
        if self._settled_at is not None and now >= self._settled_at:
            self._settled_at, self._settled = None, True

    def learned(self, node: NodeId, members: Mapping[NodeId, MemberRecord]) -> None:
        """The process that runs on this node now has the program."""
        if (member := members.get(node)) is not None:
            self._ready.add(_process(member))

    def doubt(self, node: NodeId) -> None:
        """Whether this node is there is not known: it is to answer again."""
        self._ready = {process for process in self._ready if process[0] != node}

    def ready(self, member: MemberRecord) -> bool:
        """Whether this process is known to have the program."""
        return _process(member) in self._ready

    def to_teach(self, members: Iterable[MemberRecord], now: float) -> list[NodeId]:
        """Return those of ``members``, who have no layers, that are to be asked now to learn the program."""
        lacking = [process for process in map(_process, members) if process not in self._ready]
        due = {process: self._ask_at.get(process, now) for process in lacking}
        self._ask_at = {process: now + REPEAT_SECONDS if at <= now else at for process, at in due.items()}
        return [node for (node, _), at in due.items() if at <= now]

    def worth_asking(self, members: Iterable[MemberRecord]) -> bool:
        """Whether ``members``, who could all take part, include one that was not considered yet; now it is."""
        processes = _processes(members)
        if not self._settled or processes <= self._considered:
            return False
        self._considered |= processes
        return True

    def deadline(self) -> float | None:
        """Return when the plan is settled, or somebody is to be asked again."""
        moments = [*self._ask_at.values(), *(() if self._settled_at is None else (self._settled_at,))]
        return min(moments, default=None)


def _process(member: MemberRecord) -> _Process:
    return member.node, member.boot


def _processes(members: Iterable[MemberRecord]) -> frozenset[_Process]:
    return frozenset(_process(member) for member in members)
