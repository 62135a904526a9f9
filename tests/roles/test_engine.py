"""The engine: work on the compute thread, results on the loop's, failures as sentences."""

import asyncio
import threading
import weakref

import pytest
import torch

from edged.compute.thread import ComputeThread
from edged.core.ids import JobId, Stamp
from edged.core.messages import StateParcel
from edged.errors import JobError, ShortageError
from edged.roles.device import Device
from edged.roles.engine import Engine, is_shortage, sentence

STATE = StateParcel(Stamp(JobId("aa"), 1, 1), 0, 0, 0, (), b"", replica=False)


def outcome(engine: Engine, function) -> asyncio.Future:
    """The result of ``function(executor)``, or its failure as ``("failed", reason)``."""
    future = asyncio.get_running_loop().create_future()
    engine.run(function, future.set_result, lambda reason: future.set_result(("failed", reason)))
    return future


async def test_work_runs_in_order_elsewhere_and_is_told_here() -> None:
    thread = ComputeThread()
    engine = Engine(thread, Device("cpu", 1, 1.0, 0).executor)
    assert not engine.expects(STATE)
    measured = asyncio.get_running_loop().create_future()
    engine.start(lambda executor: str(executor.device), measured.set_result, measured.set_result)
    thread.start()
    assert await measured == "cpu"
    places = [outcome(engine, lambda _executor: threading.current_thread().name) for _ in range(2)]
    assert [await place for place in places] == ["edged-compute"] * 2
    assert engine.expects(STATE)
    assert await outcome(engine, lambda _executor: 1 / 0) == ("failed", "ZeroDivisionError: division by zero")
    assert engine.busy_seconds > 0
    assert thread.stop()


async def test_a_device_that_cannot_compute_says_so_every_time() -> None:
    thread = ComputeThread()
    engine = Engine(thread, Device("mps", 1, 1.0, 0).executor)
    failed = asyncio.get_running_loop().create_future()
    engine.start(lambda _executor: "mps", failed.set_result, failed.set_result)
    thread.start()
    if await failed == "mps":
        assert thread.stop()
        return  # this machine has one
    _, reason = await outcome(engine, lambda _executor: None)
    assert "this device cannot compute" in reason
    assert "--device" in reason
    assert thread.stop()


def test_a_result_after_the_end_of_the_loop_is_let_go() -> None:
    thread = ComputeThread()
    engine = Engine(thread, Device("mps", 1, 1.0, 0).executor)

    async def begin() -> None:
        engine.start(lambda _executor: "", lambda _result: None, lambda _reason: None)

    asyncio.run(begin())
    thread.start()
    assert thread.stop()


def test_sentences_are_one_line_and_name_foreign_types() -> None:
    assert sentence(JobError("first\nsecond")) == "first second"
    assert sentence(KeyError("x")) == "KeyError: 'x'"
    assert sentence(RuntimeError("first\nsecond")) == "RuntimeError: first"
    assert sentence(MemoryError()) == "MemoryError"


async def test_memory_that_is_refused_is_told_before_the_failure_and_what_was_computed_is_let_go() -> None:
    thread = ComputeThread()
    engine = Engine(thread, Device("cpu", 1, 1.0, 0).executor)
    told: list[object] = []
    engine.watch_memory(told.append)
    measured = asyncio.get_running_loop().create_future()
    engine.start(lambda executor: str(executor.device), measured.set_result, measured.set_result)
    thread.start()
    assert await measured == "cpu"
    made: list[weakref.ref[torch.Tensor]] = []

    def compute(_executor: object) -> torch.Tensor:
        mine = torch.zeros(10)
        made.append(weakref.ref(mine))
        return mine + torch.empty(2**55)

    over = asyncio.get_running_loop().create_future()
    engine.run(compute, over.set_result, lambda reason: over.set_result((reason, list(told), made[0]())))
    reason, before, left = await over
    assert left is None
    assert "memory" in reason
    (shortage,) = before
    assert isinstance(shortage, ShortageError)
    assert str(shortage) == reason
    assert shortage.held_bytes == 0
    assert await outcome(engine, lambda _executor: 1 / 0) == ("failed", "ZeroDivisionError: division by zero")
    assert told == [shortage]
    assert thread.stop()


@pytest.mark.parametrize(
    ("error", "short"),
    [
        (MemoryError(), True),
        (MemoryError("std::bad_alloc"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:1] . DefaultCPUAllocator: can't allocate memory: you"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 4 bytes."), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_a_shortage_is_told_from_other_failures(error: Exception, short: bool) -> None:
    assert is_shortage(error) is short
