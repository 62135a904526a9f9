"""Whom a node cannot reach though others can, and how the leader hears of it."""

import pytest

from edged.core.effects import SendMessage
from edged.core.events import LeaderChanged, ReachChanged, TimerFired
from edged.core.messages import Unreachable
from edged.core.reach import CUT_SECONDS, REPEAT_SECONDS, Detours, Reach
from tests.core.job_sample import A, B, C


@pytest.fixture
def detours():
    return Detours()


@pytest.fixture
def reach():
    made = Reach()
    yield made
    made.check()


def test_one_answer_by_way_of_others_means_nothing(detours):
    detours.answered(A, 0.0, direct=False)
    assert detours
    assert detours.unreachable(100.0) == ()


def test_answers_by_way_of_others_only_mean_a_cut(detours):
    detours.answered(B, 0.0, direct=False)
    detours.answered(A, 1.0, direct=False)
    detours.answered(B, 1.0, direct=False)
    assert detours.unreachable(CUT_SECONDS - 0.1) == ()
    assert detours.unreachable(CUT_SECONDS) == (B,)
    detours.answered(A, CUT_SECONDS, direct=False)
    assert detours.unreachable(1.0 + CUT_SECONDS) == (A, B)


def test_a_straight_answer_ends_it(detours):
    for now in (0.0, 3.0):
        detours.answered(A, now, direct=False)
    detours.answered(A, 4.0, direct=True)
    assert not detours
    assert detours.unreachable(9.0) == ()


def test_who_is_gone_and_what_a_pause_made_doubtful_are_forgotten(detours):
    for node in (A, B):
        detours.answered(node, 0.0, direct=False)
        detours.answered(node, 3.0, direct=False)
    detours.keep((A, C).__contains__)
    assert detours.unreachable(9.0) == (A,)
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
