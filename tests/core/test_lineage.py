"""Lineages that meet: exactly one gives way, for the first reason that tells them apart."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.core.ids import NodeId
from edged.core.lineage import MOST_ANCESTORS, descends, fork, inherits, missing, why_outranked
from edged.core.messages import Electorate
from tests.core.records import node_id


def nodes(*numbers: int) -> tuple[NodeId, ...]:
    return tuple(map(node_id, numbers))


def record(*voters: int, lineage: str = "a", term: int = 1, number: int = 1) -> Electorate:
    return Electorate(lineage, term, number, nodes(*voters))


ROOT = record(0, 1, 2, 3, 4, lineage="root", term=7, number=9)


def branch(lineage: str, *voters: int, of: Electorate = ROOT, term: int = 5000) -> Electorate:
    return fork(of, lineage, term, nodes(*voters))


def test_who_kept_the_name_wins_over_a_fork_whatever_it_has_done() -> None:
    kept, forked = replace(ROOT, term=8, number=11, voters=nodes(0, 1, 2)), branch("b", 3, 4)
    assert why_outranked(forked, kept, 900, 3).startswith("it has the majority")
    assert why_outranked(kept, forked, 3, 900) == ""
    again = branch("c", 3, of=forked)
    assert why_outranked(again, kept, 900, 3)
    assert why_outranked(again, forked, 900, 3)


def test_of_two_forks_the_one_with_a_majority_of_what_they_left_wins() -> None:
    large, small = branch("b", 0, 1, 2, term=1000), branch("c", 3, 4, term=9000)
    assert why_outranked(small, large, 50, 0).startswith("it has the majority")
    assert why_outranked(large, small, 0, 50) == ""


def test_the_last_voters_in_common_are_those_of_the_earlier_parting() -> None:
    later = replace(ROOT, number=12, voters=nodes(0, 1, 2))
    first, second = branch("b", 3, 4), branch("c", 0, 1, of=later)
    assert why_outranked(second, first, 0, 1).startswith("it has done 1 steps")


@pytest.mark.parametrize(
    ("own", "other", "steps", "why"),
    [
        (branch("b", 0), branch("c", 1), (3, 5), "it has done 5 steps, this one 3"),
        (branch("b", 0, 2), branch("c", 1, term=6000), (3, 3), "its term is higher"),
        (branch("c", 0), branch("b", 1), (3, 3), "its id is the smaller one"),
        (record(1, term=9), record(2, 3, lineage="z"), (0, 0), "it has more voters"),
        (record(1, 2, 3), record(4, lineage="z"), (0, 1), "it has done 1 steps, this one 0"),
    ],
)
def test_the_reason_is_told(own: Electorate, other: Electorate, steps: tuple[int, int], why: str) -> None:
    assert why_outranked(own, other, *steps) == why
    assert why_outranked(other, own, *reversed(steps)) == ""


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(1, 3)), max_size=5), st.data())
def test_of_two_lineages_exactly_one_gives_way(parts: list[tuple[int, int, int]], data: st.DataObject) -> None:
    tree = [ROOT, record(0, lineage="elsewhere", term=2)]
    for number, (first, last, term) in enumerate(parts):
        parent = data.draw(st.sampled_from(tree))
        tree.append(branch(f"f{number}", *sorted({first, last}), of=parent, term=term * 1000))
    own, other = data.draw(st.sampled_from(tree)), data.draw(st.sampled_from(tree))
    steps = data.draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    if own.lineage != other.lineage:
        yields = bool(why_outranked(own, other, *steps))
        both_claim = yields == bool(why_outranked(other, own, *reversed(steps)))
        assert not both_claim


def test_a_fork_is_tentative_until_a_majority_is_back_or_certainly_gone() -> None:
    forked = branch("b", 3, 4)
    assert missing(ROOT, ()) == ()
    assert missing(forked, ()) == nodes(0, 1, 2)
    assert missing(forked, nodes(0)) == ()
    assert missing(replace(forked, voters=nodes(3, 4, 1)), ()) == ()


def test_a_fork_inherits_from_a_lineage_whose_other_voters_are_all_gone() -> None:
    forked = branch("b", 3, 4)
    assert inherits(forked, ROOT, nodes(0, 1, 2))
    assert not inherits(forked, ROOT, nodes(0, 1))
    assert not inherits(ROOT, forked, nodes(0, 1, 2, 3, 4))


def test_a_fork_knows_what_it_came_from_and_remembers_a_bounded_number() -> None:
    newest = ROOT
    for number in range(2 * MOST_ANCESTORS):
        newest = branch(f"f{number}", 0, of=newest)
    assert len(newest.ancestors) == MOST_ANCESTORS
    assert descends(branch("b", 3), ROOT)
    assert not descends(ROOT, branch("b", 3))
