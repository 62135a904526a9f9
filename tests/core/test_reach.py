"""Whom a node cannot reach though others can, and how the leader hears of it."""

import math

import pytest

from edged.core.effects import SendMessage
from edged.core.events import LeaderChanged, ReachChanged, TimerFired
from edged.core.messages import Unreachable
from edged.core.reach import CALL_SECONDS, CALLS, CUT_SECONDS, REPEAT_SECONDS, Detours, Reach
from tests.core.job_sample import A, B, C


@pytest.fixture
def detours():
    return Detours()


@pytest.fixture
def reach():
    made = Reach()
    yield made
    made.check()


def looked(detours, now, until):
    """Look whenever it is due; who was asked when."""
    asked = []
    while (now := max(now, detours.deadline())) <= until:
        asked += [(node, now) for node in detours.look(now)]
    return asked


def test_one_answer_by_way_of_others_means_nothing(detours):
    detours.answered(A, 0.0, direct=False)
    assert detours
    assert looked(detours, 0.0, 100.0) == []
    assert detours.unreachable() == ()


def test_answers_by_way_of_others_only_mean_a_cut_if_no_question_is_answered(detours):
    detours.answered(B, 0.0, direct=False)
    detours.answered(A, 1.0, direct=False)
    detours.answered(B, 1.0, direct=False)
    assert looked(detours, 1.0, CUT_SECONDS - 0.1) == [(B, 1.0 + i * CALL_SECONDS) for i in range(CALLS)]
    assert detours.unreachable() == ()
    detours.answered(A, CUT_SECONDS, direct=False)
    assert looked(detours, CUT_SECONDS, 100.0) == [(A, CUT_SECONDS + i * CALL_SECONDS) for i in range(CALLS)]
    assert detours.unreachable() == (A, B)
    assert detours.deadline() == math.inf


def test_who_is_asked_has_time_to_answer(detours):
    for now in (0.0, 5.0):
        detours.answered(A, now, direct=False)
    last = looked(detours, 5.0, 5.0 + (CALLS - 0.5) * CALL_SECONDS)[-1][1]
    assert last == 5.0 + (CALLS - 1) * CALL_SECONDS
    assert detours.unreachable() == ()
    assert detours.deadline() == last + CALL_SECONDS
    detours.answered(A, last + 0.1, direct=True)
    assert looked(detours, last + CALL_SECONDS, 100.0) == []
    assert detours.unreachable() == ()


def test_a_straight_answer_ends_it(detours):
    for now in (0.0, 3.0):
        detours.answered(A, now, direct=False)
    looked(detours, 3.0, 9.0)
    assert detours.unreachable() == (A,)
    detours.answered(A, 9.0, direct=True)
    assert not detours
    assert detours.unreachable() == ()


def test_who_is_gone_and_what_a_pause_made_doubtful_are_forgotten(detours):
    for node in (A, B):
        detours.answered(node, 0.0, direct=False)
        detours.answered(node, 3.0, direct=False)
    looked(detours, 3.0, 9.0)
    detours.keep((A, C).__contains__)
    assert detours.unreachable() == (A,)
    detours.void()
    assert not detours


def test_the_leader_hears_it_again_and_again_until_it_is_over(reach):
    reach.handle(LeaderChanged(C, 1), 0.0)
    assert reach.deadline() is None
    assert reach.handle(ReachChanged((A,)), 1.0) == [SendMessage(C, Unreachable((A,)))]
    assert reach.handle(TimerFired(), 2.0) == []
    assert reach.deadline() == 1.0 + REPEAT_SECONDS
    assert reach.handle(TimerFired(), 6.0) == [SendMessage(C, Unreachable((A,)))]
    assert reach.handle(ReachChanged(()), 7.0) == [SendMessage(C, Unreachable(()))]
    assert reach.deadline() is None


def test_a_new_leader_hears_it_at_once(reach):
    assert reach.handle(ReachChanged((A,)), 1.0) == []
    assert reach.handle(LeaderChanged(B, 2), 3.0) == [SendMessage(B, Unreachable((A,)))]
