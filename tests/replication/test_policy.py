"""Copies are made as seldom as they must be and as often as they may."""

import pytest

from edged.core.protection import Cost
from edged.replication.policy import LONGEST, SHARE, interval


@pytest.mark.parametrize(
    ("cost", "size", "step", "steps"),
    [
        (0.005, 0, 0.1, 64),  # Young: 6.0 s, 60 steps
        (0.005, 0, 0.01, 512),  # 600 steps
        (0.0, 0, 0.1, 8),  # no copy is free: 0.85 s
        (1.0, 0, 0.1, 1024),  # Young: 849 steps
        (30.0, 0, 60.0, 32),  # Young says 8, but then copying would take a twentieth of the time
        (0.001, 0, 100.0, 1),
        (0.002, 10_000_000, 0.05, 128),  # Young: 76 steps, nearest to 64; but 0.1 s go on behind each
        (0.002, 1_000_000, 0.05, 64),
    ],
)
def test_the_interval_follows_young_and_the_bound_on_cost(cost: float, size: int, step: float, steps: int) -> None:
    assert interval(Cost(cost, size), step) == steps


def test_copying_never_takes_more_than_its_share_of_the_time() -> None:
    for cost in (1e-4, 0.003, 0.2, 5.0, 200.0):
        for step in (1e-3, 0.05, 1.0, 40.0):
            every = interval(Cost(cost, 0), step)
            assert every == LONGEST or cost / (cost + every * step) <= SHARE
            assert every & (every - 1) == 0


def test_where_failures_are_frequent_copies_are_too() -> None:
    assert interval(Cost(0.005, 0), 0.1, failure_seconds=60.0) == 8
    assert interval(Cost(0.005, 0), 0.1) == 64


def test_what_cannot_be_measured_asks_for_nothing_impossible() -> None:
    assert interval(Cost(0.1, 0), 0.0) == 1
    assert interval(Cost(0.1, 0), float("nan")) == 1
    assert interval(Cost(1e9, 0), 1e-9) == LONGEST
