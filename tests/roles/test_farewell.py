"""Signals: the first leaves gracefully and says so, the second ends the process; none is lost."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest

from edged.core.events import LeaveAsked
from edged.roles import farewell
from edged.roles.farewell import SIGNALS, Farewell


class Rig:
    """A pump and a leaving node that only take note."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.posted: list[object] = []
        self.stopped: list[str] = []
        self.abandoned = 0
        self.leaving = SimpleNamespace(asked=False, goes=False)
        self.pump = SimpleNamespace(post=self._post, stop=self.stopped.append)
        self.farewell = Farewell(self.said.append, self._abandon)

    def serve(self) -> None:
        self.farewell.serve(self.pump, self.leaving)

    def _post(self, event: object) -> None:
        self.posted.append(event)
        self.leaving.asked = True

    def _abandon(self) -> None:
        self.abandoned += 1


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    rig.farewell.open()
    yield rig
    rig.farewell.close()


async def send(number: signal.Signals, condition) -> None:
    os.kill(os.getpid(), number)
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 -- the signal is real, and only its effect can be seen
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("number", SIGNALS)
async def test_the_first_signal_leaves_and_says_so_the_second_ends_it(rig: Rig, number: signal.Signals) -> None:
    rig.serve()
    await send(number, lambda: rig.posted)
    again = "press Ctrl-C again to leave" if number == signal.SIGINT else "a second signal ends this node"
    assert rig.said == [f"leaving: moving layers first; {again} at once"]
    assert (rig.posted, rig.abandoned) == ([LeaveAsked()], 0)
    await send(signal.SIGTERM, lambda: rig.abandoned)
    assert rig.posted[0] == LeaveAsked()


async def test_a_node_that_nothing_hangs_on_says_goodbye_and_goes_in_any_case(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(farewell, "LEAVE_SECONDS", 0.01)
    rig.leaving.goes = True
    rig.serve()
    await send(signal.SIGINT, lambda: rig.stopped)
    assert rig.said == ["leaving: saying goodbye; press Ctrl-C again to leave at once"]
    assert rig.stopped == ["its time to say goodbye was over"]


async def test_a_node_has_as_long_as_the_core_waits_for_its_layers_to_move_and_then_a_moment(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(farewell, "LEAVE_SECONDS", 0.01)
    rig.serve()
    await send(signal.SIGINT, lambda: rig.posted)
    await asyncio.sleep(0.2)
    assert not rig.stopped
    rig.leaving.goes = True
    async with asyncio.timeout(60):
        while not rig.stopped:  # noqa: ASYNC110 -- a timer of the loop stops it, and nothing else tells
            await asyncio.sleep(0.01)
    assert (rig.stopped, rig.abandoned) == (["its time to say goodbye was over"], 0)


async def test_a_signal_before_the_node_can_act_is_remembered(rig: Rig) -> None:
    assert not rig.farewell.asked
    await send(signal.SIGTERM, lambda: rig.farewell.asked)
    assert not rig.posted
    rig.serve()
    assert not rig.posted  # the pump runs when the loop goes on
    await asyncio.sleep(0)
    assert rig.posted == [LeaveAsked()]


async def test_a_second_signal_ends_a_node_that_has_not_begun(rig: Rig) -> None:
    await send(signal.SIGHUP, lambda: rig.farewell.asked)
    await send(signal.SIGHUP, lambda: rig.abandoned)


async def test_afterwards_signals_do_what_they_did_before() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    rig = Rig()
    rig.farewell.open()
    rig.farewell.close()
    after = [signal.getsignal(number) for number in SIGNALS]
    assert after[1:] == before[1:]
    assert after[0] is signal.default_int_handler
