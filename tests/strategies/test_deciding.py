"""When a plan in force gives way to another one."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from edged.core.ids import Stamp
from edged.core.plan import Plan
from edged.core.situation import LEAST_GAIN, SURE_GAIN, Situation
from edged.strategies import PLANNERS
from edged.strategies.cost import PlanImpossibleError, StageCost
from edged.strategies.deciding import REBUILD_SECONDS, decide, moving_seconds
from edged.strategies.pipeline import plan_pipeline
from edged.strategies.prediction import predicted_seconds
from tests.core.miniature import STAMP, node
from tests.strategies.situations import even, link, member

NEXT = replace(STAMP, version=STAMP.version + 1)
MEMBERS = tuple(member(i) for i in range(3))
LINKS = tuple(link(a, b, 0.0, 100.0) for a in range(4) for b in range(4) if a != b)


def running(*, steps_left: int = 1000, **changes: object) -> Situation:
    """Three equal devices, at work by the plan that was best for them."""
    situation = Situation(even(12, micro_batches=16), MEMBERS)
    plan = plan_pipeline(situation, STAMP)
    return replace(situation, plan=plan, steps_left=steps_left, **changes)


def test_without_a_plan_in_force_there_is_only_planning():
    situation = Situation(even(12, micro_batches=16), MEMBERS)
    assert decide(plan_pipeline, situation, STAMP) == (plan_pipeline(situation, STAMP), "", 0.0)


def test_what_is_still_the_best_is_kept():
    situation = running()
    assert decide(plan_pipeline, situation, NEXT) == (
        None,
        "kept: it is still the best plan",
        predicted_seconds(situation.plan, situation),
    )
    slower = replace(situation, slowness=tuple((member.node, 2.0) for member in MEMBERS))
    assert decide(plan_pipeline, slower, NEXT).step_seconds > 1.9 * situation.plan.predicted_step_seconds


def test_a_node_that_became_slow_loses_layers():
    decision = decide(plan_pipeline, running(slowness=((node(1), 5.0),)), NEXT)
    assert decision.plan is not None
    assert decision.plan.stamp == NEXT
    assert decision.verdict.startswith("changed: a step takes ")
    shares = {hop.node: hop.last_layer - hop.first_layer + 1 for hop in decision.plan.routes[0].hops}
    assert shares[node(1)] < 4 < shares[node(0)]


def test_at_the_end_of_a_job_nothing_is_moved_any_more():
    situation = running(slowness=((node(1), 5.0),), steps_left=1, links=LINKS)
    situation = replace(situation, spec=even(12, micro_batches=16))
    decision = decide(plan_pipeline, replace(situation, steps_left=0), NEXT)
    assert decision.plan is None
    assert decision.verdict.startswith("kept: the best other plan gains ")
    assert decision.verdict.endswith(", and 0 are left")


def test_a_small_gain_moves_nothing_however_long_the_job():
    decision = decide(plan_pipeline, running(slowness=((node(1), 1.15),), steps_left=10**9), NEXT)
    assert decision.plan is None
    assert "gains" in decision.verdict or "still the best" in decision.verdict or "no other" in decision.verdict


def test_a_smaller_gain_is_enough_where_speeds_are_sure():
    situation = Situation(even(48, micro_batches=64), MEMBERS[:2], steps_left=10**6)
    situation = replace(situation, plan=plan_pipeline(situation, STAMP))
    for slowness, fresh, sure in ((1.4, True, True), (1.2, False, True), (1.09, False, True), (1.03, False, False)):
        early = replace(situation, slowness=((node(0), 1.0), (node(1), slowness)))
        later = replace(early, sure=(node(0), node(1)), least_gain=SURE_GAIN)
        assert (decide(plan_pipeline, early, NEXT).plan is not None) == fresh, slowness
        assert (decide(plan_pipeline, later, NEXT).plan is not None) == sure, slowness
    assert 0.0 < SURE_GAIN < LEAST_GAIN


def test_only_those_whose_speed_is_sure_are_told_apart_by_little():
    spec, slowness = even(48, micro_batches=64), ((node(0), 1.0), (node(1), 1.09))
    situation = Situation(spec, MEMBERS[:2], slowness=slowness)
    shares = [
        [
            hop.last_layer - hop.first_layer + 1
            for hop in plan_pipeline(replace(situation, sure=sure), STAMP).routes[0].hops
        ]
        for sure in ((), (node(0), node(1)), (node(0),))
    ]
    assert shares == [[24, 24], [25, 23], [25, 23]]


def test_where_layers_have_moved_lately_more_is_wanted():
    situation = replace(running(slowness=((node(0), 1.0), (node(1), 1.4), (node(2), 1.0))), least_gain=0.9)
    decision = decide(plan_pipeline, situation, NEXT)
    assert decision.plan is None
    assert decision.verdict.endswith("; layers have moved lately, so 90 % are wanted")
    little = replace(running(slowness=((node(0), 1.0), (node(1), 1.15), (node(2), 1.0))), least_gain=0.4)
    assert "lately" not in decide(plan_pipeline, little, NEXT).verdict, "it gains too little anyway"
    assert decide(plan_pipeline, replace(situation, least_gain=LEAST_GAIN), NEXT).plan is not None


def test_who_has_no_layers_is_taken_in_for_a_clear_gain_also_where_layers_have_moved_lately():
    situation = Situation(even(48, micro_batches=64), MEMBERS[:2], steps_left=10**6)
    situation = replace(situation, plan=plan_pipeline(situation, STAMP), slowness=((node(0), 1.0), (node(1), 1.0)))
    sure = replace(situation, sure=(node(0), node(1)), least_gain=SURE_GAIN)

    def taken_in(asked: Situation, slowness: float, **changes: object) -> bool:
        others = replace(asked, members=(*MEMBERS[:2], member(2, slowness=slowness)), **changes)
        return decide(plan_pipeline, others, NEXT).plan is not None

    assert not taken_in(sure, 6.0)  # which gains 7 %
    assert taken_in(sure, 2.0)
    assert taken_in(sure, 2.0, least_gain=0.9)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(5))
def test_noise_of_twenty_percent_moves_layers_at_most_once(seed):
    draw, situation, changes = random.Random(seed), running(steps_left=10**6), 0
    for _ in range(60):
        noisy = tuple((node(i), draw.uniform(0.9, 1.1)) for i in range(3))
        decision = decide(plan_pipeline, replace(situation, slowness=noisy), NEXT)
        if decision.plan is not None:
            situation, changes = replace(situation, plan=decision.plan), changes + 1
    assert changes <= 1


def test_a_newcomer_takes_part_if_it_gains_enough():
    strong, weak = member(3), member(3, slowness=40.0)
    joined = decide(plan_pipeline, running(members=(*MEMBERS, strong)), NEXT)
    assert joined.plan is not None
    assert node(3) in joined.plan.nodes()
    assert decide(plan_pipeline, running(members=(*MEMBERS, weak)), NEXT).plan is None


def moved(current: Plan, other: Plan, situation: Situation) -> float:
    return moving_seconds(current, other, situation) - moving_seconds(current, current, situation)


def test_moving_costs_what_has_to_be_sent_and_is_not_there():
    spec = even(12, micro_batches=16)
    alone = plan_pipeline(Situation(spec, (member(0),)), STAMP)
    shared = plan_pipeline(Situation(spec, (member(0), member(1))), STAMP)
    situation = Situation(spec, (member(0), member(1)), links=LINKS)
    assert moving_seconds(alone, alone, situation) == pytest.approx(12 * 3.0 + REBUILD_SECONDS)
    assert moved(alone, shared, situation) == pytest.approx(6 * 100 / 100.0)  # six layers of 100 bytes
    first = shared.routes[0].hops[1].first_layer
    held = replace(situation, holders=((node(1), first, first + 3),))
    assert moved(alone, shared, held) == pytest.approx(2 * 100 / 100.0)


def test_where_no_other_plan_is_possible_the_one_in_force_stays():
    def impossible(_situation, _stamp):
        raise PlanImpossibleError("too large")

    assert decide(impossible, running(), NEXT)[:2] == (None, "kept: there is no other plan (too large)")
    with pytest.raises(PlanImpossibleError):
        decide(impossible, Situation(even(2), MEMBERS), NEXT)


def test_a_planner_that_knows_less_does_not_undo_what_is_better():
    situation = running(slowness=((node(2), 9.0),))
    better = plan_pipeline(replace(situation, plan=None), STAMP)

    def less_knowing(known: Situation, stamp: Stamp) -> Plan:
        return PLANNERS["equal"](known, stamp)

    decision = decide(less_knowing, replace(situation, plan=better), NEXT)
    assert decision[:2] == (None, "kept: no other plan is faster")
    assert 0.0 < LEAST_GAIN < 1.0


def test_a_node_that_no_longer_holds_its_part_is_relieved_though_nothing_gains_by_it():
    spec = even(8, micro_batches=4)
    roomy = Situation(spec, (member(0, memory=3000), member(1, memory=3000)), steps_left=100)
    plan = plan_pipeline(roomy, STAMP)
    assert len(plan.nodes()) == 2
    ((first, last, window),) = [(h.first_layer, h.last_layer, h.window) for _, _, h in plan.hops_of(node(1))]
    short = StageCost(spec).size_bytes(first, last, window) - 1
    decision = decide(
        plan_pipeline, replace(roomy, members=(member(0, memory=3000), member(1, memory=short)), plan=plan), STAMP
    )
    assert decision.plan is not None
    assert decision.verdict == "changed: device1 has too little memory for its layers by now"


def test_members_that_have_not_worked_are_taken_for_as_slow_as_work_shows_the_others_to_be():
    spec = even(2, micro_batches=8)
    members = tuple(member(number) for number in range(4))
    plan = plan_pipeline(Situation(spec, members[:2]), STAMP)
    slower = tuple((member.node, 1.15) for member in members[:2])
    situation = Situation(spec, members, slowness=slower, plan=plan, steps_left=10_000)
    assert decide(plan_pipeline, situation, STAMP).plan is None


@pytest.mark.parametrize("strategy", ["spread", "equal"])
def test_where_everyone_takes_part_a_newcomer_need_not_gain_anything(strategy):
    spec = even(8, micro_batches=4)
    plan = PLANNERS[strategy](Situation(spec, (member(0), member(1))), STAMP)
    three = Situation(spec, tuple(member(i, slowness=1.0 + 50 * (i == 2)) for i in range(3)), plan=plan, steps_left=2)
    decision = decide(PLANNERS[strategy], three, NEXT)
    assert decision.plan is not None
    assert decision.verdict == "changed: device2 is to take part, as everyone does"
    assert decide(PLANNERS["auto"], replace(three, plan=plan_pipeline(three, STAMP)), NEXT).plan is None
