"""Plans where some members cannot reach each other: who takes part, in which order; checked against all ways."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.core.situation import Situation
from edged.strategies.cost import PlanImpossibleError
from edged.strategies.spread import plan_spread
from tests.core.miniature import STAMP, node
from tests.strategies.situations import even, member
from tests.strategies.test_spread import shape


def names(plan):
    return [hop[0] for hop in shape(plan)]


def test_neighbours_that_cannot_reach_each_other_are_put_elsewhere():
    members = tuple(member(i) for i in range(4))
    plan = plan_spread(Situation(even(8), members, ((node(1), node(2)),)), STAMP)
    assert names(plan) == ["source", "node1", "node3", "node2"]


def test_pairs_that_are_no_neighbours_change_nothing():
    members = tuple(member(i) for i in range(4))
    assert plan_spread(Situation(even(8), members, ((node(3), node(1)),)), STAMP) == plan_spread(
        Situation(even(8), members), STAMP
    )


def test_who_cannot_reach_the_source_stays_out_with_the_reason():
    plan = plan_spread(Situation(even(8), tuple(member(i) for i in range(3)), ((node(0), node(1)),)), STAMP)
    assert names(plan) == ["source", "node2"]
    assert plan.reason.endswith("; without device1 (it and device0 cannot reach each other)")


def test_the_slower_of_a_pair_stays_out_where_there_is_no_way_round():
    members = (member(0, memory=0), member(1, slowness=3.0), member(2))
    plan = plan_spread(Situation(even(8), members, ((node(1), node(2)),)), STAMP)
    assert names(plan) == ["node2"]
    assert "device1 (it and device2 cannot reach each other)" in plan.reason


@pytest.mark.parametrize("changes", [{"clips": True}, {"on_nan": "skip"}])
def test_a_job_whose_nodes_all_talk_to_each_other_has_no_pair_at_all(changes):
    members = tuple(member(i, slowness=1.0 + i) for i in range(4))
    plan = plan_spread(Situation(even(8, **changes), members, ((node(1), node(2)),)), STAMP)
    assert names(plan) == ["source", "node1", "node3"]


def test_the_source_stands_between_two_where_nobody_else_does():
    plan = plan_spread(Situation(even(3), tuple(member(i) for i in range(3)), ((node(1), node(2)),)), STAMP)
    assert names(plan) == ["node1", "source", "node2"]


def test_nobody_in_reach_of_the_source_is_an_end_in_words():
    with pytest.raises(PlanImpossibleError, match="nobody who could run layers reaches the job's source: device1"):
        plan_spread(Situation(even(4), (member(0, memory=0), member(1)), ((node(0), node(1)),)), STAMP)


def allowed(order, apart, *, all_talk, source):
    near = itertools.combinations(order, 2) if all_talk else itertools.pairwise(order)
    torn = {frozenset(pair) for pair in apart}
    return not any(frozenset(pair) in torn for pair in (*near, *((source, each) for each in order)))


@given(st.integers(1, 5), st.integers(1, 6), st.booleans(), st.data())
def test_as_many_take_part_as_in_any_way(count, layers, all_talk, data):
    nodes = [node(i) for i in range(count)]
    pairs = list(itertools.combinations(nodes, 2))
    apart = tuple(data.draw(st.lists(st.sampled_from(pairs), unique=True))) if pairs else ()
    plan = plan_spread(Situation(even(layers, clips=all_talk), tuple(member(i) for i in range(count)), apart), STAMP)
    chosen = names(plan)
    most = max(
        size
        for size in range(1, min(count, layers) + 1)
        if any(allowed(o, apart, all_talk=all_talk, source=nodes[0]) for o in itertools.permutations(nodes, size))
    )
    assert allowed(chosen, apart, all_talk=all_talk, source=nodes[0])
    assert len(chosen) == most
