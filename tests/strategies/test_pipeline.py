"""The planner against brute force; who is left out and why; what memory, links and wishes allow."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest

from edged.core.job import LayerProfile
from edged.core.situation import Situation
from edged.strategies import candidates
from edged.strategies.apart import Division
from edged.strategies.cost import PlanImpossibleError, StageCost
from edged.strategies.figures import Figures
from edged.strategies.lineup import NARROW, WIDEST, Lineup, Yard
from edged.strategies.pipeline import NEAR, plan_pipeline, search
from edged.strategies.rehearsal import rehearse
from edged.strategies.spread import plan_spread
from edged.strategies.timing import road, step_seconds
from tests.core.miniature import STAMP, make_spec, node
from tests.strategies.situations import draw_situation, even, link, member


def shape(plan) -> list[tuple[str, int, int, int]]:
    (route,) = plan.routes
    return [(hop.node, hop.first_layer, hop.last_layer, hop.window) for hop in route.hops]


def brute_force(situation: Situation) -> float:
    """The least step time over subsets, orders, cuts and windows of the rules, as far as memory allows."""
    spec, cost, figures = situation.spec, StageCost(situation.spec), Figures(situation, level=True)
    layers, best = len(spec.layers), float("inf")
    for hops in range(1, min(layers, len(situation.members)) + 1):
        for order in itertools.permutations(situation.members, hops):
            for inner in itertools.combinations(range(1, layers), hops - 1):
                cuts = (0, *inner, layers)
                route = road(figures, [record.node for record in order], cuts[:-1])
                for rule in range(NARROW, WIDEST + 1):
                    windows = [
                        next(
                            (
                                w
                                for w in range(min(spec.micro_batches, rule * (hops - h - 1) + 1), 0, -1)
                                if cost.size_bytes(cuts[h], cuts[h + 1] - 1, w) <= order[h].memory_bytes
                            ),
                            0,
                        )
                        for h in range(hops)
                    ]
                    if all(windows):
                        best = min(best, step_seconds(route, windows, spec.micro_batches, 2))
    return best


def draw_small(seed: int) -> Situation:
    draw = random.Random(seed)
    situation = draw_situation(draw, most_nodes=3, most_layers=5, micro_batches=draw.randint(1, 4))
    if draw.random() < 0.3:
        members = tuple(replace(each, memory_bytes=draw.randint(2_000, 80_000)) for each in situation.members)
        situation = replace(situation, members=members)
    return situation


@pytest.mark.parametrize("block", range(20))
def test_no_subset_order_cut_or_window_is_faster(block):
    for seed in range(block * 100, (block + 1) * 100):
        situation = draw_small(seed)
        best = brute_force(situation)
        yard = Yard(situation, copies=False)
        played = search(yard, situation.members, Division(situation.spec, ()))
        assert min((each.seconds for each in played), default=float("inf")) == best, seed


@pytest.mark.parametrize("seed", range(100))
def test_the_plan_is_near_the_least_and_its_prediction_is_that_of_a_rehearsal(seed):
    situation = draw_small(seed)
    try:
        plan = plan_pipeline(replace(situation, members=situation.members), STAMP)
    except PlanImpossibleError:
        assert brute_force(situation) == float("inf")
        return
    assert plan.predicted_step_seconds == rehearse(plan, situation).step_seconds
    if all(record.memory_bytes == 10**9 for record in situation.members):
        figures = Figures(situation, level=True)
        cuts = [hop.first_layer for hop in plan.routes[0].hops]
        windows = [hop.window for hop in plan.routes[0].hops]
        seconds = step_seconds(road(figures, plan.nodes(), cuts), windows, plan.micro_batches, 2)
        assert seconds <= brute_force(situation) * (1 + NEAR)


@pytest.mark.parametrize("block", range(10))
def test_the_bound_is_below_every_step_time(block):
    for seed in range(block * 100, (block + 1) * 100):
        draw = random.Random(seed)
        situation = draw_situation(draw)
        layers, members = len(situation.spec.layers), situation.members
        hops = draw.randint(1, min(layers, len(members)))
        nodes = [record.node for record in draw.sample(members, hops)]
        cuts = (0, *sorted(draw.sample(range(1, layers), hops - 1)))
        yard = Yard(situation, copies=False)
        lineup = Lineup(yard, nodes)
        windows = lineup.windows(cuts, draw.randint(NARROW, WIDEST))
        assert windows is not None
        seconds = step_seconds(road(yard.figures, nodes, cuts), windows, situation.spec.micro_batches, 3)
        assert lineup.bound(cuts, windows) <= seconds * (1 + 1e-9), seed


@pytest.mark.parametrize("seed", range(20))
def test_sketches_are_within_five_percent_of_the_best(seed, monkeypatch):
    draw = random.Random(seed)
    situation = draw_situation(draw, most_nodes=4, most_layers=8, micro_batches=draw.randint(4, 8))

    def least() -> float:
        played = search(Yard(situation, copies=False), situation.members, Division(situation.spec, ()))
        return min(each.seconds for each in played)

    best = least()
    monkeypatch.setattr(candidates, "LISTED", 0)
    assert least() <= best * 1.05


def test_a_slow_member_helps_with_what_it_can():
    spec = even(42, micro_batches=64)
    members = (member(0), member(1), member(2, slowness=10.0))
    plan = plan_pipeline(Situation(spec, members), STAMP)
    assert {hop.node: hop.last_layer - hop.first_layer + 1 for hop in plan.routes[0].hops} == {
        node(0): 20, node(1): 20, node(2): 2,
    }  # fmt: skip
    assert plan.predicted_step_seconds < 64 * 42 * 3.0 / 2.1 / 0.93


def test_a_member_that_does_not_help_is_left_out_with_the_reason():
    plan = plan_pipeline(Situation(even(2, micro_batches=8), (member(0), member(1), member(2, slowness=9.0))), STAMP)
    assert [hop[0] for hop in shape(plan)] == ["source", "node1"]
    assert plan.reason == (
        "one pipeline, the shortest step: device0 layer 0, device1 layer 1; without "
        "device2 (9 times the source's time for a layer: the step is no shorter with it)"
    )


def test_where_links_are_slow_the_fastest_works_alone():
    spec = even(4, micro_batches=8)
    links = tuple(link(a, b, 100.0, 1e6) for a in range(2) for b in range(2) if a != b)
    plan = plan_pipeline(Situation(spec, (member(0), member(1)), links=links), STAMP)
    assert shape(plan) == [("source", 0, 3, 1)]


def test_a_slow_source_only_feeds():
    plan = plan_pipeline(
        Situation(even(2, micro_batches=2), (member(0, slowness=50.0), member(1, slowness=50.0 / 40))), STAMP
    )
    assert [hop[0] for hop in shape(plan)] == ["node1"]


@pytest.mark.parametrize("noise", range(20))
def test_noise_between_equal_devices_does_not_change_the_plan(noise):
    draw = random.Random(noise)
    spec = even(8, micro_batches=8)
    quiet = plan_pipeline(Situation(spec, tuple(member(i) for i in range(4))), STAMP)
    noisy = tuple(member(i, slowness=draw.uniform(0.96, 1.04)) for i in range(4))
    assert shape(plan_pipeline(Situation(spec, noisy), STAMP)) == shape(quiet)


def test_copies_are_counted_where_a_plan_can_hold_them_and_only_there():
    profile = LayerProfile(1.0, 1.0, 1000, 1000, 10, 10, ())
    spec = make_spec(4, layers=(profile,) * 4, micro_batches=4)

    def planned(memory: int):
        members = (member(0, memory=memory), member(1, memory=memory, slowness=100.0))
        return shape(plan_pipeline(Situation(spec, members, leader=node(0), replicas=1), STAMP))

    assert planned(10**6)[0][:3] == ("source", 0, 3)
    assert planned(4 * 2000 + 12_000 + 40)[0][:3] == ("source", 0, 3)  # layers, copies, one micro-batch
    assert planned(4 * 2000 + 11_000)[0][2] < 3  # with its copies it could not hold all
    assert planned(4500)[0][2] < 3  # copies are not counted here: nothing would be left


def test_what_cannot_be_held_is_refused_with_the_numbers():
    with pytest.raises(PlanImpossibleError) as refusal:
        plan_pipeline(Situation(even(4, optimizer_copies=1), (member(0, memory=500), member(1, memory=300))), STAMP)
    assert str(refusal.value) == (
        "this job needs 1.4 kB of memory, at least 360 B of it on one device; the members offer 800 B (device0 500 B, "
        "device1 300 B): join another device, raise --memory, or use smaller micro-batches"
    )


def test_a_job_that_is_too_lumpy_says_so():
    big, small = LayerProfile(1.0, 1.0, 500, 500, 0, 0, ()), LayerProfile(1.0, 1.0, 1, 1, 0, 0, ())
    spec = make_spec(5, layers=(small, big, small, big, small), micro_batches=1)
    with pytest.raises(PlanImpossibleError, match="but no way of dividing the layers fits all parts"):
        plan_pipeline(Situation(spec, (member(0, memory=1000), member(1, memory=999), member(2, memory=500))), STAMP)


def test_members_that_cannot_reach_each_other_are_no_neighbours():
    situation = Situation(even(6, micro_batches=16), tuple(member(i) for i in range(3)), apart=((node(1), node(2)),))
    nodes = [hop[0] for hop in shape(plan_pipeline(situation, STAMP))]
    assert nodes in (["node1", "source", "node2"], ["node2", "source", "node1"])
    without = replace(situation, apart=((node(0), node(2)),))
    plan = plan_pipeline(without, STAMP)
    assert [hop[0] for hop in shape(plan)] == ["source", "node1"]
    assert "device2 (it and device0 cannot reach each other)" in plan.reason


def test_inputs_stay_at_home_and_labels_too():
    middle = LayerProfile(1.0, 1.0, 10, 10, 10, 10, ())
    first, last = replace(middle, inputs=(0,)), replace(middle, inputs=(1,))
    layers = (first, first, *[middle] * 8, last)
    members = (member(0), member(1), member(2))
    routes = {}
    for wish in ("", "inputs", "labels"):
        spec = make_spec(11, layers=layers, micro_batches=16, keep_inputs_home=wish)
        routes[wish] = shape(plan_pipeline(Situation(spec, members), STAMP))
    assert routes["inputs"][0][:2] == ("source", 0)
    assert routes["inputs"][0][2] >= 1
    assert [routes["labels"][0][0], routes["labels"][-1][0]] == ["source", "source"]
    assert len(routes["labels"]) == 4
    assert routes["labels"][0][2] >= 1


def test_a_source_that_cannot_hold_what_has_to_stay_is_told():
    situation = Situation(even(4, keep_inputs_home="inputs"), (member(0, memory=0), member(1)))
    with pytest.raises(PlanImpossibleError, match="keep_inputs_home wants the first layers"):
        plan_pipeline(situation, STAMP)


def test_an_asynchronous_jobs_windows_are_strict_and_only_its_slowest_part_counts():
    spec = even(42, micro_batches=4, mode="async")
    members = (member(0), member(1), member(2, slowness=10.0))
    plan = plan_pipeline(Situation(spec, members), STAMP)
    assert [hop[3] for hop in shape(plan)] == [3, 2, 1]
    assert plan.predicted_step_seconds == pytest.approx(20 * 3.0, rel=1e-3)


def test_without_members_there_is_no_plan():
    with pytest.raises(PlanImpossibleError, match="no members"):
        plan_pipeline(Situation(even(4), ()), STAMP)


@pytest.mark.parametrize("memory", [155_000, 170_000, 200_000])
def test_an_asynchronous_job_that_just_fits_is_found_where_not_all_cuts_are_listed(memory):
    layers = (LayerProfile(1.0, 2.0, 1000, 1000, 500, 100, ()),) * 96
    spec = make_spec(96, layers=layers, micro_batches=1, mode="async", optimizer_copies=1)
    members = tuple(member(number, memory=memory) for number in range(3))
    spread = plan_spread(Situation(spec, members), STAMP)
    assert plan_pipeline(Situation(spec, members), STAMP).predicted_step_seconds <= 1.05 * spread.predicted_step_seconds
