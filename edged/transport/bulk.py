"""Parcels: one bound ROUTER for all that comes in, one DEALER per peer for what goes out. See ``pieces.py``."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import zmq

from edged.core.ids import NodeId
from edged.core.messages import Parcel
from edged.errors import MalformedError
from edged.transport import pieces
from edged.transport.assembly import Assembly
from edged.transport.buffers import Rooms, keep_freed_memory
from edged.transport.credit import BACKGROUND_BYTES, LARGEST_BYTES, Credit
from edged.transport.fitting import LinkFit, Stopwatch
from edged.transport.pump import TURN_SECONDS, Frames, Pump
from edged.transport.road import Outcome, Road
from edged.transport.sessions import Sessions
from edged.transport.track import Track

WAIT_SECONDS = 5.0
"""How long parcels wait for a first connection before they are dropped and the peer is reported lost."""

OVERTAKING_BYTES = 64 * pieces.BACKGROUND_PIECE_BYTES
"""After so many bytes of other parcels a background message has its turn all the same (1.6 % of them).

On a link that activations fill all the time, nothing would ever be protected otherwise.
"""


class BulkLane:
    """Parcels to one peer: two queues, the parcels under way, and the credits of the connection.

    Background parcels (``pieces.is_background``) go piece by piece when no other waits and little is under way: what
    is queued later, but is not background, overtakes them at once.
    """

    def __init__(
        self,
        road: Road,
        connections: Iterator[int],
        sent: Callable[[int], None],
        parcel_lost: Callable[[Parcel], None],
    ) -> None:
        """Empty. The owner passes the road's news on. ``fit`` is what the link has shown of its latency and bandwidth.

        ``connections`` gives each connection to the peer a greater number than all before had. ``sent`` hears of every
        message's size, ``parcel_lost`` of each parcel that may not have arrived.
        """
        self.road = road
        self._sent = sent
        self._parcel_lost = parcel_lost
        self._urgent = Track()
        self._background = Track()
        self._unacknowledged: deque[tuple[int, Parcel]] = deque()
        self._connections = connections
        self._connection = next(connections)
        self._number = 0
        self._overtaken = 0
        self._credit = Credit()
        self.fit = LinkFit()
        self._stopwatch = Stopwatch(self.fit)
        self._give_up_at: float | None = None
        self._scheduled = False

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait here or are under way."""
        return self._urgent.waiting_bytes + self._background.waiting_bytes + self._credit.outstanding

    def send(self, header: Parcel, buffers: Sequence[memoryview]) -> None:
        """Queue a parcel, and send what credits allow. Raises ``BrokenInvariantError`` if it is not sound."""
        track = self._background if pieces.is_background(header) else self._urgent
        track.put(pieces.prepare(header, buffers))
        if self.road.up:
            self.advance()
            return
        if self._give_up_at is None:
            self._give_up_at = time.monotonic() + WAIT_SECONDS
        self.road.want()

    def drop(self, predicate: Callable[[Parcel], bool], *, begun: bool = True) -> None:
        """Forget parcels that match. Where one is half sent, the receiver is told.

        Not ``begun``: only those of which nothing has been sent.
        """
        for track in (self._urgent, self._background):
            track.drop(predicate, begun=begun)
        if begun:
            self._unacknowledged = deque(entry for entry in self._unacknowledged if not predicate(entry[1]))
        if self._urgent.empty and self._background.empty:  # what comes next has patience of its own
            self._give_up_at = None
        self.advance()

    def opened(self) -> None:
        """The road is up, or a full socket takes messages again."""
        self._give_up_at = None
        self.advance()

    def acknowledged(self, frames: Frames) -> None:
        """The receiver's word on what it has taken. Raises ``MalformedError``."""
        prefix, now = pieces.parse_prefix(frames[0].bytes), time.monotonic()
        if prefix.kind != pieces.ACK or not self._credit.refund(prefix.number, now):
            raise MalformedError("an acknowledgement of what was never sent")
        self._stopwatch.acknowledged(prefix.number, now)
        while self._unacknowledged and self._unacknowledged[0][0] <= self._credit.acknowledged:
            self._unacknowledged.popleft()
        self.advance()

    def lost(self, outcome: Outcome) -> bool:
        """The road is down. Returns whether parcels were lost; what is kept is tried again."""
        self._connection = next(self._connections)
        self._number = self._overtaken = 0
        self._credit, self._stopwatch = Credit(), Stopwatch(self.fit)
        lost = [header for _, header in self._unacknowledged]
        lost += self._urgent.lose_half() + self._background.lose_half()
        self._unacknowledged.clear()
        if outcome is Outcome.LOST or (self._give_up_at is not None and time.monotonic() > self._give_up_at):
            lost += self._urgent.lose_queue() + self._background.lose_queue()
            self._give_up_at = None
            for header in lost:
                self._parcel_lost(header)
            return bool(lost)
        if not self._urgent.empty or not self._background.empty:
            self.road.want()
        return False

    def advance(self) -> None:
        """Send while there is something to send, credit for it, and room in the socket; not for longer than a turn."""
        end = time.monotonic() + TURN_SECONDS
        while self.road.up and self._send_next():
            if time.monotonic() > end:
                self._advance_soon()
                return

    def _send_next(self) -> bool:
        """Send one message; ``False``: there is none that may go now."""
        due = self._overtaken >= OVERTAKING_BYTES
        background = not self._background.empty and (due or self._urgent.empty)
        track = self._background if background else self._urgent
        message = track.head(self._number + 1)
        if message is None:
            return False
        if self._number == 0:
            message[0] = pieces.Prefix(pieces.OPEN, 1, self._connection).pack()
        size = sum(map(len, message))
        most = BACKGROUND_BYTES if background and not due else LARGEST_BYTES
        if not self._credit.allows(size, most) or not self.road.send(message, copy=False):
            return False
        begins, now = track.beginning, time.monotonic()
        if background:
            self._stopwatch.disturbed()
        elif begins is not None:
            self._stopwatch.begins(self._credit.sent, now, alone=self._credit.outstanding == 0)
        self._credit.spend(size, now, telling=not background)
        self._sent(size)
        self._overtaken = 0 if background or self._background.empty else self._overtaken + size
        if begins is not None:
            self._number += 1
            if not background:
                self._credit.parcel(begins.size)
        whole = track.went()
        if not background:
            self._stopwatch.sent(self._credit.sent, whole=whole is not None)
        if whole is not None:
            self._unacknowledged.append((self._credit.sent, whole))
        return True

    def _advance_soon(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._advance_again)

    def _advance_again(self) -> None:
        self._scheduled = False
        self.advance()


@dataclass(slots=True)
class _Connection:
    """One inbound connection: who, the parcels under way, bytes taken and acknowledged."""

    sender: NodeId
    assembly: Assembly
    taken: int = 0
    acknowledged: int = 0


class BulkInbound:
    """The bound socket: authenticated senders' parcels, whole."""

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        *,
        admits: Callable[[NodeId], bool],
        accept: Callable[[NodeId, Parcel], bool],
        deliver: Callable[[NodeId, Parcel, tuple[memoryview, ...]], None],
        lost: Callable[[NodeId, Parcel], None],
        complain: Callable[[NodeId, str], None],
        received: Callable[[NodeId, int], None],
    ) -> None:
        """Receive.

        ``accept`` is asked before memory is taken; ``lost`` hears of an accepted parcel that will not be whole though
        its sender has not dropped it; ``received`` of every message's size.
        """
        self._admits = admits
        self._accept = accept
        self._deliver = deliver
        self._lost = lost
        self._complain = complain
        self._received_bytes = received
        self._connections: dict[bytes, _Connection] = {}
        self._newest: dict[NodeId, int] = {}
        keep_freed_memory()
        self._rooms = Rooms()
        self.sessions = Sessions()
        self.pump = Pump(socket, self._received, on_turn=self._acknowledge, on_writable=self._acknowledge)

    def forget(self, node: NodeId) -> tuple[Parcel, ...]:
        """Drop what is half received from ``node``; returns it."""
        ended = [key for key, known in self._connections.items() if known.sender == node]
        return tuple(header for key in ended for header in self._connections.pop(key).assembly.under_way)

    def _received(self, frames: Frames) -> None:
        last = frames[-1]
        sender = NodeId(str(last.get("User-Id")))
        routing_id = frames[0].bytes
        if not self._admits(sender):
            self.sessions.turn_away(routing_id, sender, last)
            return
        self.sessions.note(routing_id, sender, last)
        views = [frame.buffer for frame in frames[1:]]
        connection = self._connections.get(routing_id)
        if connection is None or connection.sender != sender:
            connection = self._connect(routing_id, sender, views[0])
            if connection is None:
                return
        size = sum(map(len, views))
        connection.taken += size
        self._received_bytes(sender, size)
        under_way = connection.assembly.under_way
        try:
            done = connection.assembly.take(views)
        except MalformedError as problem:
            if under_way:
                self._break(sender, under_way)
            self._complain(sender, str(problem))
            return
        if done is not None:
            self._deliver(sender, *done)

    def _break(self, sender: NodeId, under_way: tuple[Parcel, ...]) -> None:
        """A parcel that had been accepted will not be whole: with the connection, its sender knows it to be lost.

        It is never acknowledged, and somebody waits for it. The sender begins anew with parcel 1.
        """
        self.forget(sender)
        self.sessions.cut(sender)
        for header in under_way:
            self._lost(sender, header)

    def _connect(self, routing_id: bytes, sender: NodeId, first: pieces.View) -> _Connection | None:
        """A peer has one bulk connection, which begins with parcel 1: all else is left over from a lost one.

        So is a parcel 1 whose connection is older than the newest: what came over a connection that has ended may still
        lie unread when the next one speaks.
        """
        try:
            prefix = pieces.parse_prefix(first)
        except MalformedError as problem:
            self._complain(sender, str(problem))
            return None
        if (prefix.kind, prefix.number) != (pieces.OPEN, 1) or prefix.offset < self._newest.get(sender, 0):
            return None
        self._newest[sender] = prefix.offset
        for header in self.forget(sender):
            self._lost(sender, header)
        made = _Connection(sender, Assembly(lambda header: self._accept(sender, header), self._rooms))
        self._connections[routing_id] = made
        return made

    def _acknowledge(self) -> None:
        """Once a turn, so that many small messages cost one acknowledgement."""
        for routing_id, connection in list(self._connections.items()):
            if connection.taken > connection.acknowledged:
                ack = pieces.Prefix(pieces.ACK, connection.taken).pack()
                if self.pump.send([routing_id, ack]):
                    connection.acknowledged = connection.taken
