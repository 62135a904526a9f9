"""One outbound connection, from dialling to its loss.

::

    IDLE --want--> DIALING --handshake--> UP --disconnect--> IDLE      (told: LOST)
                      +--- every address failed ---> IDLE               (told: why)

All addresses of a peer are tried at once and the first whose handshake succeeds wins: CURVE proves that it is the peer.
libzmq never reconnects by itself here: what had been sent on a lost connection must not be taken for delivered.
"""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, cast

import zmq
from zmq.utils.monitor import parse_monitor_message

from edged.transport.identity import Identity
from edged.transport.pump import Frames, Pump
from edged.transport.sockets import Context, Kind, Socket, endpoint, new_dealer

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 2.0
MOST_ADDRESSES = 6
PROMPT_SECONDS = 2.0
"""Who cuts a handshake later than this may just be slow: its own time for the handshake is over."""

CUT = (errno.EPIPE, errno.ECONNRESET)
WATCHED = (
    zmq.EVENT_CLOSED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
)


class Outcome(Enum):
    """What became of an attempt or a connection, the most telling last.

    ``STRANGER``: the other side cut the handshake at once, as who holds another key does. It may also have just ended.
    """

    UNREACHABLE = 1
    STRANGER = 2
    DENIED = 3
    UP = 4
    LOST = 5


class Attempt:
    """One socket, one address, watched by its monitor. Tells its outcome once, then perhaps ``LOST``."""

    def __init__(
        self,
        context: Context,
        kind: Kind,
        identity: Identity,
        server_key: str,
        address: tuple[str, int],
        tell: Callable[[Attempt, Outcome], None],
    ) -> None:
        """Begin to connect. ``address`` is a numeric host and a port."""
        self.address = address
        self._tell = tell
        self._up = False
        self._closed = False
        self._begun_at = time.monotonic()
        self.socket: Socket = new_dealer(context, kind, identity, server_key, address[0])
        self._monitor = Pump(self.socket.get_monitor_socket(WATCHED), self._happened)
        try:
            self.socket.connect(endpoint(*address))
        except zmq.ZMQError:
            asyncio.get_running_loop().call_soon(self._end, Outcome.UNREACHABLE)

    def close(self) -> None:
        """Close, and tell nothing more.

        The monitor ends first. libzmq's own thread would wait for ever where it has an event of a socket that is just
        being closed for a monitor that nobody holds any more, and with it every connection of this process.
        """
        if not self._closed:
            self._closed = True
            self.socket.disable_monitor()
            self.socket.close(linger=0)
            self._monitor.close()

    def _happened(self, frames: Frames) -> None:
        told = cast("dict[str, Any]", parse_monitor_message([frame.bytes for frame in frames]))
        event = told["event"]
        if self._closed:
            return
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._up = True
            self._tell(self, Outcome.UP)
        elif event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            self._end(Outcome.DENIED)
        elif self._up:
            self._end(Outcome.LOST)
        else:
            cut = event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL and told["value"] in CUT
            prompt = time.monotonic() - self._begun_at < PROMPT_SECONDS
            self._end(Outcome.STRANGER if cut and prompt else Outcome.UNREACHABLE)

    def _end(self, outcome: Outcome) -> None:
        if not self._closed:
            if outcome is not Outcome.LOST:  # else somebody watches the socket, and closes it
                self.close()
            self._tell(self, outcome)


class Road:
    """The outbound connection of one kind to one peer, dialled on demand, again after a pause that grows."""

    def __init__(
        self,
        context: Context,
        kind: Kind,
        identity: Identity,
        server_key: str,
        *,
        on_up: Callable[[], None],
        on_down: Callable[[Outcome], None],
        on_message: Callable[[Frames], None],
    ) -> None:
        """Nothing is dialled yet. ``on_up`` is also called when a full socket takes messages again."""
        self._dial = (context, kind, identity, server_key)
        self._on_up = on_up
        self._on_down = on_down
        self._on_message = on_message
        self._addresses: tuple[tuple[str, int], ...] = ()
        self._attempts: dict[Attempt, Outcome | None] = {}
        self._pump: Pump | None = None
        self._won: Attempt | None = None
        self._answered: tuple[str, int] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._pause = 0.0

    @property
    def up(self) -> bool:
        """Whether messages can be sent now."""
        return self._pump is not None

    @property
    def address(self) -> tuple[str, int] | None:
        """The address that answered last, also after the connection is lost; ``None`` before, or if it has moved."""
        return self._answered

    def lead_to(self, addresses: Sequence[tuple[str, int]]) -> None:
        """Where the peer may be found, best first; the next dialling uses it, at once."""
        if tuple(addresses) != self._addresses:
            self._addresses = tuple(addresses)
            self._pause = 0.0
            if self._answered not in self._addresses:
                self._answered = None

    def want(self) -> None:
        """Dial, unless that is under way or done. The outcome comes by ``on_up`` or ``on_down``."""
        if self._pump is None and not self._attempts and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._pause, self._start)

    def send(self, parts: Sequence[bytes | memoryview], *, copy: bool = True) -> bool:
        """Send now or not at all."""
        return self._pump is not None and self._pump.send(parts, copy=copy)

    def close(self) -> None:
        """Close what is open, dialling included; tells nothing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._hang_up()

    def _hang_up(self) -> None:
        for attempt in self._attempts:
            attempt.close()
        self._attempts = {}
        if self._won is not None and self._pump is not None:
            self._pump.leave()
            self._won.close()
        self._won = self._pump = None

    def _start(self) -> None:
        self._timer = None
        self._pause = min(max(2 * self._pause, FIRST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
        addresses = self._addresses[:MOST_ADDRESSES]
        if not addresses:
            self._on_down(Outcome.UNREACHABLE)
            return
        self._attempts = {Attempt(*self._dial, address, self._told): None for address in addresses}

    def _told(self, attempt: Attempt, outcome: Outcome) -> None:
        if attempt is self._won:
            self._hang_up()
            self._on_down(Outcome.LOST)
        elif outcome is Outcome.UP:
            self._attempts.pop(attempt)
            self._hang_up()
            self._won = attempt
            self._answered = attempt.address
            self._pause = 0.0
            self._pump = Pump(attempt.socket, self._on_message, on_writable=self._on_up)
            self._on_up()
        elif outcome is Outcome.DENIED:  # said by the holder of the right key, so no other address will do better
            self._hang_up()
            self._on_down(outcome)
        else:
            self._attempts[attempt] = outcome
            outcomes = [known for known in self._attempts.values() if known is not None]
            if len(outcomes) == len(self._attempts):
                self._attempts = {}
                self._on_down(max(outcomes, key=lambda known: known.value))
