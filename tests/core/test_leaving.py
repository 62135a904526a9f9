"""Leaving gracefully: asked for, granted, or not waited for any longer."""

from __future__ import annotations

import pytest

from edged.core.effects import SendMessage
from edged.core.events import LeaveAsked, LeaveNodeAsked, MemberChanged, MessageReceived, TimerFired
from edged.core.leaving import PATIENCE_SECONDS, Leaving
from edged.core.messages import LeaveGranted, LeaveOrder, LeaveRequest, MemberState
from tests.core.job_sample import A, B, C, member


class Scene:
    """Node B; C leads."""

    def __init__(self):
        self.leader, self.needed, self.granted = C, True, 0.0
        self.machine = Leaving(B, lambda: self.leader, lambda: self.needed, lambda: self.granted)
        self.now = 0.0

    def handle(self, event):
        effects = self.machine.handle(event, self.now)
        self.machine.check()
        return [e for e in effects if isinstance(e, SendMessage)]

    def wake(self):
        self.now = self.machine.deadline()
        return self.handle(TimerFired())


@pytest.fixture
def scene():
    return Scene()


REQUEST = SendMessage(C, LeaveRequest(B))


def test_a_node_that_is_needed_asks_until_it_is_granted(scene):
    assert scene.handle(LeaveAsked()) == [REQUEST]
    assert scene.wake() == [REQUEST]
    assert not scene.machine.goes
    scene.handle(MessageReceived(C, LeaveGranted(B)))
    assert scene.machine.goes
    scene.wake()
    assert scene.machine.deadline() is None


def test_only_the_leader_grants_and_only_who_asked_goes(scene):
    scene.handle(MessageReceived(C, LeaveGranted(B)))
    scene.handle(LeaveAsked())
    scene.handle(MessageReceived(A, LeaveGranted(B)))
    scene.handle(MessageReceived(C, LeaveGranted(A)))
    assert not scene.machine.goes


def test_a_node_that_nothing_hangs_on_goes_at_once(scene):
    scene.needed = False
    assert scene.handle(LeaveAsked()) == []
    assert scene.machine.goes


def test_a_node_that_is_needed_no_more_goes(scene):
    scene.handle(LeaveAsked())
    scene.needed = False
    scene.wake()
    assert scene.machine.goes


def test_the_second_asking_is_obeyed_at_once(scene):
    scene.handle(LeaveAsked())
    scene.handle(LeaveAsked())
    assert scene.machine.goes


@pytest.mark.parametrize(("leader", "granted"), [(C, 0.0), (None, 0.0), (None, 900.0)])
def test_nobody_waits_longer_than_a_minute_for_nothing_to_move(scene, leader, granted):
    scene.leader, scene.granted = leader, granted
    scene.handle(LeaveAsked())
    while not scene.machine.goes:
        scene.wake()
    assert scene.now == PATIENCE_SECONDS


def test_whoever_leaves_waits_while_layers_move_and_a_minute_more(scene):
    scene.handle(LeaveAsked())
    scene.wake()
    scene.granted = 900.0
    while scene.now < 600.0:
        assert scene.wake() == [REQUEST]
    scene.granted = 0.0
    while scene.now < 600.0 + PATIENCE_SECONDS - 1.0:
        assert scene.wake() == [REQUEST]
    scene.handle(MessageReceived(C, LeaveGranted(B)))
    assert scene.machine.goes


def test_layers_that_move_for_ever_hold_nobody(scene):
    scene.handle(LeaveAsked())
    scene.granted = 900.0
    while not scene.machine.goes:
        scene.wake()
    assert scene.now == pytest.approx(900.0 + PATIENCE_SECONDS, abs=1.0)


def test_a_request_goes_to_whoever_leads_now(scene):
    scene.handle(LeaveAsked())
    scene.leader = A
    assert scene.wake() == [SendMessage(A, LeaveRequest(B))]


def test_an_order_is_an_asking_however_often_it_comes(scene):
    assert scene.handle(MessageReceived(A, LeaveOrder(C))) == []
    for _ in range(3):
        scene.handle(MessageReceived(A, LeaveOrder(B)))
    assert scene.machine.asked
    assert not scene.machine.goes


def test_another_node_is_ordered_until_it_has_left(scene):
    order = SendMessage(A, LeaveOrder(A))
    assert scene.handle(LeaveNodeAsked(A)) == [order]
    assert scene.wake() == [order]
    scene.handle(MemberChanged(member(A, MemberState.LEFT), MemberState.ALIVE, ""))
    assert scene.wake() == []
    assert scene.machine.deadline() is None
    assert not scene.machine.asked


def test_an_order_that_is_not_obeyed_is_given_up(scene):
    scene.handle(LeaveNodeAsked(A))
    while scene.machine.deadline() is not None:
        scene.wake()
    assert scene.now == PATIENCE_SECONDS


def test_ordering_oneself_is_asking(scene):
    assert scene.handle(LeaveNodeAsked(B)) == [REQUEST]
