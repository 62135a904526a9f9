"""The pump: every event reaches the core, every effect its performer, in order."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edged.core.effects import Depart, Effect, Log, SendMessage
from edged.core.events import (
    Event,
    LeaveAsked,
    LinkLost,
    LoopWasLate,
    MessageReceived,
    ParcelArrived,
    TimerFired,
)
from edged.core.ids import JobId, NodeId
from edged.core.messages import ProgramParcel, StopRequest
from edged.errors import BrokenInvariantError, ExpelledError
from edged.roles.pump import Pump
from edged.telemetry.counters import Counters
from edged.telemetry.journal import Journal
from edged.transport.interface import Received, ReceivedParcel

OWN, PEER = NodeId("own"), NodeId("peer")
STOP = StopRequest(JobId("a"), "enough")


class ScriptedCore:
    """Answers each event as ``rules`` say; departs on ``LeaveAsked``."""

    def __init__(self) -> None:
        self.seen: list[Event] = []
        self.rules: dict[type, list[Effect]] = {LeaveAsked: [Depart("asked")]}
        self.wake_at: float | None = None

    def handle(self, event: Event, now: float) -> list[Effect]:
        self.seen.append(event)
        if isinstance(event, TimerFired) and self.wake_at is not None and now >= self.wake_at:
            self.wake_at = None
        return self.rules.pop(type(event), [])

    def deadline(self) -> float | None:
        return self.wake_at


class Everything:
    """Performs every effect by noting it."""

    def __init__(self, without: tuple[type, ...] = (Depart,)) -> None:
        self.done: list[Effect] = []
        self._without = without

    def table(self) -> dict[type, Callable[[Any], None]]:
        from typing import get_args

        return {kind: self.done.append for kind in get_args(Effect) if kind not in self._without}


class Taker:
    def __init__(self) -> None:
        self.taken: list[tuple] = []

    def take(self, sender, header, buffers, arrived) -> None:
        self.taken.append((sender, header, tuple(buffers)))
        arrived()


class QueueTransport:
    def __init__(self) -> None:
        self.incoming: asyncio.Queue = asyncio.Queue()
        self.sent: list[tuple] = []

    async def receive(self):
        item = await self.incoming.get()
        if isinstance(item, Exception):
            raise item
        return item

    def send(self, to, message) -> None:
        self.sent.append((to, message))

    def send_parcel(self, to, header, buffers) -> None:
        self.sent.append((to, header))


class Rig:
    def __init__(self, clock: Callable[[], float] | None = None, journal: Journal | None = None) -> None:
        self.core, self.all, self.taker, self.transport = ScriptedCore(), Everything(), Taker(), QueueTransport()
        more = {} if clock is None else {"clock": clock}
        self.pump = Pump(OWN, self.core, self.transport, journal or Journal(None), Counters(), **more)
        self.pump.connect([self.all], self.taker)

    async def run(self, *incoming) -> str:
        for item in incoming:
            self.transport.incoming.put_nowait(item)
        async with asyncio.timeout(60):
            return await self.pump.run()

    async def leave_when(self, condition: Callable[[], bool]) -> None:
        for _ in range(100_000):
            if condition():
                break
            await asyncio.sleep(0)
        self.pump.post(LeaveAsked())


async def test_it_wakes_the_core_at_once_and_ends_with_the_reason() -> None:
    rig = Rig()
    task = asyncio.ensure_future(rig.run())
    await rig.leave_when(lambda: bool(rig.core.seen))
    assert await task == "asked"
    assert isinstance(rig.core.seen[0], TimerFired)


async def test_what_comes_from_outside_becomes_events_in_order() -> None:
    rig = Rig()
    header, buffer = ProgramParcel(JobId("a"), 3), memoryview(b"abc")
    task = asyncio.ensure_future(rig.run(Received(PEER, STOP), ReceivedParcel(PEER, header, (buffer,)), LinkLost(PEER)))
    await rig.leave_when(lambda: len(rig.core.seen) == 4)
    await task
    assert rig.core.seen[1:4] == [MessageReceived(PEER, STOP), ParcelArrived(PEER, header), LinkLost(PEER)]
    assert rig.taker.taken == [(PEER, header, (buffer,))]


async def test_effects_are_performed_in_order_and_own_messages_come_back() -> None:
    rig = Rig()
    log = Log("info", "test", "hello")
    rig.core.rules[LinkLost] = [SendMessage(OWN, STOP), log, SendMessage(PEER, STOP)]
    task = asyncio.ensure_future(rig.run(LinkLost(PEER)))
    await rig.leave_when(lambda: MessageReceived(OWN, STOP) in rig.core.seen)
    await task
    assert rig.all.done == [log, SendMessage(PEER, STOP)]


async def test_a_parcel_for_this_node_never_touches_the_network() -> None:
    rig = Rig()
    header = ProgramParcel(JobId("a"), 3)
    task = asyncio.ensure_future(rig.run())
    await asyncio.sleep(0)
    rig.pump.send_parcel(OWN, header, [memoryview(b"abc")])
    rig.pump.send_parcel(PEER, header, [memoryview(b"abc")])
    rig.pump.send(OWN, STOP)
    rig.pump.send(PEER, STOP)
    await rig.leave_when(lambda: True)
    await task
    assert rig.transport.sent == [(PEER, header), (PEER, STOP)]
    assert rig.core.seen[1:3] == [ParcelArrived(OWN, header), MessageReceived(OWN, STOP)]


async def test_one_timer_wakes_the_core_at_its_deadline() -> None:
    rig = Rig()
    rig.core.wake_at = asyncio.get_running_loop().time() + 0.05
    wanted = rig.core.wake_at
    task = asyncio.ensure_future(rig.run())
    await rig.leave_when(lambda: rig.core.wake_at is None)
    assert asyncio.get_running_loop().time() >= wanted
    await task
    assert sum(isinstance(event, TimerFired) for event in rig.core.seen) == 2


async def test_a_pause_is_told_before_anything_that_came_in_it() -> None:
    now = [100.0]
    rig = Rig(clock=lambda: now[0])
    rig.core.wake_at = 100.5
    task = asyncio.ensure_future(rig.run())
    await asyncio.sleep(0)
    now[0] = 107.0
    rig.pump.post(LinkLost(PEER))
    await rig.leave_when(lambda: True)
    await task
    assert rig.core.seen[1:3] == [LoopWasLate(6.5), LinkLost(PEER)]


async def test_a_broken_core_ends_the_pump_with_its_error() -> None:
    rig = Rig()
    rig.core.handle = lambda _event, _now: 1 / 0
    with pytest.raises(BrokenInvariantError, match="ZeroDivisionError"):
        await rig.run()


async def test_the_event_that_broke_the_core_is_the_last_in_the_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    rig = Rig(journal=journal)
    rig.core.handle = lambda _event, _now: 1 / 0
    with pytest.raises(BrokenInvariantError):
        await rig.run()
    journal.close()
    (record,) = map(json.loads, (tmp_path / "journal-0.jsonl").read_text().splitlines())
    assert (record["event"], record["effects"]) == ({"type": "TimerFired"}, [])
    assert record["broke"] == "ZeroDivisionError: division by zero"
    assert json.loads(journal.ring[0]) == record


async def test_a_broken_transport_ends_the_pump_with_its_error() -> None:
    with pytest.raises(BrokenInvariantError, match="OSError: gone"):
        await Rig().run(OSError("gone"))


def test_an_effect_without_performer_is_found_when_connecting() -> None:
    pump = Pump(OWN, ScriptedCore(), None, Journal(None), Counters())
    with pytest.raises(BrokenInvariantError, match="no performer for Log"):
        pump.connect([Everything(without=(Depart, Log))], Taker())
    with pytest.raises(BrokenInvariantError, match="two performers for Depart"):
        pump.connect([Everything(without=())], Taker())


async def test_who_departs_against_its_will_ends_with_that_reason_as_an_error() -> None:
    rig = Rig()
    rig.core.rules[LeaveAsked] = [Depart("this node was expelled", failed=True)]
    rig.pump.post(LeaveAsked())
    with pytest.raises(ExpelledError, match="was expelled"):
        await rig.run()
