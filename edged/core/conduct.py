"""Nodes that spoil the plans of a job, and when the job does without them."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from edged.core.ids import NodeId
from edged.core.messages import MemberRecord, MemberState

STRIKES = 3
"""A node that is lost this often, by itself or by several others ..."""

STRIKE_SECONDS = 60.0
"""... within this time takes no further part in the job. Where only one other loses it, the link is at fault."""

STRAY_SECONDS = 1.0
"""What a dead process has said may come this long after its port refused."""

FAILURES = 2
"""A node that could not prepare this often takes no further part: once may be the fault of who it got layers from.

A failure counts as long as a strike does, and as long as one more transfer may take.
"""

REST_SECONDS = 60.0
"""Who was left out so long ago is tried again where nobody else is left."""


class Conduct:
    """Counts, for one job, what goes wrong with whom. A process that is started anew begins with a clean slate.

    A node is *doubted* from the moment its port refuses: it is not waited for until it is heard of.
    """

    def __init__(self, members: Mapping[NodeId, MemberRecord]) -> None:
        """Everyone is welcome; ``members`` is the list as it is now."""
        self._boots = {node: record.boot for node, record in members.items()}
        self._doubted: set[NodeId] = set()
        self._refused_at: dict[NodeId, float] = {}
        self._strikes: dict[NodeId, list[tuple[float, NodeId]]] = {}
        self._failures: dict[NodeId, list[float]] = {}
        self._excluded: dict[NodeId, str] = {}
        self._excluded_at: dict[NodeId, float] = {}

    @property
    def excluded(self) -> Mapping[NodeId, str]:
        """Who takes no further part in the job, and why."""
        return self._excluded

    @property
    def doubted(self) -> AbstractSet[NodeId]:
        """Whose death is likely, before membership has the last word."""
        return self._doubted

    def refused(self, node: NodeId, now: float) -> None:
        """A fresh connect to this node's port was refused."""
        self._doubted.add(node)
        self._refused_at[node] = now

    def heard(self, node: NodeId, now: float | None = None) -> None:
        """This node has answered; or, at ``now``, has said anything: that counts if it cannot be from before."""
        if now is None or now >= self._refused_at.get(node, 0.0) + STRAY_SECONDS:
            self._doubted.discard(node)

    def changed(self, record: MemberRecord, before: MemberState | None) -> None:
        """A member is alive after all, or another process runs on its device now."""
        if record.state is MemberState.ALIVE and before is not MemberState.ALIVE:
            self._doubted.discard(record.node)
        if self._boots.get(record.node) != record.boot:
            self._pardon(record.node)
        self._boots[record.node] = record.boot

    def lost(self, node: NodeId, by: NodeId, why: str, now: float) -> bool:
        """``by``, which may be the node itself, cannot work with it; return whether it is excluded, now or before."""
        recent = [strike for strike in self._strikes.get(node, []) if strike[0] > now - STRIKE_SECONDS]
        self._strikes[node] = [*recent, (now, by)]
        witnesses = {witness for _, witness in self._strikes[node]}
        guilty = len(self._strikes[node]) >= STRIKES and (node in witnesses or len(witnesses) > 1)
        return self._judge(node, why, now, guilty=guilty)

    def unready(self, node: NodeId, why: str, now: float, transfer_seconds: float) -> bool:
        """This node could not prepare; return whether it is excluded for it, now or before.

        ``transfer_seconds``: how long it may have taken to show that.
        """
        since = now - STRIKE_SECONDS - transfer_seconds
        self._failures[node] = [*(moment for moment in self._failures.get(node, []) if moment > since), now]
        return self._judge(node, why, now, guilty=len(self._failures[node]) >= FAILURES)

    def forgive(self, now: float) -> None:
        """The others cannot do it: what kept nodes out (no memory, say) may have passed."""
        for node in [node for node, since in self._excluded_at.items() if now >= since + REST_SECONDS]:
            self._clear(node)

    def _pardon(self, node: NodeId) -> None:
        self._doubted.discard(node)
        self._clear(node)

    def _clear(self, node: NodeId) -> None:
        for known in (self._strikes, self._failures, self._excluded, self._excluded_at):
            known.pop(node, None)

    def _judge(self, node: NodeId, why: str, now: float, *, guilty: bool) -> bool:
        if guilty and node not in self._excluded:
            self._excluded[node], self._excluded_at[node] = why, now
        return node in self._excluded
