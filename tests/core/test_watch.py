"""Who is missed, and in which words."""

import pytest

from edged.core.messages import MemberState
from edged.core.watch import Watch, farewell
from tests.core.job_sample import A, B, C, member, plan, stamp


def watch(nodes=(A, B)):
    members = {node: member(node) for node in (A, B, C)}
    made = Watch(A, members)
    made.follow(plan(stamp(), nodes))
    return made, members


def test_source_and_plan_are_watched_once_each():
    assert watch()[0].nodes == (A, B)


@pytest.mark.parametrize("state", [MemberState.ALIVE, MemberState.SUSPECT])
def test_a_present_member_is_not_missed(state):
    made, _ = watch()
    assert made.lost_by(member(B, state)) == ""


def test_a_member_outside_the_plan_is_not_missed():
    made, _ = watch()
    assert made.lost_by(member(C, MemberState.DEAD)) == ""


def test_a_restart_is_a_loss():
    made, _ = watch()
    assert made.lost_by(member(B, boot=2)) == "node pi-b was restarted; it ran layers 2–3"


def test_a_node_nobody_knows_is_lost():
    made, members = watch()
    del members[B]
    assert made.lost() == f"nobody knows node {B}"


def test_a_new_plan_keeps_the_boot_that_was_seen_first():
    made, members = watch()
    members[A] = member(A, boot=2)
    made.follow(plan(stamp(version=2), (A, C)))
    assert made.nodes == (A, C)
    assert made.lost().startswith("node pi-a was restarted")


def test_a_source_that_runs_layers_is_mourned_for_both():
    sentence = farewell(member(A, MemberState.DEAD), plan(stamp(), (A, B)), A)
    assert sentence == "node pi-a died; it ran layers 0–1 and it was the source of the job's data"


def test_names_are_given_in_order():
    made, _ = watch()
    assert made.names({B, A}) == "pi-a, pi-b"
