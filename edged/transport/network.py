"""The real network: one node's sockets, put together behind ``interface.Transport``."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from edged.core.events import LinkLost, ParcelLost, ParcelRefused, PeerMet, PortProbed
from edged.core.ids import PROTOCOL_VERSION, NodeId
from edged.core.messages import MemberRecord, MemberState, Message, Parcel
from edged.errors import ConfigError
from edged.transport.buffers import copied
from edged.transport.bulk import BulkInbound
from edged.transport.codec import encode
from edged.transport.contacts import Contacts
from edged.transport.control import ControlInbound
from edged.transport.entrance import Entrance, Surroundings
from edged.transport.identity import Identity, is_key_of
from edged.transport.inbox import Inbox
from edged.transport.interface import Incoming, LinkStatistics, Received, ReceivedParcel
from edged.transport.interfaces import present_addresses, reachable_addresses
from edged.transport.notices import Notice, Notices
from edged.transport.peers import Peer
from edged.transport.ports import Ports, choices, first_free, write_ports
from edged.transport.probe import refuses
from edged.transport.search import write_peers
from edged.transport.sockets import BULK_KIND, CONTROL_KIND, bound_router, new_context
from edged.transport.whereabouts import Whereabouts
from edged.transport.zap import Gate

STRIKES = 8
STRIKE_SECONDS = 60.0
"""A peer that sends so many bad frames within so long loses its connections."""

SHOWN = 160
"""Most characters of what was wrong with a frame that people are told."""

FAREWELL_SECONDS = 0.5
"""How long an expelled node may still be told so; what it sends is not heard any more."""

BOOT_SHIFT = 32
"""Numbers of bulk connections grow over restarts, too: the boot counter above, connections of this boot below."""


class ZmqTransport:
    """See ``interface.Transport``. Belongs to the event loop in which it was opened.

    ``listen`` is (host, port): the door takes the port, control the next, bulk the one after. Port 0 takes those that
    the node had when it last ran, each if it is free, else any. ``home`` keeps them, and the addresses of known peers
    (``None``: nowhere). ``on_notice`` hears each new ``Notice`` once.
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
        self._listen = listen
        self._host = {"*": "0.0.0.0", "": "0.0.0.0", "localhost": "127.0.0.1"}.get(listen[0], listen[0])  # noqa: S104
        self._seeds = tuple(seeds)
        self._with_discovery = discovery
        self._home = home
        self._notices = Notices(on_notice)
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
        self._connections = itertools.count(identity.boot << BOOT_SHIFT)
        self._newest: dict[NodeId, MemberRecord] = {}
        self._strikes: dict[NodeId, deque[float]] = {}
        self._accept: Callable[[NodeId, Parcel], bool] = lambda _node, _parcel: False
        self._probes: set[asyncio.Task[None]] = set()
        self._farewells: set[asyncio.TimerHandle] = set()
        self._open = False
        around = Surroundings(self.own_record, self._present, self._newest, self._known, self._meet)
        self._entrance = Entrance(identity, key, cluster, protocol, home, around, self._notices)
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
            self._entrance.shut()
            self._gate.close()
            self._context.destroy(linger=0)
            raise
        self._open = True
        self._entrance.open(self._seeds, discovery=self._with_discovery)

    async def close(self) -> None:
        """Say goodbye on discovery, close every socket, within a second."""
        if not self._open:
            return
        self._open = False
        for probe in self._probes:
            probe.cancel()
        await asyncio.gather(*self._probes, return_exceptions=True)
        await self._entrance.close()
        for farewell in self._farewells:
            farewell.cancel()
        for peer in self._peers.values():
            peer.close()
        self._control.pump.close()
        self._bulk.pump.close()
        self._gate.close()
        self._context.destroy(linger=0)

    def _bind(self) -> None:
        host, port = self._host, self._listen[1]
        own = (self._identity.public_key, self._identity.secret_key)
        try_door, try_control, try_bulk = choices(self._home, port)
        door_port = first_free(try_door, lambda port: self._entrance.bind(self._context, host, port))
        control, control_port = first_free(
            try_control, lambda port: bound_router(self._context, CONTROL_KIND, own, host, port)
        )
        bulk, bulk_port = first_free(try_bulk, lambda port: bound_router(self._context, BULK_KIND, own, host, port))
        if self._home is not None:
            with suppress(ConfigError):  # a full disk must not stop a node
                write_ports(self._home, Ports(door_port, control_port, bulk_port))
        self._record = replace(
            self._record,
            addresses=reachable_addresses(host),
            control_port=control_port,
            bulk_port=bulk_port,
            door_port=door_port,
        )
        self._whereabouts = Whereabouts(self._record.addresses)
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

    # ------------------------------------------------------------------------------------------ interface

    async def receive(self) -> Incoming:
        """The next thing from outside. One consumer only; cancelling loses nothing."""
        return await self._inbox.take()

    def own_record(self) -> MemberRecord:
        """This node's record, with the ports that are bound (incarnation 0, not yet measured)."""
        return self._record

    def addresses(self) -> tuple[str, ...]:
        """By which addresses others reach this device, read anew: its record and its announcement follow them.

        ``Whereabouts`` says how. A device that cannot say keeps those that it had: interfaces come and go while they
        are asked.
        """
        try:
            seen = present_addresses(self._host)
        except OSError:
            return self._record.addresses
        if self._whereabouts.look(seen, time.monotonic()):
            self._record = replace(self._record, addresses=self._whereabouts.addresses)
            self._entrance.announce_anew()
        return self._record.addresses

    def admit(self, record: MemberRecord) -> None:
        """Let the member's key in and remember its addresses; an admitted peer is dialled on the first send."""
        node = record.node
        if node == self._identity.node or node in self._entrance.expelled:
            return
        if not is_key_of(node, record.public_key):
            self._notices.add("peer", node, f"what members tell of node {node} is not true: that key is not its own")
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
                connections=self._connections,
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

    def expel(self, record: MemberRecord) -> None:
        """Dismiss a peer for good: its key is refused everywhere, also at the door, also after a restart."""
        node = record.node
        self._entrance.expel(record)
        self._gate.dismiss(node)
        self._farewells.add(asyncio.get_running_loop().call_later(FAREWELL_SECONDS, self.dismiss, node))

    def exchange_key(self, token: str) -> None:
        """From now on the door opens to this cluster key only, which is kept in the home."""
        self._entrance.exchange_key(token)

    def expelled(self) -> tuple[MemberRecord, ...]:
        """Whom this node will not let in, as its home remembers."""
        return tuple(self._entrance.expelled.values())

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

    @property
    def contacts(self) -> Contacts:
        """Why this node does not see others."""
        return self._entrance.contacts

    def statistics(self) -> tuple[LinkStatistics, ...]:
        """One entry per peer."""
        return tuple(peer.statistics() for peer in self._peers.values())

    def expect(self, accept: Callable[[NodeId, Parcel], bool]) -> None:
        """Install the test that a parcel's header must pass before memory is taken for it."""
        self._accept = accept

    # --------------------------------------------------------------------------------------------- inside

    def _present(self) -> tuple[str, ...]:
        return self._whereabouts.present

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
            self._notices.add("peer", sender, self._cut_off(sender, text))

    def _cut_off(self, sender: NodeId, text: str) -> str:
        """What a person should hear of a peer that broke the protocol. Its name is whatever it has told: quoted."""
        name = self._newest[sender].name if sender in self._newest else "?"
        return (
            f"node {name!r} ({sender}) was cut off: it sends frames that break the protocol ({text[:SHOWN]}); if it "
            f"goes on, update edged there, or shut it out: `edged expel {sender}`"
        )

    def _known(self, node: NodeId) -> bool:
        """Whether no door needs to be tried for this node."""
        return node in self._peers and not self._peers[node].cut_off

    def _look_for(self, node: NodeId) -> None:
        record = self._peers[node].record
        for host in record.addresses:
            self._entrance.search.add((host, record.door_port), node)

    def _meet(self, record: MemberRecord) -> None:
        if record.node in self._entrance.expelled:
            return
        self.admit(record)
        self._peers[record.node].denials = 0
        self._inbox.put(PeerMet(record))

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
