"""A slower device keeps its speed, also where the real one is disturbed now and then."""

import time

import pytest
import torch

from edged.compute.slowing import LATEST, Slowdown, timer


def test_a_computation_takes_a_multiple_of_what_its_like_takes_undisturbed() -> None:
    slow = Slowdown(3.0)
    assert slow.rest("forward", 2.0, 2.0) == 4.0
    assert slow.rest("forward", 1.0, 1.0) == 2.0
    assert slow.rest("forward", 1.5, 1.5) == 1.5, "beside another node it takes longer, and as long in all"
    assert slow.rest("forward", 4.0, 4.0) == 0.0
    assert slow.rest("backward", 4.0, 4.0) == 8.0


def test_a_device_that_becomes_slower_for_good_is_followed() -> None:
    slow = Slowdown(2.0)
    for _ in range(LATEST):
        slow.rest("forward", 1.0, 1.0)
    rests = [slow.rest("forward", 4.0, 4.0) for _ in range(LATEST)]
    assert rests == [*[0.0] * (LATEST - 1), 4.0]


def test_what_a_computation_waits_for_is_part_of_the_rest() -> None:
    slow = Slowdown(5.0)
    assert slow.rest("forward", 1.0, 1.0) == 4.0
    assert slow.rest("forward", 1.0, 3.0) == 2.0
    assert slow.rest("forward", 1.0, 9.0) == 0.0


@pytest.mark.parametrize(
    ("device", "threads", "told"),
    [("cpu", 1, time.thread_time), ("cpu", 4, time.perf_counter), ("meta", 1, time.perf_counter)],
)
def test_a_thread_that_computes_alone_is_timed_by_the_processor(device, threads, told, monkeypatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert timer(torch.device(device)) is told


@pytest.mark.parametrize("factor", [1.0, 7.0])
def test_nothing_is_remembered_of_other_stages(factor: float) -> None:
    slow = Slowdown(factor)
    slow.rest("forward", 1.0, 1.0)
    slow.forget()
    assert slow.rest("forward", 2.0, 2.0) == pytest.approx(2.0 * (factor - 1.0))
