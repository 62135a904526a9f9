"""When the planner is asked about members that have no layers."""

from edged.core.newcomers import REPEAT_SECONDS, SETTLED_SECONDS, Newcomers
from tests.core.job_sample import A, B, C, member


def settled(*nodes):
    newcomers = Newcomers()
    newcomers.planned([member(node) for node in nodes])
    newcomers.running(0.0)
    return newcomers


def worth_asking(newcomers, members, now):
    newcomers.settle(now)
    return newcomers.worth_asking(members)


def test_nobody_is_considered_before_the_plan_has_settled():
    newcomers = settled(A)
    assert newcomers.deadline() == SETTLED_SECONDS
    assert not worth_asking(newcomers, [member(A), member(B)], SETTLED_SECONDS - 0.1)
    assert worth_asking(newcomers, [member(A), member(B)], SETTLED_SECONDS)
    assert newcomers.deadline() is None


def test_each_process_is_considered_once():
    newcomers = settled(A)
    assert worth_asking(newcomers, [member(A), member(B)], 9.0)
    assert not worth_asking(newcomers, [member(A), member(B)], 10.0)
    assert worth_asking(newcomers, [member(B), member(C)], 11.0)
    assert not worth_asking(newcomers, [member(A)], 12.0)
    assert worth_asking(newcomers, [member(A), member(B, boot=2)], 13.0)


def test_who_was_there_when_the_plan_was_made_is_no_newcomer():
    newcomers = settled(A, B)
    assert not worth_asking(newcomers, [member(A), member(B)], 9.0)
    newcomers.running(9.0)
    assert newcomers.deadline() is None


def test_members_without_layers_are_asked_to_learn_until_they_have():
    newcomers = settled(A)
    assert newcomers.to_teach([member(B), member(C)], 1.0) == [B, C]
    assert newcomers.deadline() == 1.0 + REPEAT_SECONDS
    newcomers.learned(B, {B: member(B)})
    assert newcomers.to_teach([member(B), member(C)], 1.5) == []
    assert newcomers.to_teach([member(B), member(C)], 2.0) == [C]
    newcomers.learned(C, {C: member(C)})
    assert newcomers.to_teach([member(B), member(C)], 9.0) == []
    assert newcomers.to_teach([member(B, boot=2)], 9.0) == [B]
    assert newcomers.to_teach([], 9.0) == []
    assert newcomers.deadline() == SETTLED_SECONDS


def test_without_a_plan_nobody_is_asked():
    assert not worth_asking(Newcomers(), [member(A)], 99.0)
