"""When it is worth asking the planner whether a member that has no layers would be of use."""

from __future__ import annotations

from collections.abc import Iterable

from edged.core.ids import NodeId
from edged.core.messages import MemberRecord

SETTLED_SECONDS = 5.0
"""A plan has run at least this long before it is changed for a newcomer."""


class Newcomers:
    """Remembers for which members the planner has been asked; each set of them is considered once per plan."""

    def __init__(self) -> None:
        """Nobody has been considered, and no plan runs."""
        self._considered: frozenset[tuple[NodeId, int]] = frozenset()
        self._settled_at: float | None = None
        self._settled = False

    def planned(self, members: Iterable[MemberRecord]) -> None:
        """A plan is being made over these members; whoever it leaves out is of no use to it."""
        self._considered = _processes(members)
        self._settled_at, self._settled = None, False

    def running(self, now: float) -> None:
        """The plan runs now."""
        if not self._settled and self._settled_at is None:
            self._settled_at = now + SETTLED_SECONDS

    def worth_asking(self, members: Iterable[MemberRecord], now: float) -> bool:
        """Whether ``members``, who could all take part, include one that was not considered yet; now it is."""
        if self._settled_at is not None and now >= self._settled_at:
            self._settled_at, self._settled = None, True
        processes = _processes(members)
        if not self._settled or processes <= self._considered:
            return False
        self._considered |= processes
        return True

    def deadline(self) -> float | None:
        """Return when the plan is settled, while it is not."""
        return self._settled_at


def _processes(members: Iterable[MemberRecord]) -> frozenset[tuple[NodeId, int]]:
    return frozenset((member.node, member.boot) for member in members)
