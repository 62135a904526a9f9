"""Who was not there from a job's first step has the losses before its time from the others."""

from __future__ import annotations

import math

import pytest

from edged.core.effects import TellLeader, TellMember
from edged.core.events import MessageReceived
from edged.core.ids import JobId, NodeId, Stamp
from edged.core.messages import Curve, MemberState, Message, StepReport, WantCurve
from edged.roles.curves import ANSWER_SECONDS, Curves
from edged.roles.observer import Observer
from tests.roles.conftest import record_of, spec_of

OWN, SOURCE, LEADER, OTHER, GONE = (NodeId(letter * 16) for letter in "abcde")
JOB = spec_of().job
EARLIER = ((1, 2.5), (2, math.nan), (3, math.inf))


class Node:
    """One node's observer and its curves; what it sends is kept."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sent: list[tuple[NodeId, Message]] = []
        self.observer = Observer(record_of(OWN, "desk"), dict, clock=lambda: self.now)
        self.curves = Curves(self.observer, lambda to, message: self.sent.append((to, message)), lambda: self.now)
        for node, state in ((SOURCE, MemberState.ALIVE), (LEADER, MemberState.ALIVE), (OTHER, MemberState.SUSPECT)):
            self.tell(TellMember(record_of(node, node[:2], state), None, ""))
        self.tell(TellMember(record_of(GONE, "gone", MemberState.DEAD), None, ""))
        self.tell(TellLeader(LEADER, 1))

    def tell(self, effect: TellMember | TellLeader) -> None:
        self.observer.table()[type(effect)](effect)

    def hear(self, message: Message, sender: NodeId = SOURCE) -> None:
        self.curves.watch(MessageReceived(sender, message))

    def step(self, number: int, sender: NodeId = SOURCE) -> None:
        self.hear(StepReport(Stamp(JOB, 1, 1), number, 0, 1 / number, 1.0, 0.1), sender)

    def steps(self) -> list[int]:
        return [step for step, _ in self.observer.losses[JOB].points()]


@pytest.fixture
def node() -> Node:
    return Node()


def test_who_was_there_from_the_first_step_asks_nobody(node: Node) -> None:
    for number in range(1, 20):
        node.now += ANSWER_SECONDS
        node.step(number)
    assert not node.sent


def test_who_came_late_has_the_beginning_from_the_source(node: Node) -> None:
    node.step(4)
    node.step(5)
    assert node.sent == [(SOURCE, WantCurve(JOB, 4))]
    node.hear(Curve(JOB, (*EARLIER, (4, 7.0))))
    points = node.observer.losses[JOB].points()
    assert [step for step, _ in points] == [1, 2, 3, 4, 5]
    assert (points[0][1], points[2][1], points[3][1]) == (2.5, math.inf, 0.25)
    assert math.isnan(points[1][1])
    node.now += 10 * ANSWER_SECONDS
    node.step(6)
    assert len(node.sent) == 1


def test_the_others_are_asked_once_each_one_after_the_other(node: Node) -> None:
    for number in range(10, 20):
        node.step(number)
        node.step(number)
        node.now += ANSWER_SECONDS
    assert [to for to, _ in node.sent] == [SOURCE, LEADER, OTHER]


def test_what_lacks_the_beginning_is_taken_and_asking_goes_on(node: Node) -> None:
    node.step(9)
    node.hear(Curve(JOB, ((6, 1.0), (8, 1.0))))
    node.now += ANSWER_SECONDS
    node.step(10)
    assert node.sent[-1] == (LEADER, WantCurve(JOB, 6))
    node.hear(Curve(JOB, EARLIER), LEADER)
    assert node.steps() == [1, 2, 3, 6, 8, 9, 10]


def test_a_curve_that_nobody_asked_for_is_not_taken(node: Node) -> None:
    node.step(9)
    node.hear(Curve(JOB, EARLIER), OTHER)
    node.hear(Curve(JobId("0" * 12), EARLIER))
    assert node.steps() == [9]


def test_who_knows_earlier_steps_tells_them_and_who_does_not_is_silent(node: Node) -> None:
    for number in range(1, 6):
        node.step(number)
    node.hear(WantCurve(JOB, 3), OTHER)
    node.hear(WantCurve(JOB, 1), OTHER)
    node.hear(WantCurve(JobId("0" * 12), 3), OTHER)
    assert node.sent == [(OTHER, Curve(JOB, ((1, 1.0), (2, 0.5))))]
