"""Where memory is given back."""

from __future__ import annotations

import asyncio
import threading
import weakref

import pytest

from edged.replication.snapshots import Snapshots
from edged.roles.freeing import LARGE_BYTES, release
from tests.replication.held import JOB, held


class Room(bytearray):
    """Memory whose end can be watched."""


@pytest.mark.parametrize(("size", "here"), [(LARGE_BYTES, False), (LARGE_BYTES - 1, True)])
async def test_only_large_memory_is_freed_on_another_thread(size: int, *, here: bool) -> None:
    room, threads = Room(size), list[threading.Thread]()
    freed, loop = asyncio.Event(), asyncio.get_running_loop()

    def note() -> None:
        threads.append(threading.current_thread())
        loop.call_soon_threadsafe(freed.set)

    weakref.finalize(room, note)
    buffers = [memoryview(room)]
    del room
    release(buffers)
    await asyncio.wait_for(freed.wait(), 60)
    assert (threads == [threading.current_thread()]) == here
    assert buffers == []


async def test_where_no_thread_can_be_started_memory_is_freed_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(asyncio.get_running_loop(), "run_in_executor", refuse)
    buffers = [memoryview(bytearray(LARGE_BYTES))]
    release(buffers)
    assert buffers == []


def test_all_that_is_let_go_of_is_released() -> None:
    released: list[list[memoryview]] = []
    snapshots = Snapshots(released.append)
    first, again = held(1), held(1)
    for state in (first, again, held(2), held(3)):
        snapshots.put(state)
    assert released == [list(first.buffers)]
    snapshots.drop(JOB, (2, 7))
    assert len(released) == 2
    snapshots.drop_job(JOB)
    assert len(released) == 4
    assert snapshots.size_bytes == 0
