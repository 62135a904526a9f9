"""Who wants to leave, and when it may."""

from edged.core.effects import SendMessage
from edged.core.events import LeaderChanged, MemberChanged, MessageReceived, TimerFired
from edged.core.leavers import FORGET_SECONDS, Leavers
from edged.core.messages import JobRecord, JobState, LeaveGranted, LeaveRequest, MemberState
from tests.core.job_sample import JOB, OTHER_JOB, A, B, member


def ask(leavers, node, now=0.0, *, sender=None, spared=False):
    return leavers.handle(MessageReceived(sender or node, LeaveRequest(node)), now, lambda _: spared)


def test_a_request_is_granted_when_the_node_can_be_spared():
    leavers = Leavers()
    assert ask(leavers, B) == []
    assert list(leavers) == [B]
    assert ask(leavers, B, 1.0, spared=True) == [SendMessage(B, LeaveGranted(B))]
    assert ask(leavers, B, 2.0, spared=True) == [SendMessage(B, LeaveGranted(B))]


def test_nobody_asks_for_another():
    leavers = Leavers()
    assert ask(leavers, B, sender=A, spared=True) == []
    assert B not in leavers


def test_who_has_left_or_asks_no_more_is_forgotten():
    leavers = Leavers()
    assert leavers.deadline() is None
    ask(leavers, A)
    ask(leavers, B, 3.0)
    assert leavers.deadline() == FORGET_SECONDS
    leavers.handle(TimerFired(), FORGET_SECONDS, lambda _: False)
    assert list(leavers) == [B]
    leavers.handle(MemberChanged(member(B, MemberState.LEFT), MemberState.ALIVE, ""), FORGET_SECONDS, lambda _: False)
    assert len(leavers) == 0


def test_whether_all_leave_is_known():
    leavers = Leavers()
    assert not leavers.are_all([])
    ask(leavers, A)
    assert leavers.are_all([A])
    assert not leavers.are_all([A, B])
    ask(leavers, B)
    assert leavers.are_all([A, B])


def record(state=JobState.PAUSED):
    return JobRecord(JOB, "net", A, state, 5, 9, "")


def test_who_leaves_holds_a_job_that_stands_until_it_is_relieved_of_it():
    leavers = Leavers()
    assert not leavers.hold(JOB)
    ask(leavers, A)
    leavers.relieve(record(JobState.QUEUED))
    assert leavers.hold(JOB)
    leavers.relieve(record())
    assert not leavers.hold(JOB)
    assert leavers.hold(OTHER_JOB)
    ask(leavers, B)
    assert leavers.hold(JOB)


def test_who_was_relieved_once_may_hold_something_when_it_asks_again_or_somebody_else_leads():
    leavers = Leavers()
    for again in (member(A, MemberState.LEFT), None):
        ask(leavers, A)
        leavers.relieve(record())
        event = LeaderChanged(B, 2) if again is None else MemberChanged(again, MemberState.ALIVE, "")
        leavers.handle(event, 1.0, lambda _: False)
        ask(leavers, A, 2.0)
        assert leavers.hold(JOB)
