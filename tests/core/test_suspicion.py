"""Suspicion: the table of times."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.core.suspicion import (
    CALL_SECONDS,
    CALLS,
    MAXIMUM_ACCUSERS,
    Suspicion,
    expected_confirmations,
    join_accusers,
    suspicion_seconds,
)


@pytest.mark.parametrize(
    ("confirmations", "expected", "seconds"),
    [(0, 3, 9.0), (1, 3, 6.0), (2, 3, 4.245), (3, 3, 3.0), (4, 3, 3.0), (0, 0, 3.0), (0, 1, 9.0), (1, 1, 3.0)],
)
def test_confirmations_shorten_the_suspicion(confirmations: int, expected: int, seconds: float) -> None:
    assert suspicion_seconds(confirmations, expected, 3.0, 9.0) == pytest.approx(seconds, abs=0.001)


@pytest.mark.parametrize(("members", "expected"), [(1, 0), (2, 0), (3, 1), (4, 2), (5, 3), (1000, 3)])
def test_no_more_confirmations_are_expected_than_there_are_others(members: int, expected: int) -> None:
    assert expected_confirmations(members) == expected


@given(st.integers(0, 10), st.integers(0, 3))
def test_time_is_always_between_the_bounds(confirmations: int, expected: int) -> None:
    assert 3.0 <= suspicion_seconds(confirmations, expected, 3.0, 9.0) <= 9.0


@given(
    st.lists(st.text("abcdef", min_size=1, max_size=1), unique=True, max_size=4),
    st.lists(st.text("abcdef", min_size=1, max_size=1), unique=True, max_size=4),
)
def test_joined_accusers_are_few_different_and_keep_ours(ours: list[str], theirs: list[str]) -> None:
    joined = join_accusers(tuple(ours), tuple(theirs))
    assert len(set(joined)) == len(joined) <= MAXIMUM_ACCUSERS
    assert joined[: len(ours)] == tuple(ours)


def test_a_pair_of_nodes_waits_the_shortest_time() -> None:
    assert Suspicion(10.0, ("a",)).deadline(2, 3.0, 9.0) == 13.0


def test_a_suspect_is_asked_at_even_distances_before_it_is_called_dead() -> None:
    suspicion, burial, calls = Suspicion(0.0, ("a",)), 3.0, []
    while (at := suspicion.next_call(burial)) < burial:
        calls.append(at)
        suspicion.called = at
    assert calls == [burial - (CALLS - i) * CALL_SECONDS for i in range(CALLS)]
