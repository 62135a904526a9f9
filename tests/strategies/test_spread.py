"""Plans of one route: who takes part, in which order, with which layers and windows."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.core.job import LayerProfile
from edged.core.messages import MemberState
from edged.core.situation import Situation
from edged.core.stashing import check_plan
from edged.errors import JobFailedError
from edged.strategies import PLANNERS
from edged.strategies.cost import PlanImpossibleError, StageCost
from edged.strategies.spread import plan_spread
from tests.core.miniature import STAMP, make_spec, node
from tests.strategies.situations import even, member


def shape(plan) -> list[tuple[str, int, int, int]]:
    (route,) = plan.routes
    return [(hop.node, hop.first_layer, hop.last_layer, hop.window) for hop in route.hops]


def test_one_member_runs_everything():
    plan = plan_spread(Situation(even(4), (member(0),)), STAMP)
    assert shape(plan) == [("source", 0, 3, 1)]
    assert plan.reason == "one pipeline alone: device0 layers 0–3"
    assert plan.predicted_step_seconds == pytest.approx(4 * 12.0)


def test_equal_members_get_equal_shares_and_windows_that_hide_the_messages_way():
    plan = plan_spread(Situation(even(6, micro_batches=8), (member(2), member(0), member(1))), STAMP)
    assert shape(plan) == [("source", 0, 1, 5), ("node1", 2, 3, 3), ("node2", 4, 5, 1)]
    assert plan.predicted_step_seconds == pytest.approx(3 * 6.0 + 7 * 6.0, rel=1e-3)
    assert plan.stamp == STAMP


def test_shares_follow_speed_and_the_fastest_comes_after_the_source():
    members = (member(0, slowness=2.0), member(1, slowness=4.0), member(2, slowness=1.0))
    plan = plan_spread(Situation(even(7, source_slowness=2.0), members), STAMP)
    assert shape(plan) == [("source", 0, 1, 4), ("node2", 2, 5, 3), ("node1", 6, 6, 1)]


def test_a_window_is_never_larger_than_the_step():
    plan = plan_spread(Situation(even(4, micro_batches=2), tuple(member(i) for i in range(4))), STAMP)
    assert [window for *_, window in shape(plan)] == [2, 2, 2, 1]


def test_an_asynchronous_job_gets_exact_windows_whatever_the_step_holds():
    spec = replace(even(6, micro_batches=1), mode="async")
    plan = plan_spread(Situation(spec, tuple(member(i) for i in range(3))), STAMP)
    check_plan(plan)
    assert [window for *_, window in shape(plan)] == [3, 2, 1]
    assert plan.predicted_step_seconds == pytest.approx(6.0, rel=1e-3)
    assert plan.reason.startswith("one asynchronous pipeline")


def test_an_asynchronous_job_needs_room_for_its_stashed_weights():
    layer = LayerProfile(1.0, 1.0, 100, 100, 10, 0, ())
    spec = make_spec(2, layers=(layer, layer), micro_batches=1, mode="async")
    cost = StageCost(spec)
    assert cost.size_bytes(0, 0, 3) - cost.size_bytes(0, 0, 1) == 2 * (100 + 10)
    members = (member(0, memory=320), member(1, memory=320))
    assert len(plan_spread(Situation(spec, members), STAMP).routes[0].hops) == 2
    with pytest.raises(PlanImpossibleError):
        plan_spread(Situation(spec, (member(0, memory=300), member(1, memory=300))), STAMP)


def test_members_beyond_the_number_of_layers_stay_out_the_slowest_first():
    members = (member(0), member(1, slowness=3.0), member(2))
    plan = plan_spread(Situation(even(2), members), STAMP)
    assert [hop[0] for hop in shape(plan)] == ["source", "node2"]
    assert plan.reason.endswith("; without device1 (more members than layers)")


def test_a_member_too_small_for_any_layer_stays_out_with_the_numbers():
    plan = plan_spread(Situation(even(4), (member(0), member(1, memory=100))), STAMP)
    assert [hop[0] for hop in shape(plan)] == ["source"]
    assert plan.reason.endswith("; without device1 (the smallest layer needs 250 B, it has 100 B)")


def test_memory_moves_layers_to_who_has_it():
    plan = plan_spread(Situation(even(4), (member(0, memory=300), member(1))), STAMP)
    assert shape(plan) == [("source", 0, 0, 2), ("node1", 1, 3, 1)]


def test_windows_are_capped_before_a_member_is_left_out():
    plan = plan_spread(Situation(even(3), (member(0, memory=250), member(1, memory=260), member(2, memory=260))), STAMP)
    assert [window for *_, window in shape(plan)] == [1, 1, 1]


def test_a_member_is_left_out_where_its_place_cannot_be_filled():
    big = LayerProfile(1.0, 1.0, 1000, 1000, 0, 0, ())
    small = LayerProfile(1.0, 1.0, 1, 1, 0, 0, ())
    spec = make_spec(3, layers=(big, small, big))
    plan = plan_spread(Situation(spec, (member(0, memory=2100), member(1, memory=2100), member(2, memory=10))), STAMP)
    assert len(plan.routes[0].hops) == 2
    assert "without device2 (not enough memory)" in plan.reason


def test_members_that_are_not_alive_do_not_count():
    others = (
        member(1, state=MemberState.SUSPECT),
        member(2, state=MemberState.DEAD),
        member(3, state=MemberState.LEFT),
    )
    assert [hop[0] for hop in shape(plan_spread(Situation(even(4), (member(0), *others)), STAMP))] == ["source"]


def test_a_source_without_memory_only_feeds():
    plan = plan_spread(Situation(even(4), (member(0, memory=0), member(1))), STAMP)
    assert [hop[0] for hop in shape(plan)] == ["node1"]


def test_where_memory_is_not_enough_the_refusal_carries_the_numbers():
    with pytest.raises(PlanImpossibleError) as refusal:
        plan_spread(Situation(even(4, optimizer_copies=1), (member(0, memory=500), member(1, memory=300))), STAMP)
    assert str(refusal.value) == (
        "this job needs 1.4 kB of memory, at least 360 B of it on one device; the members offer 800 B (device0 500 B, "
        "device1 300 B): join another device, raise --memory, or use smaller micro-batches"
    )
    assert isinstance(refusal.value, JobFailedError)


def test_without_members_there_is_no_plan():
    with pytest.raises(PlanImpossibleError, match="no members"):
        plan_spread(Situation(even(4), ()), STAMP)


@pytest.mark.parametrize("strategy", sorted(PLANNERS))
def test_every_name_in_the_table_plans(strategy):
    assert PLANNERS[strategy](Situation(even(4, strategy=strategy), (member(0),)), STAMP).layers == 4


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(100, 900)), min_size=1, max_size=4),
    st.lists(st.integers(1, 9), min_size=1, max_size=6),
    st.integers(1, 4),
)
def test_any_plan_fits_into_memory_and_a_refusal_means_that_not_even_one_at_a_time_would(devices, times, micro_batches):
    layers = tuple(LayerProfile(t, t, 60, 60, 20, 10, ()) for t in times)
    spec = make_spec(len(times), layers=layers, micro_batches=micro_batches)
    members = tuple(member(i, slowness=s, memory=m) for i, (s, m) in enumerate(devices))
    cost = StageCost(spec)
    memory = {record.node: record.memory_bytes for record in members}
    try:
        plan = plan_spread(Situation(spec, members), STAMP)
    except PlanImpossibleError:
        largest_first = sorted(memory.values(), reverse=True)
        for count in range(1, min(len(members), len(times)) + 1):
            for inner in itertools.combinations(range(1, len(times)), count - 1):
                cuts = (0, *inner, len(times))
                sizes = [cost.size_bytes(a, b - 1, 1) for a, b in itertools.pairwise(cuts)]
                assert any(size > room for size, room in zip(sizes, largest_first[:count], strict=True))
        return
    for hop in plan.routes[0].hops:
        assert cost.size_bytes(hop.first_layer, hop.last_layer, hop.window) <= memory[hop.node]


def test_a_slow_member_that_is_large_enough_is_not_cut_off_by_faster_ones_that_are_not():
    layers = (LayerProfile(1, 1, 60, 60, 20, 10, ()),) * 2
    members = (member(0, memory=140), member(1, memory=140), member(2, memory=280, slowness=9.0))
    plan = plan_spread(Situation(make_spec(2, layers=layers, micro_batches=1), members), STAMP)
    assert node(2) in plan.nodes()


def test_equal_knows_nothing_of_speed():
    members = (member(0), member(1, slowness=10.0))
    plan = PLANNERS["equal"](Situation(even(4), members), STAMP)
    assert [hop[1:3] for hop in shape(plan)] == [(0, 1), (2, 3)]
    assert plan.strategy == "equal"
