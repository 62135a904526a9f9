"""Numbers and sentences as the terminal shows them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from edged.tui.cells import shorten, wrap
from edged.tui.words import bar, clean, duration, loss, size

TEXTS = st.text(st.sampled_from("ab cde 書斎é　─🚀"), max_size=60)


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


@given(TEXTS, st.integers(0, 20))
def test_what_is_shortened_fits_and_what_fits_is_not_shortened(text: str, width: int) -> None:
    cut = shorten(text, width)
    assert cell_len(cut) <= width
    assert (cut == text) == (cell_len(text) <= width)


@given(TEXTS, st.integers(6, 20), st.sampled_from(["", "  "]))
def test_what_is_wrapped_fits_and_nothing_of_it_is_lost(text: str, width: int, indent: str) -> None:
    lines = wrap(text, width, indent)
    assert all(cell_len(line) <= width for line in lines)
    assert all(line.startswith(indent) for line in lines[1:])
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_words_stay_whole_where_they_can() -> None:
    assert wrap("no step was lost", 8, " ") == ["no step", " was", " lost"]
    assert wrap("abcdefghij", 4, " ") == ["abcd", " efg", " hij"]
    assert wrap("", 8) == []


def test_nothing_that_moves_the_cursor_is_left() -> None:
    assert clean("pi\x1b[2J\n5\u202e") == "pi [2J 5 "
    assert clean("küche 書斎") == "küche 書斎"


@pytest.mark.parametrize(
    ("value", "places", "text"),
    [(1.8094, 3, "1.809"), (0.0, 3, "0.000"), (0.01, 3, "0.010"), (0.0099, 3, "9.9e-03"), (6.63e-06, 4, "6.6e-06"),
     (-1e-9, 4, "-1.0e-09"), (math.nan, 4, "nan"), (math.inf, 3, "inf"), (12345.678, 4, "12345.6780")],
)  # fmt: skip
def test_a_loss_never_vanishes_behind_its_decimal_places(value: float, places: int, text: str) -> None:
    assert loss(value, places) == text
