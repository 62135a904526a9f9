"""Who is missed, and in which words."""

import pytest

from edged.core.messages import MemberState
from edged.core.watch import Watch, fate, named, present
from tests.core.job_sample import A, B, C, D, member


def watch(nodes=(A, B)):
    members = {node: member(node) for node in (A, B, C)}
    made = Watch(members)
    made.follow(nodes)
    return made, members


@pytest.mark.parametrize("state", [MemberState.ALIVE, MemberState.SUSPECT])
def test_a_present_member_is_not_missed(state):
    made, members = watch()
    members[B] = member(B, state)
    assert made.lost() == ()


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (member(B, MemberState.DEAD), "died"),
        (member(B, MemberState.LEFT), "left"),
        (member(B, boot=2), "was restarted"),
    ],
)
def test_who_is_gone_or_has_forgotten_everything_is_missed(record, words):
    made, members = watch()
    members[B] = record
    assert made.lost() == (B,)
    assert fate(record) == words


def test_a_member_that_is_not_watched_is_not_missed():
    made, members = watch()
    members[C] = member(C, MemberState.DEAD)
    assert made.lost() == ()


def test_a_node_nobody_knows_is_lost():
    made, members = watch()
    del members[B]
    assert made.lost() == (B,)
    assert watch((D,))[0].lost() == (D,)


def test_who_is_watched_on_keeps_the_boot_that_was_seen_first():
    made, members = watch()
    members[A] = member(A, boot=2)
    made.follow((A, C))
    assert made.nodes == (A, C)
    assert made.lost() == (A,)
    made.follow(())
    made.follow((A,))
    assert made.lost() == ()


def test_names_read_like_a_list():
    members = {node: member(node) for node in (A, B, C)}
    assert named([], members) == ""
    assert named([B], members) == "pi-b"
    assert named([B, A], members) == "pi-b and pi-a"
    assert named([A, B, D], members) == f"pi-a, pi-b and {D}"


def test_present_are_all_who_are_not_known_to_be_gone():
    states = {A: MemberState.ALIVE, B: MemberState.DEAD, C: MemberState.SUSPECT, D: MemberState.LEFT}
    assert present({node: member(node, state) for node, state in states.items()}) == (A, C)
