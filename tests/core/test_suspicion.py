"""Suspicion: the table of times."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.core.suspicion import (
    CALL_SECONDS,
    CALLS,
    FEWEST_CALLS,
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


def asked_until_burial(suspicion: Suspicion, deadline: float, now: float = 0.0) -> tuple[list[float], float]:
    """When the suspect is asked from ``now`` on, and when it is called dead."""
    calls: list[float] = []
    while (at := max(now, suspicion.next_call(deadline))) < suspicion.burial(deadline):
        calls.append(at)
        suspicion.ask(at)
    return calls, suspicion.burial(deadline)


def test_a_suspect_is_asked_at_even_distances_before_it_is_called_dead() -> None:
    calls, burial = asked_until_burial(Suspicion(0.0, ("a",)), 3.0)
    assert (len(calls), burial) == (CALLS, 3.0)
    assert calls == [burial - (CALLS - i) * CALL_SECONDS for i in range(CALLS)]


@pytest.mark.parametrize("deadline", [3.0, 4.0, 4.3])
def test_accusations_that_come_late_leave_time_to_ask(deadline: float) -> None:
    """Until 4 s it had until 9 s; now its time is over, or nearly."""
    calls, burial = asked_until_burial(Suspicion(0.0, ("a", "b", "c", "d")), deadline, now=4.0)
    assert calls == [4.0 + i * CALL_SECONDS for i in range(FEWEST_CALLS)]
    assert burial == 4.0 + FEWEST_CALLS * CALL_SECONDS


def test_questions_that_were_asked_already_count() -> None:
    suspicion = Suspicion(0.0, ("a",))
    for at in (3.0, 3.25, 3.5, 3.75):
        suspicion.ask(at)
    assert suspicion.burial(3.9) == 3.9
    suspicion.delay(60.0)  # the one who suspects slept: the answers may be lost
    calls, _ = asked_until_burial(suspicion, 63.9, now=63.9)
    assert len(calls) == FEWEST_CALLS
