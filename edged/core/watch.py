"""Which processes a plan cannot do without, and the words for people when one of them is gone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edged.core.ids import NodeId
from edged.core.messages import MemberRecord, MemberState

GONE = frozenset({MemberState.DEAD, MemberState.LEFT})
"""States of a member that does not come back as it was."""


def present(members: Mapping[NodeId, MemberRecord]) -> tuple[NodeId, ...]:
    """Return the nodes that are not known to be gone, in order of their ids."""
    return tuple(sorted(node for node, record in members.items() if record.state <= MemberState.SUSPECT))


def fate(record: MemberRecord) -> str:
    """Say what became of a member that is missed: ``died``, ``left``, ``was expelled``, ``was restarted``."""
    if record.expelled:
        return "was expelled"
    return {MemberState.DEAD: "died", MemberState.LEFT: "left"}.get(record.state, "was restarted")


def named(nodes: Iterable[NodeId], members: Mapping[NodeId, MemberRecord]) -> str:
    """Return the names of nodes, for people: ``pi-a, pi-b and pi-c``."""
    names = [members[node].name if node in members else node for node in nodes]
    return " and ".join(part for part in (", ".join(names[:-1]), *names[-1:]) if part)


class Watch:
    """Remembers the processes, (node, boot), that the procedure depends on just now.

    A node that was restarted is alive, but has lost what it held: that counts as gone.
    """

    def __init__(self, members: Mapping[NodeId, MemberRecord]) -> None:
        """Watch nobody yet; ``members`` is the live list, owned by the caller."""
        self._members = members
        self._boots: dict[NodeId, int] = {}

    @property
    def nodes(self) -> tuple[NodeId, ...]:
        """The nodes that are watched, in order."""
        return tuple(self._boots)

    def follow(self, nodes: Iterable[NodeId]) -> None:
        """Watch these nodes and no others; those watched already keep the boot they had."""
        self._boots = {node: self._boots.get(node, self._boot_of(node)) for node in nodes}

    def lost(self) -> tuple[NodeId, ...]:
        """Return the watched nodes that are gone, restarted or unknown."""
        return tuple(node for node in self._boots if self._gone(node))

    def _gone(self, node: NodeId) -> bool:
        record = self._members.get(node)
        return record is None or record.state in GONE or record.boot != self._boots[node]

    def _boot_of(self, node: NodeId) -> int:
        return self._members[node].boot if node in self._members else 0
