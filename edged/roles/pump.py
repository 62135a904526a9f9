"""The pump: the one loop between the outside and the core.

::

    transport ┐                                   ┌ network   sockets
    compute   ├─> event ─> node.handle ─> effects ┼ worker    the compute thread
    users     │                │                  ├ source    feeder, spool
    timer     ┘                └> journal         └ leader, observer, ballot

One timer is armed at ``node.deadline()``; an idle node sleeps. Everything here runs on the event loop's thread; results
of other threads come in through ``call_soon_threadsafe``. An effect that fails later becomes the event that says so,
never an exception; an exception in the core itself is a broken invariant: the pump stops and the process with it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, get_args

from edged.core.effects import Depart, Effect, SendMessage
from edged.core.events import Event, LoopWasLate, MessageReceived, ParcelArrived, TimerFired
from edged.core.ids import NodeId
from edged.core.messages import Message, Parcel
from edged.errors import BrokenInvariantError, EdgedError, ExpelledError
from edged.telemetry.counters import Counters
from edged.telemetry.journal import Journal
from edged.transport.interface import Received, ReceivedParcel, Transport

LATE_SECONDS = 0.2
"""A timer that fires later than this was held up by this node's own loop or by a stopped process."""

TICK_SECONDS = 0.001
"""The loop's timers count whole milliseconds, so they may fire that much too early, and again, and again."""

Table = Mapping[type, Callable[[Any], None]]
"""Effect type -> what performs it."""

Post = Callable[[Event], None]
"""How a performer hands an event in; on the loop's thread only."""


class CoreNode(Protocol):
    """What the pump needs of ``core.node.Node``."""

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take a fact in, give decisions out."""

    def deadline(self) -> float | None:
        """The earliest moment at which the core wants to be woken."""


class Performer(Protocol):
    """Carries out some types of effects."""

    def table(self) -> Table:
        """The types that this performer carries out, and how."""


class ParcelTaker(Protocol):
    """Takes the buffers of a parcel, then calls ``arrived`` (on the loop's thread) when the core may be told."""

    def take(self, sender: NodeId, header: Parcel, buffers: Sequence[memoryview], arrived: Callable[[], None]) -> None:
        """Hold or load the parcel."""


class Pump:
    """Feeds one node's core and carries out what it decides, in order."""

    def __init__(
        self,
        own_id: NodeId,
        node: CoreNode,
        transport: Transport,
        journal: Journal,
        counters: Counters,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Join core and transport; ``connect`` adds the performers before ``run``."""
        self._own_id = own_id
        self._node = node
        self._transport = transport
        self._journal = journal
        self._counters = counters
        self._clock = clock
        self._queue: deque[Event] = deque()
        self._draining = False
        self._armed_at: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._table: dict[type, Callable[[Any], None]] = {}
        self._taker: ParcelTaker | None = None
        self._ended: asyncio.Future[str] | None = None

    def connect(self, performers: Iterable[Performer], taker: ParcelTaker) -> None:
        """Install who performs what. Raises ``BrokenInvariantError`` unless every effect has exactly one performer."""
        table: dict[type, Callable[[Any], None]] = {Depart: self._depart}
        for performer in performers:
            for kind, perform in performer.table().items():
                if kind in table:
                    raise BrokenInvariantError(f"two performers for {kind.__name__}")
                table[kind] = perform
        missing = [kind.__name__ for kind in get_args(Effect) if kind not in table]
        if missing:
            raise BrokenInvariantError(f"no performer for {', '.join(missing)}")
        self._table = table
        self._taker = taker

    async def run(self) -> str:
        """Pump until the core departs; returns the reason. Raises ``BrokenInvariantError`` if something breaks."""
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        receiver = loop.create_task(self._receive())
        receiver.add_done_callback(self._receiver_done)
        self.post(TimerFired())
        try:
            return await self._ended
        finally:
            self._disarm()
            receiver.cancel()

    def post(self, event: Event) -> None:
        """Hand an event to the core; it is handled before this returns, unless another one is being handled."""
        self._queue.append(event)
        if self._draining or self._ended is None or self._ended.done():
            return
        self._draining = True
        try:
            self._note_lateness()
            while self._queue:
                self._handle(self._queue.popleft())
            self._arm()
        except Exception as error:  # noqa: BLE001 - the core is broken: the process must end, with this as its reason
            self._end(error)
        finally:
            self._draining = False

    def deliver(self, sender: NodeId, header: Parcel, buffers: Sequence[memoryview]) -> None:
        """A parcel is complete, from a peer or from this node itself: its holder first, the core then."""
        assert self._taker is not None
        self._counters.add("parcels received")
        self._taker.take(sender, header, buffers, lambda: self.post(ParcelArrived(sender, header)))

    def send(self, to: NodeId, message: Message) -> None:
        """Send a control message that no effect asked for (a report, a refusal)."""
        if to == self._own_id:
            self.post(MessageReceived(to, message))
        else:
            self._transport.send(to, message)

    def send_parcel(self, to: NodeId, header: Parcel, buffers: Sequence[memoryview]) -> None:
        """Send a parcel; one for this node itself never touches the network."""
        self._counters.add("parcels sent")
        if to == self._own_id:
            self.deliver(to, header, buffers)
        else:
            self._transport.send_parcel(to, header, buffers)

    def stop(self, reason: str) -> None:
        """End without asking the core."""
        self._depart(Depart(reason))

    def _handle(self, event: Event) -> None:
        now = self._clock()
        try:
            effects = self._node.handle(event, now)
        except Exception as error:
            self._journal.record(event, (), now, broke=f"{type(error).__name__}: {error}")
            raise
        self._counters.add("events")
        try:
            for effect in effects:
                if isinstance(effect, SendMessage) and effect.to == self._own_id:
                    self._queue.append(MessageReceived(self._own_id, effect.message))
                else:
                    self._table[type(effect)](effect)
        finally:  # after the effects: what computes next must not wait for the journal
            self._journal.record(event, effects, now)

    async def _receive(self) -> None:
        while True:
            incoming = await self._transport.receive()
            match incoming:
                case Received(sender, message):
                    self._counters.add("messages received")
                    self.post(MessageReceived(sender, message))
                case ReceivedParcel(sender, header, buffers):
                    self.deliver(sender, header, buffers)
                case _:
                    self.post(incoming)

    def _receiver_done(self, receiver: asyncio.Task[None]) -> None:
        if not receiver.cancelled() and (error := receiver.exception()) is not None:
            self._end(error)

    def _note_lateness(self) -> None:
        """Tell the core first that it slept, so that it does not blame others for its own pause."""
        if self._armed_at is None:
            return
        late = self._clock() - self._armed_at
        if late > LATE_SECONDS:
            self._armed_at = None
            self._queue.appendleft(LoopWasLate(late))

    def _arm(self) -> None:
        deadline = self._node.deadline()
        if deadline == self._armed_at and self._timer is not None:
            return
        self._disarm()
        if deadline is not None:
            delay = max(0.0, deadline - self._clock()) + TICK_SECONDS
            self._armed_at = deadline
            self._timer = asyncio.get_running_loop().call_later(delay, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self.post(TimerFired())

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._armed_at = None

    def _depart(self, effect: Depart) -> None:
        if effect.failed:
            self._end(ExpelledError(effect.reason))
        elif self._ended is not None and not self._ended.done():
            self._ended.set_result(effect.reason)

    def _end(self, error: BaseException) -> None:
        if not isinstance(error, EdgedError):
            broken = BrokenInvariantError(f"{type(error).__name__}: {error}")
            broken.__cause__ = error
            error = broken
        if self._ended is not None and not self._ended.done():
            self._ended.set_exception(error)
