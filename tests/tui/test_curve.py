"""The loss curve."""

from __future__ import annotations

import pytest

from edged.tui.curve import BLANK, MARGIN, chart, curve


def test_a_falling_curve_goes_from_top_left_to_bottom_right() -> None:
    drawn = curve([(x, -x) for x in range(100)], 10, 4)
    assert [len(row) for row in drawn] == [10] * 4
    assert drawn[0][0] != BLANK
    assert drawn[-1][-1] != BLANK
    assert drawn[0][-1] == drawn[-1][0] == BLANK


@pytest.mark.parametrize("points", [[], [(1, 1)], [(1, float("nan"))], [(1, 2), (2, 2)], [(1, float("inf")), (2, 1)]])
def test_a_curve_of_odd_points_is_drawn_all_the_same(points: list[tuple[float, float]]) -> None:
    assert [len(row) for row in curve(points, 8, 2)] == [8, 8]


def test_the_chart_tells_its_highest_and_lowest_value_and_its_steps() -> None:
    drawn = [line.plain for line in chart([(step, 10 - step) for step in range(1, 11)], 30, 8)]
    assert [len(line) for line in drawn] == [30] * 8
    assert drawn[0].split()[0] == "9"
    assert drawn[6].split()[0] == "0"
    assert drawn[7] == " " * MARGIN + "1" + " " * (30 - MARGIN - 3) + "10"


@pytest.mark.parametrize("height", [1, 2, 6])
def test_a_low_chart_has_no_steps(height: int) -> None:
    drawn = chart([(1, 2.0), (2, 1.0)], 20, height)
    assert len(drawn) == height
    assert "2" in drawn[0].plain


@pytest.mark.parametrize("points", [[], [(1, float("nan"))]])
def test_nothing_is_drawn_of_nothing(points: list[tuple[float, float]]) -> None:
    assert chart(points, 40, 8) == []
    assert chart([(1, 1.0)], MARGIN, 8) == []


@pytest.mark.parametrize("low", [0.00203, 1.234e-05, -0.002034, 123456.0, -1.5e-10])
def test_no_value_is_too_long_for_its_place(low: float) -> None:
    drawn = chart([(1, low + 1e6), (2, low)], 30, 4)
    assert {line.width for line in drawn} == {30}
