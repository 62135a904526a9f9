"""Asking everyone what it holds: who is asked again, who is waited for, whose word counts."""

import pytest

from edged.core.effects import SendMessage
from edged.core.gathering import Gathering
from edged.core.messages import Halt, Inventory, MemberState
from tests.core.job_sample import A, B, C, D, member, stamp


class Scene:
    def __init__(self, doubted=(), patience=1.0):
        self.members = {node: member(node) for node in (A, B, C)}
        self.doubted = set(doubted)
        self.gathering = Gathering(stamp(), self.members, self.doubted, patience, 10.0)

    def asked(self, now):
        effects = self.gathering.ask(now)
        assert all(e == SendMessage(e.to, Halt(stamp())) for e in effects)
        return [e.to for e in effects]

    def hear(self, node, of=None):
        return self.gathering.hear(node, Inventory(of or stamp(), (), program=False, data=False))


@pytest.fixture
def scene():
    return Scene()


def test_everyone_present_is_asked_and_the_silent_again(scene):
    scene.members[C] = member(C, MemberState.DEAD)
    assert scene.asked(10.0) == [A, B]
    assert scene.asked(10.1) == []
    scene.hear(A)
    assert scene.gathering.deadline == 10.25
    assert scene.asked(10.25) == [B]
    assert scene.asked(11.0) == [B]
    assert scene.gathering.deadline == 12.0


def test_a_newcomer_is_asked_at_once(scene):
    scene.asked(10.0)
    scene.members[D] = member(D)
    assert scene.asked(10.1) == [D]


def test_it_is_time_when_all_have_answered_or_the_patience_is_over(scene):
    assert not scene.gathering.due(10.9)
    assert scene.gathering.due(11.0)
    for node in (A, B, C):
        assert scene.hear(node)
    assert scene.gathering.due(10.0)
    assert list(scene.gathering.inventories) == [A, B, C]


def test_the_doubted_are_asked_but_not_waited_for():
    scene = Scene(doubted=[B])
    assert scene.asked(10.0) == [A, B, C]
    assert scene.gathering.silent() == (A, C)


def test_a_word_counts_only_under_this_stamp_and_from_a_present_member(scene):
    scene.members[B] = member(B, MemberState.DEAD)
    assert not scene.hear(A, stamp(version=2))
    assert not scene.hear(B)
    assert not scene.hear(D)
    assert scene.gathering.inventories == {}


@pytest.mark.parametrize("after", [member(A, boot=2), member(A, MemberState.LEFT)])
def test_the_word_of_a_process_that_is_gone_counts_no_more(scene, after):
    scene.hear(A)
    scene.members[A] = after
    assert scene.gathering.inventories == {}


def test_the_word_of_the_doubted_counts_when_they_are_not_doubted_any_more(scene):
    scene.hear(A)
    scene.doubted.add(A)
    assert scene.gathering.inventories == {}
    scene.doubted.clear()
    assert set(scene.gathering.inventories) == {A}
