"""What nodes say about members and leadership: membership and election, on the control sockets."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from edged.core.ids import NodeId


class MemberState(IntEnum):
    """What is believed of a member. At one incarnation, the higher number overrides the lower."""

    ALIVE = 0
    SUSPECT = 1
    LEFT = 2
    DEAD = 3


@dataclass(frozen=True, slots=True)
class MemberRecord:
    """One member as everyone knows it.

    ``public_key`` is the CURVE key in Z85 (40 characters). ``addresses`` are hosts without port, best first;
    ``control_port`` and ``bulk_port`` are the ports there. ``boot`` counts the starts of this home: (node, boot) is a
    process. ``slowness`` is calibration seconds relative to a fixed reference (higher is slower; 0.0: not yet
    measured). ``memory_bytes`` is the budget for training. ``accusers`` (at most 4) are those who accuse a ``SUSPECT``
    of their own knowledge; ``proven`` marks a ``DEAD`` whose process is known to be gone, not only silent. ``expelled``
    marks a ``DEAD`` that is shut out for good, whatever its process does.
    """

    node: NodeId
    name: str
    public_key: str
    addresses: tuple[str, ...]
    control_port: int
    bulk_port: int
    door_port: int
    protocol: int
    boot: int
    incarnation: int
    state: MemberState
    slowness: float
    memory_bytes: int
    device: str
    accusers: tuple[NodeId, ...] = ()
    proven: bool = False
    expelled: bool = False


@dataclass(frozen=True, slots=True)
class ExpelOrder:
    """To the leader: shut ``node`` out for good. Repeated until its record says so."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class RotateRequest:
    """To the leader: hand out this cluster key (a token in ASCII). Repeated until it has come round."""

    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class NewKey:
    """The cluster key from now on (a token in ASCII); the newest (``term``, ``number``) counts. Repeated."""

    term: int
    number: int
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeyTaken:
    """Answers a ``NewKey``: it is in the sender's home."""

    term: int
    number: int


@dataclass(frozen=True, slots=True)
class Ping:
    """Asks ``target`` (its own id, to catch a wrong address) for an ``Ack`` with the same number."""

    sequence: int
    target: NodeId
    gossip: tuple[MemberRecord, ...]


@dataclass(frozen=True, slots=True)
class PingRequest:
    """Asks the receiver to ping ``target`` for the sender and to pass the ``Ack`` on."""

    sequence: int
    target: NodeId
    gossip: tuple[MemberRecord, ...]


@dataclass(frozen=True, slots=True)
class Ack:
    """Answers a ``Ping`` or ``PingRequest``. ``target`` is the node that is alive."""

    sequence: int
    target: NodeId
    gossip: tuple[MemberRecord, ...]


@dataclass(frozen=True, slots=True)
class Nack:
    """Answers a ``PingRequest`` at once: the helper is there and has pinged; whether ``target`` answers is open."""

    sequence: int
    target: NodeId
    gossip: tuple[MemberRecord, ...]


@dataclass(frozen=True, slots=True)
class Accusation:
    """The sender's link to ``target`` is gone and its port refuses; the receiver is asked to try the port itself."""

    target: NodeId
    boot: int


@dataclass(frozen=True, slots=True)
class Testimony:
    """Answers an ``Accusation``: whether every fresh connect to the target's port was refused."""

    target: NodeId
    boot: int
    refused: bool


@dataclass(frozen=True, slots=True)
class Unreachable:
    """A node to the leader: I cannot reach these, and others can. All of them; none: I reach everyone. Repeated."""

    nodes: tuple[NodeId, ...]


@dataclass(frozen=True, slots=True)
class Gossip:
    """News of members between pings."""

    gossip: tuple[MemberRecord, ...]


@dataclass(frozen=True, slots=True)
class Exchange:
    """The whole member list; the receiver answers with its own unless ``reply``."""

    members: tuple[MemberRecord, ...]
    reply: bool


@dataclass(frozen=True, slots=True)
class Ancestor:
    """The record of another lineage at which a fork left it."""

    lineage: str
    term: int
    number: int
    voters: tuple[NodeId, ...]


@dataclass(frozen=True, slots=True)
class Electorate:
    """The voters, as a numbered record: committed one change at a time.

    ``lineage`` names the cluster's history (drawn at the first bootstrap). Records of one lineage are ordered by
    (``term``, ``number``). ``ancestors`` are the lineages that it is a fork of, oldest first; none if it is no fork.
    """

    lineage: str
    term: int
    number: int
    voters: tuple[NodeId, ...]
    ancestors: tuple[Ancestor, ...] = ()


@dataclass(frozen=True, slots=True)
class VoteRequest:
    """Asks for a vote in ``term``; ``trial`` marks a pre-vote, which binds nobody."""

    term: int
    trial: bool
    electorate: Electorate


@dataclass(frozen=True, slots=True)
class VoteReply:
    """Answers a ``VoteRequest`` of the same ``term`` and ``trial``.

    ``lineage`` and ``voter_term`` are the voter's own. ``restored``: the voter started from disk and has heard no
    leader since.
    """

    term: int
    trial: bool
    granted: bool
    reason: str
    lineage: str = ""
    voter_term: int = 0
    restored: bool = False


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The leader of ``term`` renews its lease; ``sequence`` is answered.

    ``committed`` is the electorate's committed number; ``progress`` counts the training steps that this lineage has
    done, in all jobs that the leader lists.
    """

    term: int
    sequence: int
    electorate: Electorate
    committed: int
    progress: int = 0


@dataclass(frozen=True, slots=True)
class HeartbeatReply:
    """Answers a ``Heartbeat``. ``accepted`` is false where the sender knows a higher ``term``."""

    term: int
    sequence: int
    accepted: bool
    electorate_number: int
    lineage: str = ""
