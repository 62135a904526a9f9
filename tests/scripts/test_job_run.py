"""What a benchmark reads from the lines of a job: steady steps, changes of plan, throughput that is back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from bench_changes import calm, used_after
from job_run import Told, back_after, described, in_plan, newest_prediction, plans, repartitions, steady


def plan(*nodes: str, version: int = 1) -> dict[str, Any]:
    """One layer for each node."""
    hops = [{"node": n, "name": f"device {n}", "first_layer": l, "last_layer": l} for l, n in enumerate(nodes)]
    return {"event": "plan", "term": 1, "version": version, "strategy": "auto", "routes": [{"hops": hops}]}


STEP = {"event": "step", "step": 1}


def steps(*moments: float) -> list[Told]:
    return [(now, STEP) for now in moments]


def test_steady_steps_are_those_of_the_newest_plan_without_its_first() -> None:
    told: list[Told] = [(0.0, plan("a")), *steps(1.0, 2.0, 3.0), (3.5, plan("a", "b")), *steps(10.0, 10.5, 11.0)]
    assert in_plan(told) == [10.0, 10.5, 11.0]
    assert steady(told, 0.0) == [0.5, 0.5]
    assert steady(told, 0.4) == [0.5]
    assert steady(told, 1.0) == []


def test_steps_of_the_old_plan_that_are_told_after_the_new_one_do_not_count() -> None:
    recovery = (4.0, {"event": "recovery", "text": "", "cause": "slow"})
    told: list[Told] = [(0.0, plan("a")), (1.0, plan("b")), *steps(2.0, 3.0), recovery, *steps(5.0, 7.0)]
    assert steady(told, 0) == [2.0]


def test_without_a_step_nothing_is_steady() -> None:
    assert steady([], 0) == []
    assert steady([(0.0, plan("a")), *steps(1.0)], 0) == []


def test_only_plans_that_place_layers_otherwise_are_repartitions() -> None:
    told: list[Told] = [
        (0.0, plan("a", "b")),
        (1.0, plan("b", "a")),
        (2.0, plan("b", "a", version=2)),
        (3.0, plan("a", "b")),
    ]
    assert repartitions(told, 0.0) == [1.0, 3.0]
    assert repartitions(told, 1.5) == [3.0]
    assert len(plans(told)) == 4


@pytest.mark.parametrize(
    ("moments", "expected"),
    [
        ((0.0, 1.0, 2.0, 3.0, 4.0), None),
        ((9.0, 10.5, 11.5, 12.5, 13.5), 1.5),
        ((9.0, 10.5, 15.5, 16.5, 17.5, 18.5), 6.5),
        ((9.0, 10.5, 11.5, 12.5, 17.5, 18.5), None),
        ((9.0, 10.5, 11.6, 12.7, 13.8), 1.6),
        ((9.0, 10.5, 11.7, 12.9, 14.1), None),
    ],
)
def test_throughput_is_back_with_the_first_of_three_fast_steps_after_the_change(
    moments: Sequence[float], expected: float | None
) -> None:
    """The change comes at 10; an optimal step takes 1 s, so 1.1 s is fast enough and 1.2 s is not."""
    found = back_after(steps(*moments), 10.0, 1.0)
    assert found == (None if expected is None else pytest.approx(expected))


def test_a_step_that_began_before_the_change_does_not_count() -> None:
    assert back_after(steps(9.9, 10.1, 11.1, 12.1), 10.0, 1.0) is None


def test_a_joiner_is_used_when_a_plan_gives_it_layers() -> None:
    told: list[Told] = [(0.0, plan("a")), *steps(1.0), (2.0, plan("a", "b")), (3.0, plan("b", "a"))]
    assert used_after("b", 0.5, told) == 1.5
    assert used_after("c", 0.5, told) is None


def test_a_plan_is_calm_once_it_has_done_steps_for_a_while() -> None:
    assert calm()([(0.0, plan("a")), *steps(1.0, 22.0)])
    assert not calm()([(0.0, plan("a")), *steps(1.0, 22.0), (23.0, plan("b")), *steps(24.0, 30.0)])
    assert not calm()([])


def test_a_plan_is_described_by_names_and_layers() -> None:
    assert described(plan("a", "b")) == "plan 1.1 (auto): device a 0-0, device b 1-1"


def test_the_newest_prediction_is_of_the_plan_that_runs() -> None:
    def plan(seconds: float) -> Told:
        return 0.0, {"event": "plan", "predicted_step_seconds": seconds}

    def decision(seconds: float | None, *, changes: bool = False) -> Told:
        return 0.0, {"event": "decision", "changes": changes, "predicted_step_seconds": seconds}

    assert newest_prediction([plan(1.0)]) == 1.0
    assert newest_prediction([plan(1.0), decision(1.2), decision(None)]) == 1.2
    assert newest_prediction([plan(1.0), decision(1.2), decision(1.5, changes=True), plan(0.8)]) == 0.8
