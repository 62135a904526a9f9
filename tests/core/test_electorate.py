"""The voters: table of sizes, changes and which record wins."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.core.electorate import is_gone, is_majority, is_newer, next_change, rank, wanted_voters
from edged.core.messages import Electorate, MemberState
from tests.core.records import member, node_id


def record(*voters: int, lineage: str = "a", term: int = 1, number: int = 1) -> Electorate:
    return Electorate(lineage, term, number, tuple(map(node_id, voters)))


@pytest.mark.parametrize(
    ("members", "voters"), [(1, 1), (2, 2), (3, 3), (4, 3), (5, 5), (6, 5), (7, 7), (8, 7), (1000, 7)]
)
def test_electorate_is_odd_except_for_two(members: int, voters: int) -> None:
    assert wanted_voters(members) == voters


@pytest.mark.parametrize(("votes", "voters", "enough"), [(1, 1, True), (1, 2, False), (2, 3, True), (2, 4, False)])
def test_a_majority_is_more_than_half(votes: int, voters: int, enough: bool) -> None:
    assert is_majority(range(votes), range(voters)) is enough


def test_records_are_ordered_by_term_then_number() -> None:
    assert is_newer(record(1, term=2, number=1), record(1, term=1, number=9))
    assert not is_newer(record(1), record(1))


def test_only_goodbye_or_proof_counts_as_gone() -> None:
    assert is_gone(member(1, state=MemberState.LEFT))
    assert is_gone(member(1, state=MemberState.DEAD, proven=True))
    assert not is_gone(member(1, state=MemberState.DEAD))
    assert not is_gone(None)


def test_the_fitter_stand_first_and_the_unmeasured_last() -> None:
    members = {node_id(i): member(i, slowness=s) for i, s in enumerate([2.0, 1.0, 0.0, 1.5])}
    assert [rank(node_id(i), members, members, None) for i in range(4)] == [2, 0, 3, 1]
    assert rank(node_id(0), members, members, node_id(1)) == 1


@given(st.sets(st.integers(1, 9)), st.sets(st.integers(1, 9)), st.sets(st.integers(1, 9)))
def test_voters_change_one_at_a_time_and_the_leader_stays(voters: set[int], dead: set[int], follow: set[int]) -> None:
    now = record(0, *sorted(voters))
    members = {node_id(i): member(i, state=MemberState.DEAD if i in dead else MemberState.ALIVE) for i in range(10)}
    for _ in range(40):
        changed = next_change(now, node_id(0), members, [node_id(i) for i in follow])
        if changed is None:
            break
        assert len(set(changed) ^ set(now.voters)) == 1
        assert node_id(0) in changed
        now = record(*(int(v, 16) for v in changed))
    else:
        raise AssertionError("the electorate never settles")
    assert not {int(v, 16) for v in now.voters} & dead
