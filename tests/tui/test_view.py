from __future__ import annotations

from pathlib import Path

import pytest

from edged.tui.curve import curve
from edged.tui.live import write_svg
from edged.tui.view import lines, render
from edged.tui.words import bar, duration, size
from tests.tui.sample import status

GOLDEN = Path(__file__).parents[1] / "golden" / "view_80x24.txt"


@pytest.mark.parametrize("width", [60, 80, 100, 160])
@pytest.mark.parametrize("height", [12, 24, 50])
@pytest.mark.parametrize("nodes", [1, 2, 4, 6, 20])
def test_the_view_never_outgrows_its_terminal(width: int, height: int, nodes: int) -> None:
    drawn = lines(status(nodes), width, height)
    assert len(drawn) <= height
    assert max(len(line) for line in drawn) <= width


def test_the_view_on_a_small_terminal_matches_its_golden_picture() -> None:
    drawn = "\n".join(line.rstrip() for line in lines(status(), 80, 24)) + "\n"
    assert drawn == GOLDEN.read_text(encoding="utf-8")


@pytest.mark.parametrize("nodes", [1, 3, 4])
def test_every_stage_shows_name_layers_share_and_pace(nodes: int) -> None:
    drawn = "\n".join(lines(status(nodes), 100, 30))
    for index, name in enumerate(["desk", "laptop", "pi-5", "pi-4"][:nodes]):
        assert name in drawn
        assert f"layers {3 * index}–{3 * index + 2}" in drawn
    assert "90%" in drawn
    assert "12 ms/micro" in drawn
    assert "★" in drawn


def test_without_a_job_members_wait_for_work() -> None:
    drawn = "\n".join(lines(status(2, job=False), 80, 24))
    assert "waiting for work" in drawn
    assert "edged train JOB.py" in drawn
    assert "─▶" not in drawn.split("nodes and links")[0]


def test_a_suspect_member_is_marked_without_colour() -> None:
    assert "! suspect" in "\n".join(lines(status(5), 120, 40))


def test_colour_changes_no_character() -> None:
    assert render(status(), 80, 24).plain == "\n".join(lines(status(), 80, 24))


def test_a_reason_to_wait_is_shown() -> None:
    waiting = status(2, job=False)
    waiting["view"]["waiting"] = "2 of 3 members known"
    assert "waiting: 2 of 3 members known" in lines(waiting, 80, 24)


def test_svg_holds_the_picture(tmp_path: Path) -> None:
    write_svg(status(), tmp_path / "view.svg")
    text = (tmp_path / "view.svg").read_text(encoding="utf-8")
    assert text.startswith("<svg")
    assert "laptop" in text


def test_a_falling_curve_goes_from_top_left_to_bottom_right() -> None:
    drawn = curve([(x, -x) for x in range(100)], 10, 4)
    assert [len(row) for row in drawn] == [10] * 4
    assert drawn[0][0] != "⠀"
    assert drawn[-1][-1] != "⠀"
    assert drawn[0][-1] == drawn[-1][0] == "⠀"


@pytest.mark.parametrize("points", [[], [(1, 1)], [(1, float("nan"))], [(1, 2), (2, 2)], [(1, float("inf")), (2, 1)]])
def test_a_curve_of_odd_points_is_drawn_all_the_same(points: list[tuple[float, float]]) -> None:
    assert [len(row) for row in curve(points, 8, 2)] == [8, 8]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (0.0123, "12 ms"), (0.0004, "0.4 ms"), (3.21, "3.2 s"), (83, "1 min 23 s"), (7500, "2 h 5 min")],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_sizes_and_bars() -> None:
    assert size(512) == "512 B"
    assert size(3.14e6) == "3.14 MB"
    assert bar(0.5, 4) == "██░░"
    assert bar(7, 4) == "████"
