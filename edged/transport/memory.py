"""A network in memory, with delay, loss, duplication and partition as parameters, behind the same interface.

``Weather`` is the pure half: for each message it says when copies arrive, if at all. ``MemoryNetwork`` puts nodes of
one event loop on top of it. One seed gives one sequence of faults.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from edged.core.events import LinkLost, ParcelLost, ParcelRefused, PeerMet, PortProbed
from edged.core.ids import NodeId
from edged.core.messages import MemberRecord, Message, Parcel
from edged.transport.buffers import copied
from edged.transport.codec import decode, encode
from edged.transport.inbox import Inbox
from edged.transport.interface import Incoming, LinkStatistics, Received, ReceivedParcel
from edged.transport.pieces import is_background, prepare
from edged.transport.rates import Rate


@dataclass(slots=True)
class Weather:
    """Faults of links. ``delay_seconds`` is one way, ``jitter_seconds`` is added evenly; probabilities are per message.

    ``partition`` cuts links both ways, ``cut`` one way. No clocks: times are delays from now.
    """

    rng: random.Random
    delay_seconds: float = 0.0
    jitter_seconds: float = 0.0
    loss: float = 0.0
    duplication: float = 0.0
    _sides: dict[NodeId, int] = field(default_factory=dict)
    _cuts: set[tuple[NodeId, NodeId]] = field(default_factory=set)

    def partition(self, groups: Iterable[Collection[NodeId]]) -> None:
        """From now on only nodes of one group reach each other; nodes in none form one more."""
        self._sides = {node: side for side, group in enumerate(groups, 1) for node in group}

    def cut(self, sender: NodeId, receiver: NodeId) -> None:
        """From now on nothing passes from ``sender`` to ``receiver``."""
        self._cuts.add((sender, receiver))

    def heal(self) -> None:
        """All links work again."""
        self._sides.clear()
        self._cuts.clear()

    def passes(self, sender: NodeId, receiver: NodeId) -> bool:
        """Whether the link exists at all."""
        return self._sides.get(sender, 0) == self._sides.get(receiver, 0) and (sender, receiver) not in self._cuts

    def arrivals(self, sender: NodeId, receiver: NodeId) -> tuple[float, ...]:
        """Delays after which copies of a message arrive: none if lost, two if duplicated."""
        if not self.passes(sender, receiver) or self.rng.random() < self.loss:
            return ()
        copies = 2 if self.rng.random() < self.duplication else 1
        return tuple(self.delay() for _ in range(copies))

    def delay(self) -> float:
        """One way, for one message."""
        return self.delay_seconds + self.jitter_seconds * self.rng.random()


class MemoryNetwork:
    """Nodes that reach each other by function calls. All must live in one event loop."""

    def __init__(self, weather: Weather) -> None:
        """Empty. ``weather`` may be changed at any time."""
        self.weather = weather
        self.nodes: dict[NodeId, MemoryTransport] = {}

    def transport(self, record: MemberRecord) -> MemoryTransport:
        """A node's end of the network; ``open`` plugs it in."""
        return MemoryTransport(self, record)

    def vanish(self, node: NodeId) -> None:
        """As if its process were killed: every peer with a link to it loses the link."""
        gone = self.nodes.pop(node, None)
        if gone is not None:
            for other in self.nodes.values():
                other.lose(node)


class MemoryTransport:
    """See ``interface.Transport``.

    Control messages suffer the weather; parcels are only delayed, or lost with the link.
    """

    def __init__(self, network: MemoryNetwork, record: MemberRecord) -> None:
        """Not plugged in yet."""
        self._network = network
        self._record = record
        self._admitted: dict[NodeId, MemberRecord] = {}
        self._linked: set[NodeId] = set()
        self._accept: Callable[[NodeId, Parcel], bool] = lambda _node, _parcel: False
        self._queued: list[tuple[NodeId, Parcel, tuple[memoryview, ...]]] = []
        self._free_at: dict[NodeId, float] = {}
        self._sent: dict[NodeId, Rate] = {}
        self._received: dict[NodeId, Rate] = {}
        self._inbox = Inbox(lambda: None, lambda: None)
        self.dropped = 0

    async def open(self) -> None:
        """Plug in; the nodes that are there meet this one."""
        others = list(self._network.nodes.values())
        self._network.nodes[self._record.node] = self
        for other in others:
            if self._network.weather.passes(self._record.node, other.own_record().node):
                self.meet(other.own_record())
                other.meet(self._record)

    async def close(self) -> None:
        """Unplug."""
        self._network.vanish(self._record.node)

    async def receive(self) -> Incoming:
        """The next thing from outside."""
        return await self._inbox.take()

    def own_record(self) -> MemberRecord:
        """The record that it was made with."""
        return self._record

    def admit(self, record: MemberRecord) -> None:
        """Let the member in."""
        if record.node != self._record.node:
            self._admitted[record.node] = record

    def dismiss(self, node: NodeId) -> None:
        """Refuse the member, forget what is queued for it."""
        self._admitted.pop(node, None)
        self._linked.discard(node)
        self._queued = [entry for entry in self._queued if entry[0] != node]

    def expel(self, record: MemberRecord) -> None:
        """Refuse the member; there are no doors here to keep it from."""
        self.dismiss(record.node)

    def exchange_key(self, token: str) -> None:
        """There are no doors here."""

    def send(self, to: NodeId, message: Message) -> None:
        """Send a control message through the codec, as the real network does."""
        data = encode(message)
        if to == self._record.node:
            self._inbox.put(Received(to, message))
            return
        if to not in self._admitted:
            self.dropped += 1
            return
        self._rate(self._sent, to).add(len(data), time.monotonic())
        self._linked.add(to)
        for delay in self._network.weather.arrivals(self._record.node, to):
            asyncio.get_running_loop().call_later(delay, self._hand_over, to, data)

    def send_parcel(self, to: NodeId, header: Parcel, buffers: Sequence[memoryview]) -> None:
        """Queue a parcel. On a link that is cut, or to a peer that is unknown, it is lost and the link with it."""
        prepare(header, buffers)
        if to == self._record.node:
            self.take_parcel(to, header, buffers)
        elif to not in self._admitted or not self._network.weather.passes(self._record.node, to):
            self._inbox.put(LinkLost(to))
            self._inbox.put(ParcelLost(to, header))
        else:
            self._queued.append((to, header, tuple(buffers)))
            loop = asyncio.get_running_loop()
            self._free_at[to] = max(self._free_at.get(to, 0.0), loop.time() + self._network.weather.delay())
            loop.call_at(self._free_at[to], self._deliver, to)

    def drop_parcels(
        self, predicate: Callable[[Parcel], bool], *, to: NodeId | None = None, begun: bool = True
    ) -> None:
        """Forget queued parcels that match. A parcel is all sent at once here, so ``begun`` makes no difference."""
        del begun
        self._queued = [entry for entry in self._queued if to not in {None, entry[0]} or not predicate(entry[1])]

    def probe(self, record: MemberRecord) -> None:
        """Refused where the node is gone and the link works."""
        there = record.node in self._network.nodes
        passes = self._network.weather.passes(self._record.node, record.node)
        self._inbox.put(PortProbed(record.node, refused=passes and not there))

    def statistics(self) -> tuple[LinkStatistics, ...]:
        """One entry per peer with traffic."""
        now = time.monotonic()
        return tuple(
            LinkStatistics(
                node,
                self._rate(self._sent, node).per_second(now),
                self._rate(self._received, node).per_second(now),
                sum(view.nbytes for to, _, views in self._queued if to == node for view in views),
                self._rate(self._sent, node).total_bytes,
                self._rate(self._received, node).total_bytes,
            )
            for node in sorted(self._sent.keys() | self._received.keys())
        )

    def expect(self, accept: Callable[[NodeId, Parcel], bool]) -> None:
        """Install the test that a parcel's header must pass."""
        self._accept = accept

    # ------------------------------------------------------------------------- called by the other nodes

    def meet(self, record: MemberRecord) -> None:
        """The door has admitted a node."""
        self.admit(record)
        self._linked.add(record.node)
        self._inbox.put(PeerMet(record))

    def lose(self, node: NodeId) -> None:
        """A peer's process has ended."""
        if node in self._linked:
            self._linked.discard(node)
            self._inbox.put(LinkLost(node))

    def take_message(self, sender: NodeId, data: bytes) -> None:
        """A control message arrives."""
        message = decode(data)
        if sender in self._admitted and not isinstance(message, Parcel):
            self._rate(self._received, sender).add(len(data), time.monotonic())
            self._inbox.put(Received(sender, message))

    def take_parcel(self, sender: NodeId, header: Parcel, buffers: Sequence[memoryview]) -> None:
        """A parcel arrives: copied into memory of this node's own."""
        known = sender in self._admitted or sender == self._record.node
        if known and not self._accept(sender, header):
            self._inbox.put(ParcelRefused(sender, header))
        elif known:
            copies = tuple(map(copied, buffers))
            self._rate(self._received, sender).add(sum(map(len, copies)), time.monotonic())
            self._inbox.put(ReceivedParcel(sender, header, copies))

    def _hand_over(self, to: NodeId, data: bytes) -> None:
        other = self._network.nodes.get(to)
        if other is not None and self._plugged():
            other.take_message(self._record.node, data)

    def _deliver(self, to: NodeId) -> None:
        waiting = [queued for queued in self._queued if queued[0] == to]
        if not waiting:
            return
        entry = min(waiting, key=lambda queued: is_background(queued[1]))
        self._queued.remove(entry)
        _, header, buffers = entry
        other = self._network.nodes.get(to)
        if other is None or not self._network.weather.passes(self._record.node, to):
            self._inbox.put(LinkLost(to))
            self._inbox.put(ParcelLost(to, header))
        elif self._plugged():
            self._rate(self._sent, to).add(sum(view.nbytes for view in buffers), time.monotonic())
            other.take_parcel(self._record.node, header, buffers)

    def _plugged(self) -> bool:
        return self._network.nodes.get(self._record.node) is self

    @staticmethod
    def _rate(rates: dict[NodeId, Rate], node: NodeId) -> Rate:
        return rates.setdefault(node, Rate())
