"""Planning is quick, also for many; limits are generous, the figures are in the script's own table."""

from __future__ import annotations

import bench_planner
import pytest


@pytest.mark.parametrize("measured", [False, True])
def test_twenty_nodes_and_a_hundred_layers_are_planned_at_once(measured: bool) -> None:
    found = bench_planner.measure(20, 100, 64, measured=measured, strategy="auto")
    assert found.seconds < 2.0
    assert found.ideal_seconds / found.step_seconds > 0.6  # the fill alone takes 19 of 83


def test_a_thousand_nodes_are_planned_in_seconds() -> None:
    found = bench_planner.measure(1000, 200, 64, measured=False, strategy="auto")
    assert found.seconds < 20.0
    assert found.used > 1
