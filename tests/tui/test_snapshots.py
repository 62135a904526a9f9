"""The whole screen, character by character, as it lies in ``tests/golden/view``.

A wanted change is taken over with ``EDGED_GOLDEN=write pytest tests/tui/test_snapshots.py``, and looked at before it is
committed.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from rich.cells import cell_len

from edged.tui.keys import Keyboard
from edged.tui.window import Window
from tests.tui.scenes import SCENES

GOLDEN = Path(__file__).parents[1] / "golden" / "view"
SIZES = {
    "recorded": [(80, 24), (120, 42)],
    "training": [(40, 10), (80, 24), (160, 50), (250, 70)],
    "hundred": [(80, 24), (160, 50)],
}
SHOTS = [(scene, size) for scene in SCENES for size in SIZES.get(scene, [(80, 24)])]


def screenful(scene: str, columns: int, rows: int, *presses: str) -> list[str]:
    """What a terminal of this size shows, after these keys."""
    keyboard, status = Keyboard(quits=True), SCENES[scene]()
    for key in presses:
        keyboard.press(key, status)
    window = Window(Path("/nowhere"), screen=None, keyboard=keyboard)
    window.tell(status)
    return [line.plain for line in window.picture(columns, rows)]


def compare(name: str, shown: list[str]) -> None:
    text = "\n".join(line.rstrip() for line in shown) + "\n"
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("EDGED_GOLDEN") == "write":
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), text


@pytest.mark.parametrize(("scene", "size"), SHOTS)
def test_the_screen_is_as_it_was_looked_at(scene: str, size: tuple[int, int]) -> None:
    compare(f"{scene}_{size[0]}x{size[1]}", screenful(scene, *size))


@pytest.mark.parametrize("size", [(40, 10), (80, 24)])
def test_the_page_that_explains_is_as_it_was_looked_at(size: tuple[int, int]) -> None:
    compare(f"help_{size[0]}x{size[1]}", screenful("training", *size, "?"))


def test_the_question_whether_to_leave_is_as_it_was_looked_at() -> None:
    compare("leaving_80x24", screenful("training", 80, 24, "l", "l", "e", "a"))


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("columns", [20, 40, 63, 64, 80, 100, 160, 250])
@pytest.mark.parametrize("rows", [4, 10, 24, 50, 70])
def test_the_screen_is_filled_and_never_outgrown_at_any_size(scene: str, columns: int, rows: int) -> None:
    shown = screenful(scene, columns, rows)
    assert len(shown) == rows
    assert max(map(cell_len, shown)) <= columns
    assert all(line.isprintable() for line in shown)


@pytest.mark.parametrize(("scene", "size"), SHOTS)
def test_frames_meet_at_their_corners(scene: str, size: tuple[int, int]) -> None:
    """Boxes are as wide below as above, also around wide characters: the same cells hold their corners."""

    def cells_of(line: str, signs: str) -> list[int]:
        return [cell_len(line[:at]) for at, sign in enumerate(line) if sign in signs]

    shown = screenful(scene, *size)
    tops = [cells_of(line, "╭╮") for line in shown if line.startswith("╭")]
    bottoms = [cells_of(line, "╰╯") for line in shown if line.startswith("╰")]
    assert tops == bottoms
