"""The compute thread runs one thing after the other and never dies of a failure."""

import queue
import threading

from edged.compute.thread import ComputeThread


def test_functions_run_in_order_on_one_thread_and_failures_are_handed_over() -> None:
    results: queue.SimpleQueue = queue.SimpleQueue()
    thread = ComputeThread()
    thread.start()
    thread.submit(threading.get_ident, results.put)
    thread.submit(lambda: 1 / 0, results.put)
    thread.submit(threading.get_ident, results.put)
    first, failure, second = (results.get(timeout=60) for _ in range(3))
    assert first == second != threading.get_ident()
    assert isinstance(failure, ZeroDivisionError)
    assert thread.stop()


def test_stop_finishes_what_was_submitted() -> None:
    results: queue.SimpleQueue = queue.SimpleQueue()
    thread = ComputeThread()
    for number in range(3):
        thread.submit(lambda number=number: number, results.put)
    thread.start()
    assert thread.stop()
    assert [results.get_nowait() for _ in range(3)] == [0, 1, 2]


def test_stop_before_start_returns() -> None:
    assert ComputeThread().stop()
