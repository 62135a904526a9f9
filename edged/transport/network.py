"""The real network: one node's sockets, put together behind ``interface.Transport``."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from edged.core.events import LinkLost, ParcelLost, ParcelRefused, PeerMet, PortProbed
from edged.core.ids import PROTOCOL_VERSION, NodeId
from edged.core.messages import MemberRecord, MemberState, Message, Parcel
from edged.errors import ConfigError
from edged.transport.buffers import copied
from edged.transport.bulk import BulkInbound
from edged.transport.codec import encode
from edged.transport.control import ControlInbound
from edged.transport.discovery import Announcement, Discovery
from edged.transport.door import Door, judge
from edged.transport.identity import Identity
from edged.transport.inbox import Inbox
from edged.transport.interface import Incoming, LinkStatistics, Received, ReceivedParcel
from edged.transport.interfaces import is_loopback, reachable_addresses
from edged.transport.knocking import Finding, Finished, Knocking, new_nonce
from edged.transport.peers import Peer
from edged.transport.probe import refuses
from edged.transport.search import Address, Search, read_peers, write_peers
from edged.transport.security import parse_token
from edged.transport.sockets import BULK_KIND, CONTROL_KIND, DOOR_KIND, bound_router, new_context
from edged.transport.zap import Gate

STRIKES = 8
STRIKE_SECONDS = 60.0
"""A peer that sends so many bad frames within so long loses its connections."""

NONCES = 64
MOST_NOTICES = 1024
"""Anyone on the network can cause some, so they must end."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something a person should hear of, in one sentence.

    ``kind``: "key" (a door refused the cluster key), "version", "twin" (this identity runs elsewhere), "refused",
    "cluster" (another cluster is near), "discovery" (mDNS does not work), "peer" (a member was cut off for bad frames).
    """

    kind: str
    address: str
    text: str


class ZmqTransport:
    """See ``interface.Transport``. Belongs to the event loop in which it was opened.

    ``listen`` is (host, port): the door takes the port, control the next, bulk the one after; port 0 takes any three.
    ``home`` keeps the addresses of known peers (``None``: nowhere). ``on_notice`` hears each new ``Notice`` once.
    """

    def __init__(
        self,
        identity: Identity,
        *,
        name: str,
        cluster: str,
        key: str,
        listen: tuple[str, int] = ("0.0.0.0", 0),  # noqa: S104  # every connection is encrypted and admitted
        seeds: Sequence[tuple[str, int]] = (),
        discovery: bool = True,
        home: Path | None = None,
        memory_bytes: int = 0,
        device: str = "cpu",
        protocol: int = PROTOCOL_VERSION,
        on_notice: Callable[[Notice], None] = lambda _: None,
    ) -> None:
        """Nothing is opened yet. Raises ``ConfigError`` if ``key`` is no token."""
        self._identity = identity
        self._key = parse_token(key)
        self._cluster = cluster
        self._listen = listen
        self._seeds = tuple(seeds)
        self._with_discovery = discovery
        self._home = home
        self._protocol = protocol
        self._on_notice = on_notice
        self._noticed: set[tuple[str, str]] = set()
        self._record = MemberRecord(
            node=identity.node,
            name=name,
            public_key=identity.public_key,
            addresses=(),
            control_port=0,
            bulk_port=0,
            door_port=0,
            protocol=protocol,
            boot=identity.boot,
            incarnation=0,
            state=MemberState.ALIVE,
            slowness=0.0,
            memory_bytes=memory_bytes,
            device=device,
        )
        self._peers: dict[NodeId, Peer] = {}
        self._newest: dict[NodeId, MemberRecord] = {}
        self._strikes: dict[NodeId, deque[float]] = {}
        self._nonces: deque[bytes] = deque(maxlen=NONCES)
        self._accept: Callable[[NodeId, Parcel], bool] = lambda _node, _parcel: False
        self._probes: set[asyncio.Task[None]] = set()
        self._discovery: Discovery | None = None
        self._open = False
        self.malformed = 0
        self.dropped = 0

    # ------------------------------------------------------------------------------------- open and close

    async def open(self) -> None:
        """Bind, announce, look for peers. Raises ``ConfigError`` if the address cannot be had."""
        self._context = new_context()
        self._gate = Gate(self._context)
        self._inbox = Inbox(self._stop_receiving, self._go_on_receiving)
        try:
            self._bind()
        except ConfigError:
            self._gate.close()
            self._context.destroy(linger=0)
            raise
        self._open = True
        self._search = Search(self._knock, self._known, self._found)
        for seed in self._seeds:
            self._search.add(seed, lasting=True)
        if self._home is not None:
            for node, address in read_peers(self._home):
                self._search.add(address, node)
        if self._with_discovery:
            self._announce()

    async def close(self) -> None:
        """Say goodbye on discovery, close every socket, within a second."""
        if not self._open:
            return
        self._open = False
        for probe in self._probes:
            probe.cancel()
        await asyncio.gather(*self._probes, return_exceptions=True)
        await self._search.close()
        if self._discovery is not None:
            await self._discovery.close()
        for peer in self._peers.values():
            peer.close()
        self._door.close()
        self._control.pump.close()
        self._bulk.pump.close()
        self._gate.close()
        self._context.destroy(linger=0)

    def _bind(self) -> None:
        host, port = self._listen
        host = {"*": "0.0.0.0", "": "0.0.0.0", "localhost": "127.0.0.1"}.get(host, host)  # noqa: S104  # see above
        own = (self._identity.public_key, self._identity.secret_key)
        doors = (self._key.door_public, self._key.door_secret)
        door, door_port = bound_router(self._context, DOOR_KIND, doors, host, port)
        control, control_port = bound_router(self._context, CONTROL_KIND, own, host, port and port + 1)
        bulk, bulk_port = bound_router(self._context, BULK_KIND, own, host, port and port + 2)
        self._record = replace(
            self._record,
            addresses=reachable_addresses(host),
            control_port=control_port,
            bulk_port=bulk_port,
            door_port=door_port,
        )
        self._door = Door(
            door,
            self._key,
            self._cluster,
            self._protocol,
            own_record=self.own_record,
            judge=lambda knock: judge(knock, self._record, self._nonces, self._newest.get(knock.record.node)),
            welcome=self._meet,
        )
        self._control = ControlInbound(
            control, admits=self._gate.admits, deliver=self._deliver, complain=self._complain
        )
        self._bulk = BulkInbound(
            bulk,
            admits=self._gate.admits,
            accept=self._accepts,
            deliver=lambda node, header, buffers: self._inbox.put(ReceivedParcel(node, header, buffers)),
            lost=lambda node, header: self._inbox.put(ParcelLost(node, header)),
            complain=self._complain,
            received=self._count_received,
        )

    def _announce(self) -> None:
        addresses = tuple(address for address in self._record.addresses if ":" not in address)
        tag = self._key.tag(self._cluster)
        own = Announcement(tag, self._protocol, self._identity.node, addresses, self._record.door_port)
        self._discovery = Discovery(own, self._heard, lambda text: self._notice("discovery", "", text))
        self._discovery.open()

    # ------------------------------------------------------------------------------------------ interface

    async def receive(self) -> Incoming:
        """The next thing from outside. One consumer only; cancelling loses nothing."""
        return await self._inbox.take()

    def own_record(self) -> MemberRecord:
        """This node's record, with the ports that are bound (incarnation 0, not yet measured)."""
        return self._record

    def admit(self, record: MemberRecord) -> None:
        """Let the member's key in and remember its addresses; an admitted peer is dialled on the first send."""
        node = record.node
        if node == self._identity.node:
            return
        known = self._newest.get(node)
        if known is not None and known.boot > record.boot:
            record = known
        self._newest[node] = record
        self._gate.admit(node, record.public_key)
        peer = self._peers.get(node)
        if peer is None:
            self._peers[node] = Peer(
                self._context,
                self._identity,
                record,
                tell=self._inbox.put,
                on_denied=lambda: self._look_for(node),
                complain=lambda text: self._complain(node, text),
            )
        elif peer.record != record:
            peer.update(record)
        if known is None or (known.addresses, known.door_port) != (record.addresses, record.door_port):
            self._remember()

    def dismiss(self, node: NodeId) -> None:
        """Close all connections with a peer, drop what is queued for it, refuse its key from now on."""
        self._gate.dismiss(node)
        self._control.sessions.cut(node)
        self._bulk.sessions.cut(node)
        self._bulk.forget(node)
        self._strikes.pop(node, None)
        peer = self._peers.pop(node, None)
        if peer is not None:
            peer.close()

    def send(self, to: NodeId, message: Message) -> None:
        """Send a control message; it is dropped (and counted) if the peer is unknown or its queue is full."""
        if to == self._identity.node:
            self._inbox.put(Received(to, message))
            return
        peer = self._peers.get(to)
        if peer is None:
            self.dropped += 1
            return
        data = encode(message)
        peer.count_sent(len(data))
        peer.control.send(data)

    def send_parcel(self, to: NodeId, header: Parcel, buffers: Sequence[memoryview]) -> None:
        """Queue a parcel. One to this node itself is copied and comes back. Unknown peers lose it, counted."""
        if to == self._identity.node:
            if self._accepts(to, header):
                self._inbox.put(ReceivedParcel(to, header, tuple(map(copied, buffers))))
            return
        peer = self._peers.get(to)
        if peer is None:
            self.dropped += 1
            self._inbox.put(LinkLost(to))
            self._inbox.put(ParcelLost(to, header))
            return
        peer.bulk.send(header, buffers)

    def drop_parcels(
        self, predicate: Callable[[Parcel], bool], *, to: NodeId | None = None, begun: bool = True
    ) -> None:
        """Forget queued parcels that match; not ``begun``: only those of which nothing has been sent."""
        for node, peer in self._peers.items():
            if to in {None, node}:
                peer.bulk.drop(predicate, begun=begun)

    def probe(self, record: MemberRecord) -> None:
        """One fresh connect to the control port; the answer comes as ``PortProbed``."""
        task = asyncio.get_running_loop().create_task(self._probe(record))
        self._probes.add(task)
        task.add_done_callback(self._probes.discard)

    def statistics(self) -> tuple[LinkStatistics, ...]:
        """One entry per peer."""
        return tuple(peer.statistics() for peer in self._peers.values())

    def expect(self, accept: Callable[[NodeId, Parcel], bool]) -> None:
        """Install the test that a parcel's header must pass before memory is taken for it."""
        self._accept = accept

    # --------------------------------------------------------------------------------------------- inside

    def _stop_receiving(self) -> None:
        self._control.pump.pause()
        self._bulk.pump.pause()

    def _go_on_receiving(self) -> None:
        self._control.pump.resume()
        self._bulk.pump.resume()

    def _deliver(self, sender: NodeId, message: Message, size: int) -> None:
        self._count_received(sender, size)
        self._inbox.put(Received(sender, message))

    def _accepts(self, sender: NodeId, header: Parcel) -> bool:
        accepted = self._accept(sender, header)
        if not accepted:
            self._inbox.put(ParcelRefused(sender, header))
        return accepted

    def _count_received(self, sender: NodeId, size: int) -> None:
        peer = self._peers.get(sender)
        if peer is not None:
            peer.count_received(size)

    def _complain(self, sender: NodeId, text: str) -> None:
        self.malformed += 1
        now = time.monotonic()
        strikes = self._strikes.setdefault(sender, deque(maxlen=STRIKES))
        strikes.append(now)
        if len(strikes) == STRIKES and now - strikes[0] < STRIKE_SECONDS:
            self.dismiss(sender)
            self._inbox.put(LinkLost(sender))
            self._notice("peer", sender, f"node {sender} was cut off: it sends frames that break the protocol ({text})")

    def _notice(self, kind: str, address: str, text: str) -> None:
        if (kind, address) not in self._noticed and len(self._noticed) < MOST_NOTICES:
            self._noticed.add((kind, address))
            self._on_notice(Notice(kind, address, text))

    def _known(self, node: NodeId) -> bool:
        """Whether no door needs to be tried for this node."""
        return node in self._peers and not self._peers[node].cut_off

    def _look_for(self, node: NodeId) -> None:
        record = self._peers[node].record
        for host in record.addresses:
            self._search.add((host, record.door_port), node)

    def _knock(self, address: Address, done: Callable[[Finished], None]) -> Knocking:
        nonce = new_nonce()
        self._nonces.append(nonce)
        return Knocking(
            self._context,
            self._identity,
            self._key,
            self._cluster,
            self._protocol,
            address,
            nonce,
            self.own_record,
            done,
        )

    def _found(self, finished: Finished) -> None:
        if finished.finding is Finding.MET and finished.record is not None:
            self._meet(finished.record)
        elif finished.finding is not Finding.MYSELF:
            address = f"{finished.address[0]}:{finished.address[1]}"
            text = finished.reason
            if finished.finding is Finding.UNREACHABLE:
                text += " (a seed): is a node running there, and its port open? Still trying"
            self._notice(finished.finding.value, address, text)

    def _meet(self, record: MemberRecord) -> None:
        self.admit(record)
        self._peers[record.node].denials = 0
        self._inbox.put(PeerMet(record))

    def _heard(self, heard: Announcement) -> None:
        where = f"{heard.addresses[0] if heard.addresses else '?'}:{heard.door_port}"
        if heard.tag != self._key.tag(self._cluster):
            self._notice("cluster", where, f"the node at {where} belongs to another cluster or has another key")
        elif heard.protocol != self._protocol:
            text = f"the node at {where} speaks protocol {heard.protocol}, this node {self._protocol}; update the older"
            self._notice("version", where, text)
        elif heard.door_port != self._record.door_port or heard.node != self._identity.node:
            node = NodeId(heard.node) if heard.node != self._identity.node else None
            for address in heard.addresses:
                if is_loopback(address) == is_loopback(self._record.addresses[0]):
                    self._search.add((address, heard.door_port), node)

    def _remember(self) -> None:
        if self._home is not None:
            with suppress(ConfigError):  # a full disk must not stop a node; discovery finds the others again
                write_peers(self._home, self._newest.values())

    async def _probe(self, record: MemberRecord) -> None:
        peer = self._peers.get(record.node)
        answered = peer.control.road.address if peer is not None and peer.record.boot == record.boot else None
        addresses = [answered] if answered else [(host, record.control_port) for host in record.addresses]
        refused = await asyncio.gather(*map(refuses, addresses))
        self._inbox.put(PortProbed(record.node, bool(refused) and all(refused)))
