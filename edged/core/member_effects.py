"""Decisions of membership and election; see ``effects.py``, which has them all."""

from __future__ import annotations

from dataclasses import dataclass, field

from edged.core.ids import NodeId
from edged.core.messages import Electorate, JobRecord, MemberRecord, MemberState


@dataclass(frozen=True, slots=True)
class Admit:
    """Let this member's key in, and remember its address for sending."""

    record: MemberRecord


@dataclass(frozen=True, slots=True)
class Dismiss:
    """Close all connections with this node; what was queued for it is dropped."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class Expel:
    """Shut this node out for good: refuse its key at every socket, its name at the door, and remember that on disk.

    Its connections end after a moment in which it can still be told.
    """

    record: MemberRecord


@dataclass(frozen=True, slots=True)
class ExchangeKey:
    """Let only this cluster key (a token in ASCII) open the door from now on; on disk before the next effect."""

    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ProbePort:
    """Make one fresh connect to the member's control port. Answered by ``PortProbed``."""

    record: MemberRecord


@dataclass(frozen=True, slots=True)
class TellMember:
    """A member's state changed; for the other machines (as ``MemberChanged``), the journal and the live view."""

    record: MemberRecord
    before: MemberState | None
    reason: str


@dataclass(frozen=True, slots=True)
class TellLeader:
    """The leader changed; for the other machines (as ``LeaderChanged``), the journal and the live view."""

    leader: NodeId | None
    term: int


@dataclass(frozen=True, slots=True)
class TellLineage:
    """The history that this node belongs to, or its standing, changed (as ``LineageChanged``).

    ``tentative``: why its results may have to be computed again, in a sentence; empty if they count. ``discarded``: the
    lineage that this node has just given up for it, whose plans and list are void here; empty if there is none.
    """

    lineage: str
    tentative: str
    discarded: str


@dataclass(frozen=True, slots=True)
class TellReach:
    """Whom this node cannot reach though others can (as ``ReachChanged``); all of them, in order."""

    nodes: tuple[NodeId, ...]


@dataclass(frozen=True, slots=True)
class SaveVote:
    """Write term, vote and electorate in one atomic record and fsync it, before the next effect."""

    term: int
    voted_for: NodeId | None
    electorate: Electorate | None


@dataclass(frozen=True, slots=True)
class SaveJobs:
    """Write the list of jobs as the next process of this node should find it, before the next effect."""

    records: tuple[JobRecord, ...]


@dataclass(frozen=True, slots=True)
class Depart:
    """This node has said goodbye; stop the process. ``failed``: it did not want to go, so that is an error."""

    reason: str
    failed: bool = False
