"""What a service manager hears, over a real datagram socket; and that it hears nothing of a loop that hangs."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edged.core.effects import TellLeader
from edged.core.events import JobSubmitted, MessageReceived
from edged.core.ids import NodeId, Stamp
from edged.core.messages import JobRecord, JobState, MemberState, StepReport
from edged.roles import supervision
from edged.roles.observer import Observer
from edged.roles.supervision import Supervision, sentence
from edged.telemetry.supervisor import Supervisor
from tests.roles.conftest import record_of, spec_of

OWN, PEER, GONE = NodeId("a" * 16), NodeId("b" * 16), NodeId("c" * 16)
SPEC = spec_of()
PATIENCE_SECONDS = 200.0


class Listener:
    """Hears datagrams without waiting."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heard: list[str] = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.setblocking(False)

    def listen(self) -> list[str]:
        """All that has come by now."""
        try:
            while True:
                self.heard.append(self.socket.recv(4096).decode())
        except BlockingIOError:
            return self.heard

    async def until(self, condition: Callable[[list[str]], object]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition(self.listen()):  # noqa: ASYNC110 -- what is waited for comes through a real socket
                await asyncio.sleep(0.01)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Listener]:
    manager = Listener(tmp_path / "notify")
    yield manager
    manager.socket.close()


@pytest.fixture
async def watched(manager: Listener, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Supervision]:
    monkeypatch.setattr(supervision, "LOOK_SECONDS", 0.02)
    watched = Supervision(Supervisor(str(manager.path), watchdog_seconds=0.2))
    yield watched
    await watched.close()


async def test_a_node_says_that_it_is_ready_what_it_is_about_and_that_it_stops(
    manager: Listener, watched: Supervision
) -> None:
    words = ["1 node alive"]
    watched.say(STATUS="waiting for a network")
    watched.start(lambda: words[0])
    await manager.until(lambda heard: "READY=1\nSTATUS=1 node alive" in heard)
    assert manager.heard[0] == "STATUS=waiting for a network"
    words[0] = "2 nodes alive"
    await manager.until(lambda heard: "STATUS=2 nodes alive" in heard)
    assert sum("READY" in each for each in manager.heard) == 1
    watched.stop("leaving")
    words[0] = "3 nodes alive"
    await manager.until(lambda heard: "STOPPING=1\nSTATUS=leaving" in heard)
    beats = manager.heard.count("WATCHDOG=1")
    await manager.until(lambda heard: heard.count("WATCHDOG=1") >= beats + 3)
    assert "STATUS=3 nodes alive" not in manager.heard
    asked = manager.heard.count("EXTEND_TIMEOUT_USEC=30000000")
    await manager.until(lambda heard: heard.count("EXTEND_TIMEOUT_USEC=30000000") >= asked + 3)
    stopping = manager.heard.index("STOPPING=1\nSTATUS=leaving")
    assert not any("EXTEND_TIMEOUT_USEC" in each for each in manager.heard[:stopping])
    await watched.close()
    said = len(manager.listen())
    await asyncio.sleep(0.3)
    assert len(manager.listen()) == said


async def test_a_node_that_is_long_about_to_be_ready_asks_for_time_and_a_hanging_one_no_more(
    manager: Listener, watched: Supervision, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    clock, later = loop.time, 0.0
    monkeypatch.setattr(loop, "time", lambda: clock() + later)
    watched.open("reads its disk")
    await manager.until(lambda heard: heard.count("EXTEND_TIMEOUT_USEC=30000000") >= 3)
    assert manager.heard[0] == "STATUS=reads its disk"
    later = supervision.OPENING_SECONDS
    asked = manager.listen().count("EXTEND_TIMEOUT_USEC=30000000")
    await asyncio.sleep(0.5)
    assert manager.listen().count("EXTEND_TIMEOUT_USEC=30000000") == asked
    assert "WATCHDOG=1" not in manager.heard, "that would begin to count before the node is ready"
    watched.start(lambda: "fine")
    assert "READY=1\nSTATUS=fine" in manager.listen(), "at once"
    await manager.until(lambda heard: "WATCHDOG=1" in heard)


async def test_the_watchdog_hears_nothing_while_the_loop_hangs(manager: Listener, watched: Supervision) -> None:
    watched.start(lambda: "fine")
    await manager.until(lambda heard: heard.count("WATCHDOG=1") >= 3)
    manager.listen().clear()
    time.sleep(1.0)  # noqa: ASYNC251 -- that is what a hanging loop does
    assert manager.listen() == []
    await manager.until(lambda heard: heard.count("WATCHDOG=1") >= 3)


async def test_it_beats_at_half_the_time_that_it_is_given(manager: Listener, watched: Supervision) -> None:
    watched.start(lambda: "fine")
    moments: list[float] = []
    while len(moments) < 6:
        before = len(manager.heard)
        await manager.until(lambda heard, before=before: "WATCHDOG=1" in heard[before:])
        moments.append(time.monotonic())
    assert 0.05 < (moments[-1] - moments[0]) / 5 < 10.0, "0.1, on a machine that does nothing else"


async def test_without_anybody_who_listens_nothing_is_said_and_nothing_ends() -> None:
    alone = Supervision(Supervisor())
    running = alone.start(lambda: pytest.fail("nobody asked"))
    await asyncio.sleep(0.05)
    assert not running.done()
    alone.stop("leaving")
    await alone.close()
    assert running.cancelled()


async def test_what_was_not_taken_is_said_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "LOOK_SECONDS", 0.02)
    early = Supervision(Supervisor(str(tmp_path / "notify")))
    early.start(lambda: "fine")
    await asyncio.sleep(0.05)
    manager = Listener(tmp_path / "notify")
    await manager.until(lambda heard: heard == ["READY=1\nSTATUS=fine"])
    await early.close()
    manager.socket.close()


async def test_a_sentence_that_cannot_be_made_ends_the_node(manager: Listener) -> None:
    def broken() -> str:
        raise KeyError("no such member")

    watched = Supervision(Supervisor(str(manager.path)))
    (done,), _ = await asyncio.wait({watched.start(broken)}, timeout=PATIENCE_SECONDS)
    with pytest.raises(ExceptionGroup):
        done.result()


def test_the_sentence_names_nodes_leader_and_job() -> None:
    records: dict = {}
    observer = Observer(record_of(OWN, "desk"), lambda: records)
    assert sentence("no leader is known", observer) == "not ready: no leader is known"
    observer.table()[TellLeader](TellLeader(OWN, 3))
    assert sentence("", observer) == "1 node alive, desk leads; no job"
    observer.members |= {PEER: record_of(PEER, "pi"), GONE: record_of(GONE, "old", MemberState.DEAD)}
    record = JobRecord(SPEC.job, "tiny", OWN, JobState.RUNNING, 0, 4, "")
    records[SPEC.job] = record
    assert sentence("", observer) == "2 nodes alive, desk leads; tiny: step 0 of 4"
    observer.watch(JobSubmitted(SPEC))
    observer.watch(MessageReceived(OWN, StepReport(Stamp(SPEC.job, 1, 1), 2, 0, 1.5, 100.0, 0.1)))
    assert sentence("", observer) == "2 nodes alive, desk leads; tiny: step 2 of 4"
    records[SPEC.job] = replace(record, state=JobState.PAUSED, step=2)
    assert sentence("", observer).startswith("2 nodes alive, desk leads; tiny: job tiny is paused at step 2: ")
