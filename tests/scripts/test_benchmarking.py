"""Rows, goals and means of the benchmarks."""

from __future__ import annotations

import argparse
import json

import bench_changes
import bench_prediction
import bench_unequal
import pytest
from bench_prediction import Outcome, limits_of
from bench_unequal import against_sum, allowed_speed, in_the_middle, over_places
from benchmarking import (
    CORES,
    Limit,
    NotMeasuredError,
    arguments,
    base,
    compared,
    each_case,
    interleaved,
    report_limits,
)
from exhaustive import Block


def test_all_nodes_together_use_the_cores_that_there_are_and_no_more() -> None:
    for slowness in ((1.0, 1.0, 10.0), (1.0, 2.0, 5.0, 10.0), (1.0, 1.0, 1.0, 1.0)):
        assert sum(1 / (base(slowness) * each) for each in slowness) == pytest.approx(CORES)
    assert base((3.0, 3.0)) == 1.0
    assert base((1.0, 1.0, 10.0)) == pytest.approx(2.1)


def test_both_sides_are_measured_in_turn() -> None:
    order: list[str] = []

    def side(name: str, value: float) -> float:
        order.append(name)
        return value

    mine, others = interleaved(lambda: side("a", 2.0), lambda: side("b", 1.0), rounds=3, unit="x")
    assert (mine, others) == ([2.0] * 3, [1.0] * 3)
    assert order == ["b", "a", "a", "b", "b", "a"]


def test_the_ideal_is_the_sum_of_speeds() -> None:
    found = against_sum("x", [19.0, 20.0, 21.0], [10.0, 10.0, 10.0], (1.0, 1.0, 10.0), 0.93)
    assert found.median == pytest.approx(20.0 / 21.0)
    assert found.theirs == [pytest.approx(21.0)] * 3
    assert "**0.952**" in found.row()


def test_speeds_over_places_are_averaged_by_their_seconds() -> None:
    """Steps of 1 s, 2 s and 6 s: 3 s on the average."""
    assert over_places([1.0, 1 / 2, 1 / 6]) == pytest.approx(1 / 3)
    assert compared("x", [2.0], [over_places([1.0, 1 / 2, 1 / 6])], goal=6.0, unit="steps/s").median == pytest.approx(6)


@pytest.mark.parametrize(
    ("ids", "expected"), [(("a", "c", "b"), True), (("c", "a", "b"), True), (("a", "b", "c"), False)]
)
def test_the_slow_node_stands_between_the_others(ids: tuple[str, str, str], expected: bool) -> None:
    assert in_the_middle(*ids) is expected


@pytest.mark.parametrize("slow", ["a", "b", "c"])
def test_with_the_slow_node_in_the_middle_each_source_gives_it_another_place(slow: str) -> None:
    """``equal`` puts the source first, the others by their ids."""
    names = {"n0": "a", "n1": "c", "n2": "b"} if slow == "b" else {"n0": "c", "n1": "a", "n2": "b"}
    orders = [sorted(names, key=lambda name: (name != source, names[name])) for source in names]
    assert sorted(order.index("n2") for order in orders) == [0, 1, 2]


def test_what_is_allowed_is_scaled_to_the_fastest_node_alone() -> None:
    """Whatever the profile's clock: one node alone is allowed what it does."""
    blocks = [Block(3.0, 5.0, 1e5), Block(1.0, 2.0, 1e5), Block(2.0, 2.0, 0.0)]
    assert allowed_speed(blocks, (1.0,), 70.0) == pytest.approx(70.0)
    both = allowed_speed(blocks, (1.0, 1.0), 70.0)
    assert 0.8 * 2 * 70.0 < both < 2 * 70.0


def test_limits_are_met_by_their_median(capsys: pytest.CaptureFixture[str]) -> None:
    for goal, status in ((2.0, 0), (1.9, 1)):
        with pytest.raises(SystemExit) as ended:
            report_limits([Limit("x", "s", [1.0, 2.0, 9.0], goal)], {"more": 1}, as_json=True)
        assert ended.value.code == status
        printed = json.loads(capsys.readouterr().out)
        assert (printed["limits"][0]["median"], printed["more"]) == (2.0, 1)
    assert Limit("x", "s", [1.0, 2.0, 9.0], 2.0).row() == "| x | **2** s | 1 – 9 (3) | at most 2 |"


def test_predictions_err_in_percent_of_what_was_measured() -> None:
    outcomes = [Outcome("a", 1.1, 1.0, 1.0), Outcome("b", 0.8, 1.05, 1.0), Outcome("c", 1.0, 0.9, 1.0)]
    assert [limit.median for limit in limits_of(outcomes)] == pytest.approx([10.0, 5.0])
    assert outcomes[1].row() == "| b | 0.800 s (-20.0 %) | 1.050 s (+5.0 %) | 1.000 s |"


def test_predictions_are_checked_on_at_least_twelve_clusters_and_models() -> None:
    cases = bench_prediction.CASES
    assert len({str(case) for case in cases}) == len(cases) >= 12
    assert {case.model for case in cases} == set(bench_prediction.MODELS)
    assert {case.mbit for case in cases} == {1000, 100, 30}
    assert {len(case.slowness) for case in cases} == {2, 3, 4}


def test_a_case_that_cannot_be_measured_leaves_the_others_and_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    def measure(name: str) -> list[Limit]:
        if name == "b":
            raise NotMeasuredError("n1 has gone")
        return [Limit(name, "s", [1.0], 2.0)]

    rows, complete = each_case(["a", "b", "c"], measure)
    assert ([row.name for row in rows], complete) == (["a", "c"], False)
    assert "b: NOT MEASURED: n1 has gone" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        report_limits(rows, {}, as_json=False, complete=complete)
    assert ended.value.code == 1


@pytest.mark.parametrize("script", [bench_unequal, bench_changes])
def test_cases_are_chosen_by_name(script: object, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = tuple(script.CASES)  # type: ignore[attr-defined]
    monkeypatch.setattr("sys.argv", ["bench"])
    assert arguments("", rounds=3, cases=cases).case == list(cases)
    monkeypatch.setattr("sys.argv", ["bench", "--case", cases[1], "--quick"])
    chosen: argparse.Namespace = arguments("", rounds=3, cases=cases)
    assert (chosen.case, chosen.rounds) == ([cases[1]], 2)
