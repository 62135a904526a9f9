"""Local health: bounds and blame."""

from __future__ import annotations

import pytest

from edged.core.awareness import MAXIMUM_SCORE, Awareness, blame


def test_score_stays_within_its_bounds() -> None:
    awareness = Awareness()
    awareness.change(-1)
    assert (awareness.score, awareness.scale) == (0, 1)
    awareness.change(100)
    assert (awareness.score, awareness.scale) == (MAXIMUM_SCORE, MAXIMUM_SCORE + 1)


@pytest.mark.parametrize(("asked", "heard", "change"), [(0, 0, 1), (3, 3, 0), (3, 1, 2), (3, 0, 3)])
def test_helpers_that_are_not_heard_are_held_against_oneself(asked: int, heard: int, change: int) -> None:
    assert blame(asked, heard) == change
