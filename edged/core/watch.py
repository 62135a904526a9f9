"""Which processes a job cannot do without, and the sentence for people when one of them is gone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edged.core.ids import NodeId
from edged.core.messages import MemberRecord, MemberState
from edged.core.plan import Plan, layers_in_words

GONE = frozenset({MemberState.DEAD, MemberState.LEFT})
"""States of a member that does not come back as it was."""


def farewell(record: MemberRecord, plan: Plan | None, source: NodeId) -> str:
    """Say what became of a member, and what it did for the job."""
    happened = {MemberState.DEAD: "died", MemberState.LEFT: "left"}.get(record.state, "was restarted")
    hops = () if plan is None else plan.hops_of(record.node)
    parts = [f"it ran {layers_in_words(hop.first_layer, hop.last_layer)}" for _, _, hop in hops]
    if record.node == source:
        parts.append("it was the source of the job's data")
    return f"node {record.name} {happened}; " + " and ".join(parts)


class Watch:
    """Remembers the processes, (node, boot), that a job depends on: its source, and its plan's nodes.

    A node that was restarted is alive, but has lost what it held: that counts as gone.
    """

    def __init__(self, source: NodeId, members: Mapping[NodeId, MemberRecord]) -> None:
        """Watch the source; ``members`` is the live list, owned by the caller."""
        self._source = source
        self._members = members
        self._plan: Plan | None = None
        self._boots: dict[NodeId, int] = {}
        self.follow(None)

    @property
    def nodes(self) -> tuple[NodeId, ...]:
        """The nodes that are watched: the source first, then the plan's nodes in order."""
        return tuple(self._boots)

    def follow(self, plan: Plan | None) -> None:
        """Watch this plan's nodes besides the source; those watched already keep the boot they had."""
        self._plan = plan
        nodes: Iterable[NodeId] = (self._source, *(plan.nodes() if plan is not None else ()))
        self._boots = {node: self._boots.get(node, self._boot_of(node)) for node in nodes}

    def lost(self) -> str:
        """Return the sentence for the first watched node that is gone or unknown, else nothing."""
        for node in self._boots:
            record = self._members.get(node)
            sentence = f"nobody knows node {node}" if record is None else self.lost_by(record)
            if sentence:
                return sentence
        return ""

    def lost_by(self, record: MemberRecord) -> str:
        """Return the sentence if this record means that a watched process is gone, else nothing."""
        boot = self._boots.get(record.node)
        if boot is None or (record.state not in GONE and record.boot == boot):
            return ""
        return farewell(record, self._plan, self._source)

    def names(self, nodes: Iterable[NodeId]) -> str:
        """Return the names of nodes, for people, in the watch's order."""
        chosen = set(nodes)
        return ", ".join(self._members[n].name if n in self._members else n for n in self._boots if n in chosen)

    def _boot_of(self, node: NodeId) -> int:
        return self._members[node].boot if node in self._members else 0
