"""Who wants to leave, and when it may."""

from edged.core.effects import SendMessage
from edged.core.events import MemberChanged, MessageReceived, TimerFired
from edged.core.leavers import FORGET_SECONDS, Leavers
from edged.core.messages import LeaveGranted, LeaveRequest, MemberState
from tests.core.job_sample import A, B, member


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
