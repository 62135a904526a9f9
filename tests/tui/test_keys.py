"""What the keys mean; and that nobody takes a node out by accident."""

from __future__ import annotations

import random
import string
from typing import Any

import pytest

from edged.tui.keys import CONFIRMATION, Keyboard, Wish
from tests.tui.sample import status


def in_state(state: str) -> dict[str, Any]:
    found = status(2)
    found["job"]["state"] = state
    return found


def press(keyboard: Keyboard, keys: str, found: dict[str, Any] | None = None) -> list[Wish]:
    wishes = [keyboard.press(key, found or status(2)) for key in keys]
    return [wish for wish in wishes if wish is not None]


@pytest.mark.parametrize(
    ("state", "wish"),
    [("running", Wish.PAUSE), ("preparing", Wish.PAUSE), ("paused", Wish.RESUME), ("waiting", Wish.PAUSE)],
)
def test_p_pauses_and_lets_go_on(state: str, wish: Wish) -> None:
    keyboard = Keyboard(quits=True)
    assert press(keyboard, "p", in_state(state)) == [wish]
    assert press(keyboard, "P", in_state(state)) == [wish]
    word = "resume" if wish is Wish.RESUME else "pause"
    assert keyboard.foot(in_state(state), 80).plain.startswith(f"p {word} ")


@pytest.mark.parametrize("state", ["finished", "failed", "stopped"])
def test_a_job_that_is_over_has_no_key(state: str) -> None:
    assert "pause" not in Keyboard(quits=True).foot(in_state(state), 80).plain
    assert "pause" not in Keyboard(quits=True).foot(status(2, job=False), 80).plain


@pytest.mark.parametrize("end", ["\r", "\n"])
def test_a_node_leaves_once_that_is_typed_out(end: str) -> None:
    keyboard = Keyboard(quits=True)
    assert press(keyboard, "l" + CONFIRMATION) == []
    assert keyboard.asks
    assert press(keyboard, end) == [Wish.LEAVE]
    assert not keyboard.asks


@pytest.mark.parametrize("typed", ["\r", "leav\r", "leaves\r", "LEAVE\r", "l\r", "leave\x1b\r", "eave\r", "\x1bleav\r"])
def test_anything_else_leaves_it_where_it_is(typed: str) -> None:
    keyboard = Keyboard(quits=True)
    assert press(keyboard, "l" + typed) == []
    assert not keyboard.asks or typed.startswith("\x1b")


def test_a_typing_mistake_can_be_mended() -> None:
    assert press(Keyboard(quits=True), "lleax\x7fve\r") == [Wish.LEAVE]


@pytest.mark.parametrize("seed", range(20))
def test_a_cat_on_the_keyboard_takes_no_node_out(seed: int) -> None:
    rng = random.Random(seed)
    keyboard = Keyboard(quits=True)
    keys = [rng.choice([*string.printable, "\x1b", "\x1b[A", "\x7f", "l", "\r"]) for _ in range(5000)]
    found = status(2)
    assert Wish.LEAVE not in [keyboard.press(key, found) for key in keys]


def test_while_it_is_asked_no_other_key_counts() -> None:
    assert press(Keyboard(quits=True), "lpq?") == []


def test_the_question_names_the_node_and_shows_what_is_typed_on_the_narrowest_screen() -> None:
    keyboard = Keyboard(quits=True)
    press(keyboard, "llea")
    assert keyboard.foot(status(2), 20).plain.startswith("› lea_")
    assert "desk leaves, its layers move first" in keyboard.foot(status(2), 100).plain


def test_q_ends_a_view_that_is_watched_and_not_a_node() -> None:
    assert press(Keyboard(quits=True), "q") == [Wish.QUIT]
    assert press(Keyboard(quits=False), "q") == []
    assert "quit" not in Keyboard(quits=False).foot(status(2), 100).plain
    assert "Ctrl-C" in Keyboard(quits=False).foot(status(2), 100).plain


def test_the_help_comes_and_goes() -> None:
    keyboard = Keyboard(quits=True)
    press(keyboard, "?")
    assert keyboard.helps
    assert "? back" in keyboard.foot(status(2), 80).plain
    press(keyboard, "\x1b")
    assert not keyboard.helps
    told = "\n".join(line.plain for line in keyboard.legend(80))
    for word in ("edged pause", "edged resume", "edged leave", "★ leads", "slowness", "replicas"):
        assert word in told


def test_keys_that_mean_nothing_do_nothing() -> None:
    keyboard = Keyboard(quits=True)
    assert [keyboard.press(key, status(2)) for key in ("x", "\x1b[A", "\x1bOP", "é", "\t")] == [None] * 5
    assert keyboard.press("\x0c", status(2)) is Wish.REDRAW
