"""Who is left out of a job, from when, until when."""

import pytest

from edged.core.conduct import FAILURES, REST_SECONDS, STRAY_SECONDS, STRIKE_SECONDS, STRIKES, Conduct
from edged.core.messages import MemberState
from tests.core.job_sample import A, B, C, member


@pytest.fixture
def conduct():
    return Conduct({A: member(A), B: member(B)})


@pytest.mark.parametrize("witnesses", [(A, C, A), (B, B, B), (A, A, C)])
def test_a_node_is_excluded_when_it_is_lost_too_often_in_a_short_time(conduct, witnesses):
    verdicts = [conduct.lost(B, by, f"broken {n}", n * 10.0) for n, by in enumerate(witnesses)]
    assert verdicts == [False] * (STRIKES - 1) + [True]
    assert conduct.excluded == {B: f"broken {STRIKES - 1}"}
    assert conduct.lost(B, A, "again", 1000.0)
    assert conduct.excluded == {B: f"broken {STRIKES - 1}"}


def test_seldom_losses_are_forgiven(conduct):
    moments = [n * STRIKE_SECONDS / (STRIKES - 1) for n in range(20)]
    assert not any(conduct.lost(B, B, "broken", moment) for moment in moments)


def test_a_node_that_only_one_other_loses_is_not_at_fault(conduct):
    assert not any(conduct.lost(B, A, "broken", float(n)) for n in range(20))
    assert conduct.lost(B, C, "broken", 20.0)


def test_who_cannot_prepare_twice_is_excluded(conduct):
    assert [conduct.unready(B, "no memory", 0.0, 60.0) for _ in range(FAILURES)] == [False, True]


@pytest.mark.parametrize(
    ("seconds", "granted", "excluded"), [(119.0, 60.0, True), (120.0, 60.0, False), (3659.0, 3600.0, True)]
)
def test_a_failure_counts_as_long_as_another_transfer_may_take(conduct, seconds, granted, excluded):
    conduct.unready(B, "was not ready in time", 0.0, granted)
    assert conduct.unready(B, "was not ready in time", seconds, granted) is excluded


def test_a_new_process_begins_with_a_clean_slate(conduct):
    for _ in range(FAILURES):
        conduct.unready(B, "no memory", 0.0, 60.0)
    conduct.refused(B, 10.0)
    conduct.changed(member(B), MemberState.ALIVE)
    assert B in conduct.excluded
    assert B in conduct.doubted
    conduct.changed(member(B, boot=2), MemberState.ALIVE)
    assert not conduct.excluded
    assert not conduct.doubted
    assert not conduct.unready(B, "no memory", 0.0, 60.0)


def test_doubt_ends_with_a_word_or_with_membership(conduct):
    conduct.refused(B, 10.0)
    conduct.changed(member(B, MemberState.SUSPECT), MemberState.ALIVE)
    assert conduct.doubted == {B}
    conduct.changed(member(B), MemberState.SUSPECT)
    assert not conduct.doubted
    conduct.refused(B, 10.0)
    conduct.heard(B)
    assert not conduct.doubted


def test_doubt_ends_with_any_word_that_cannot_have_been_on_its_way_before(conduct):
    conduct.refused(B, 10.0)
    conduct.heard(B, 10.0 + 0.5 * STRAY_SECONDS)
    assert conduct.doubted == {B}
    conduct.heard(B, 10.0 + STRAY_SECONDS)
    assert not conduct.doubted


def test_where_nobody_else_is_left_who_was_excluded_has_another_chance_after_a_rest(conduct):
    for moment in (0.0, 1.0):
        conduct.unready(B, "no memory", moment, 60.0)
    conduct.forgive(1.0 + REST_SECONDS - 0.1)
    assert B in conduct.excluded
    conduct.forgive(1.0 + REST_SECONDS)
    assert not conduct.excluded
    assert not conduct.unready(B, "no memory", 62.0, 60.0)
    assert conduct.unready(B, "no memory", 63.0, 60.0)
