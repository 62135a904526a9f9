"""What the roles see of a network: the real one (ZeroMQ) and the one in memory are the same to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from edged.core.events import LinkLost, ParcelLost, ParcelRefused, PeerMet, PortProbed
from edged.core.ids import NodeId
from edged.core.messages import MemberRecord, Message, Parcel
from edged.transport.fitting import Fit, unmeasured


@dataclass(frozen=True, slots=True)
class Received:
    """A control message from an authenticated peer."""

    sender: NodeId
    message: Message


@dataclass(frozen=True, slots=True)
class ReceivedParcel:
    """A complete parcel from an authenticated peer.

    ``buffers``: one writable view per tensor (or one in all, for a program), each 64-byte aligned, of exactly the size
    that the header names.
    """

    sender: NodeId
    header: Parcel
    buffers: tuple[memoryview, ...]


Incoming = Received | ReceivedParcel | ParcelRefused | ParcelLost | PeerMet | LinkLost | PortProbed


@dataclass(frozen=True, slots=True)
class LinkStatistics:
    """What was seen of one peer's link lately: bytes per second sent and received, bytes that wait to be sent.

    ``sent_bytes``, ``received_bytes``: all since the peer is known. ``fit``: what parcels to it take (``fitting.py``),
    given the seconds that an acknowledgement needs to come back; ``None`` before the first.
    """

    node: NodeId
    sent_bytes_per_second: float
    received_bytes_per_second: float
    queued_bytes: int
    sent_bytes: int = 0
    received_bytes: int = 0
    fit: Callable[[float], Fit | None] = unmeasured


class Transport(Protocol):
    """Sends and receives.

    All methods but ``open``, ``receive`` and ``close`` return at once; none raises for a peer's fault.
    """

    async def open(self) -> None:
        """Bind, announce, look for peers. Raises ``ConfigError`` if the address is in use."""

    async def close(self) -> None:
        """Say goodbye on discovery, close every socket, within a second."""

    async def receive(self) -> Incoming:
        """The next thing from outside. One consumer only; never cancelled half-way through a message."""

    def own_record(self) -> MemberRecord:
        """This node's record, with the ports that are bound (incarnation 0, not yet measured)."""

    def admit(self, record: MemberRecord) -> None:
        """Let the member's key in and remember its addresses; an admitted peer is dialled on the first send."""

    def dismiss(self, node: NodeId) -> None:
        """Close all connections with a peer, drop what is queued for it, refuse its key from now on."""

    def expel(self, record: MemberRecord) -> None:
        """Dismiss a peer for good, after it could be told so: it is not admitted again, nor after a restart."""

    def exchange_key(self, token: str) -> None:
        """From now on the door opens to this cluster key only, which is kept in the home."""

    def send(self, to: NodeId, message: Message) -> None:
        """Send a control message; it is dropped (and counted) if the peer is unknown or its queue is full."""

    def send_parcel(self, to: NodeId, header: Parcel, buffers: Sequence[memoryview]) -> None:
        """Queue a parcel. Parcels of one class to one peer arrive in order, whole or not at all.

        There are two classes: replicas and copied samples travel behind everything else, which overtakes them.
        One that the peer has not acknowledged when the connection breaks comes back as ``ParcelLost``; it may have
        arrived all the same. The peer, if it has begun to receive it, is told the same of this node sooner or later.
        Buffers must not change afterwards.
        """

    def drop_parcels(
        self, predicate: Callable[[Parcel], bool], *, to: NodeId | None = None, begun: bool = True
    ) -> None:
        """Forget queued parcels that match (those of an ended plan), of one peer or of all.

        Not ``begun``: only those of which nothing has been sent. Nobody is told of what is dropped.
        """

    def probe(self, record: MemberRecord) -> None:
        """One fresh connect to the control port; the answer comes as ``PortProbed``."""

    def statistics(self) -> tuple[LinkStatistics, ...]:
        """One entry per peer with traffic."""

    def expect(self, accept: Callable[[NodeId, Parcel], bool]) -> None:
        """Install the test that a parcel's header must pass before memory is taken for it, or is ``ParcelRefused``."""
