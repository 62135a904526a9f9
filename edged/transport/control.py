"""Control messages: one bound ROUTER for all that comes in, one DEALER per peer for what goes out."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import zmq

from edged.core.ids import NodeId
from edged.core.messages import Message, Parcel
from edged.errors import MalformedError
from edged.transport.codec import decode
from edged.transport.pump import Frames, Pump
from edged.transport.road import Outcome, Road
from edged.transport.sessions import Sessions

QUEUE_LENGTH = 256
WAIT_SECONDS = 5.0
"""Messages to a peer that cannot be reached are kept this long, so that a slow handshake loses nothing."""


class ControlLane:
    """Messages to one peer, in order, while its road is being built or is full."""

    def __init__(self, road: Road) -> None:
        """Empty. The owner passes ``road``'s news on: ``flush`` when up, ``lost`` when down."""
        self.road = road
        self._queue: deque[tuple[float, bytes]] = deque()
        self.dropped = 0

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait for the road."""
        return sum(len(data) for _, data in self._queue)

    def send(self, data: bytes) -> None:
        """Send, or keep for a while, or drop and count."""
        if not self._queue and self.road.send((data,)):
            return
        if len(self._queue) >= QUEUE_LENGTH:
            self.dropped += 1
            return
        self._queue.append((time.monotonic() + WAIT_SECONDS, data))
        self.road.want()

    def flush(self) -> None:
        """The road takes messages."""
        while self._queue and self.road.send((self._queue[0][1],)):
            self._queue.popleft()

    def lost(self, outcome: Outcome) -> None:
        """The road is down. What was meant for the process at its end dies with a connection that had been up."""
        now = time.monotonic()
        while self._queue and (outcome is Outcome.LOST or self._queue[0][0] < now):
            self._queue.popleft()
            self.dropped += 1
        if self._queue:
            self.road.want()


class ControlInbound:
    """The bound socket: authenticated senders' messages, decoded."""

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        *,
        admits: Callable[[NodeId], bool],
        deliver: Callable[[NodeId, Message, int], None],
        complain: Callable[[NodeId, str], None],
    ) -> None:
        """Receive. ``deliver`` takes sender, message and its size; ``complain`` hears of a sender's bad frames."""
        self._admits = admits
        self._deliver = deliver
        self._complain = complain
        self.sessions = Sessions()
        self.pump = Pump(socket, self._received)

    def _received(self, frames: Frames) -> None:
        sender = NodeId(str(frames[-1].get("User-Id")))
        if not self._admits(sender):
            self.sessions.turn_away(frames[0].bytes, sender, frames[-1])
            return
        self.sessions.note(frames[0].bytes, sender, frames[-1])
        try:
            message = _control_message(frames)
        except MalformedError as problem:
            self._complain(sender, str(problem))
            return
        self._deliver(sender, message, len(frames[1]))


def _control_message(frames: Frames) -> Message:
    if len(frames) != 2:  # noqa: PLR2004  # routing id and message
        raise MalformedError("a control message of several frames")
    message = decode(frames[1].buffer)
    if isinstance(message, Parcel):
        raise MalformedError("a parcel on a control socket")
    return message
