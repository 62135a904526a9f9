"""The leader asks where figures have drifted, tells everyone what came of it, and drains before a change."""

import pytest

from edged.core.drift import WARM_SECONDS
from edged.core.events import PlanMade
from edged.core.messages import Decided, Drain, Learn, LinkReport, NodeReport, Prepare, RecoveryReport
from edged.core.newcomers import Newcomers
from edged.core.phases import Stage
from edged.core.replanning import LOOK_SECONDS
from edged.core.situation import LEAST_GAIN, SURE_GAIN
from tests.core.council import Council, E
from tests.core.job_sample import JOB, OTHER_JOB, A, B, C, D, plan


@pytest.fixture
def council():
    """A job that runs on B and C, in calm figures."""
    made = Council()
    made.run()
    made.keep(0)
    report(made, 15, {B: 1.0, C: 1.0})
    assert not made.told(Decided)
    return made


def report(council, seconds, slowness, links=(), job=JOB):
    """Nodes say once a second how slow they are."""
    for second in range(seconds):
        council.wait(1.0)
        for node, each in slowness.items():
            council.hear(node, NodeReport(second, 0, 0, 0, 0.5, 0.1, 1, links, job, each))


def answer(verdict, workers=None):
    """What the planner says: another plan over these workers, or that the one in force is kept."""
    return lambda ask: PlanMade(ask.stamp, workers and plan(ask.stamp, workers), "", verdict)


def test_a_drift_is_asked_about_and_again_when_it_is_sure_and_a_plan_that_is_kept_runs_on(council):
    council.think = answer("kept: the best other plan gains 3 %, moving costs 40 steps")
    asked, of = len(council.asked), council.stamp
    report(council, 60, {B: 1.0, C: 3.0})
    question, second = council.asked[asked:]
    assert (question.situation.sure, second.situation.sure) == ((), (B, C))
    assert (council.stage, council.stamp) == (Stage.RUN, of)
    decided = council.told(Decided)
    assert {to for to, _ in decided} == {A, B, C, D}
    assert {message for _, message in decided} == {
        Decided(of, each.stamp, False, "kept: the best other plan gains 3 %, moving costs 40 steps")
        for each in (question, second)
    }
    report(council, 20, {B: 1.0, C: 5.0})
    assert len(council.asked) == asked + 3, "it has drifted further"


def settle(council, steps=(9, 10)):
    """The plan drains and is put in force."""
    drained, step = steps
    council.keep(drained)
    council.stands = drained
    council.wait(1.0)
    council.step(step)
    assert council.stage is Stage.RUN


def test_a_change_for_speeds_that_are_sure_is_planned_by_them_too(council):
    asked = len(council.asked)
    council.think = answer("changed: a step takes 9 s instead of 10 s", (C, B))
    report(council, 40, {B: 1.0, C: 1.08})
    (question,) = council.asked[asked:]
    assert council.record.reason == "devices and links have changed; the step under way is finished first"
    settle(council)
    assert [set(ask.situation.sure) for ask in council.asked[asked:]] == [{B, C}, {B, C}]
    council.think = answer("kept")
    report(council, 60, {B: 1.0, C: 1.08})
    assert [set(ask.situation.sure) for ask in council.asked[asked:]] == [{B, C}] * 3
    assert council.asked[-1].situation.least_gain > question.situation.least_gain, "layers have moved lately"
    council.think = answer("", (C,))
    council.lose(B)
    assert council.asked[-1].situation.sure == (), "whoever is left is not told apart by noise"


def test_a_death_in_the_midst_of_such_a_change_is_planned_as_any_other(council):
    council.think = answer("changed: a step takes 9 s instead of 10 s", (C, B))
    report(council, 40, {B: 1.0, C: 1.08})
    assert council.stage is Stage.DRAIN
    council.think = answer("", (C,))
    council.lose(B)
    assert council.asked[-1].situation.sure == ()


def test_nothing_is_asked_while_the_planner_thinks(council):
    council.auto = False
    asked = len(council.asked)
    report(council, 60, {B: 1.0, C: 3.0})
    report(council, 60, {B: 1.0, C: 9.0})
    (question,) = council.asked[asked:]
    council.handle(answer("kept: it is still the best plan")(question))
    report(council, 10, {B: 1.0, C: 9.0})
    assert len(council.asked) == asked + 2


def test_while_the_planner_thinks_nobody_is_woken_for_nothing(council):
    """The plan may settle meanwhile, which is no reason to wake up either."""
    made = Council()
    made.submit()
    report(made, 16, {B: 1.0, C: 9.0})
    made.auto = False
    made.step(1)
    report(made, 4, {B: 1.0, C: 9.0})
    assert len(made.asked) == 2
    for _ in range(20):
        before = made.now
        made.wake()
        assert made.now > before


def test_a_newcomer_does_not_make_the_next_change_need_more(council):
    council.think = answer("changed: pi-e helps", (B, C, E))
    council.join(E)
    settle(council)
    council.think = answer("kept")
    report(council, 60, {B: 1.0, C: 3.0})
    assert {ask.situation.least_gain for ask in council.asked[-2:]} == {LEAST_GAIN, SURE_GAIN}


def test_a_newcomer_is_welcome_also_where_layers_have_moved_lately(council):
    council.think = answer("changed: another plan gains 60 %", (C, B))
    report(council, 30, {B: 1.0, C: 3.0})
    settle(council)
    council.think = answer("kept")
    council.join(E)
    report(council, 10, {B: 1.0, C: 3.0})
    (question,) = [ask for ask in council.asked if E in {member.node for member in ask.situation.members}]
    assert question.situation.least_gain > LEAST_GAIN, "which does not count for plans with others"


def test_the_planner_is_told_the_situation_that_was_measured(council):
    council.think = answer("kept")
    report(council, 20, {B: 2.0}, (LinkReport(C, 0.001, 1.0, 0.5, 1e3),))
    situation = council.asked[-1].situation
    assert situation.slowness == ((B, 2.0), (C, 1.0))
    assert [(link.sender, link.receiver, link.bytes_per_second) for link in situation.links] == [(B, C, 1e3)]
    assert (situation.leader, situation.replicas, situation.steps_left) == (D, 1, 99)
    assert situation.plan == council.plan
    assert situation.holders == ((B, 0, 1), (C, 2, 3))
    first = council.asked[0].situation
    assert (first.plan, first.steps_left, first.holders) == (None, 0, ())


def test_another_plan_drains_first_and_everyone_hears_why(council):
    council.think = answer("changed: another plan gains 60 %", (C, B))
    report(council, 15, {B: 1.0, C: 3.0})
    assert council.stage is Stage.DRAIN
    assert council.told(Drain)
    assert council.record.reason == "pi-c is slower; the step under way is finished first"
    assert council.told(Decided)[-1][1].changes
    council.keep(9)
    council.stands = 9
    council.wait(1.0)
    council.step(10)
    prepare = council.told(Prepare)[-1][1]
    assert (prepare.version, prepare.plan.nodes()) == (9, (C, B))
    told = council.told(RecoveryReport)[-1][1]
    assert (told.cause, told.nodes, told.lost_steps) == ("slow", (C,), 0)
    assert told.text.startswith("pi-c is slower; the job went on after")


def test_a_plan_with_a_newcomer_is_for_its_sake(council):
    council.think = answer("changed: pi-e helps", (B, C, E))
    council.join(E)
    council.wait(2 * LOOK_SECONDS)
    assert council.stage is Stage.DRAIN
    assert council.record.reason.startswith("pi-e joined")


def test_a_crowd_that_is_heard_of_at_every_moment_is_looked_at_ten_times_a_second(council, monkeypatch):
    looks = []
    monkeypatch.setattr(Newcomers, "to_teach", lambda _self, _members, now: looks.append(now) or [])
    begun = council.now
    while council.now < begun + 1.0:
        council.join(E)
        council.wait(0.001)
    assert len(looks) == pytest.approx(10, abs=1)
    at, known = council.now, len(looks)
    council.join(E)
    council.wait(1.0)
    assert at <= looks[known] <= at + LOOK_SECONDS, "what came in between is looked at without another word"


def test_who_is_to_be_taught_between_two_looks_is_taught_at_the_second(council):
    council.slow.add(E)
    begun = council.now
    while council.now < begun + 10.0:
        council.join(E)
        assert council.board.procedure.deadline() > council.now, "the leader would be woken in vain, again and again"
        council.wait(0.03)
    assert [to for to, _ in council.told(Learn) if to == E] == [E] * 10


def test_the_plan_in_force_is_no_change(council):
    council.think = answer("", (B, C))
    report(council, 15, {B: 1.0, C: 3.0})
    assert council.stage is Stage.RUN
    assert council.told(Decided)[-1][1].text == "kept: the plan in force is the best known"


def test_where_no_plan_is_possible_the_one_in_force_is_kept(council):
    council.think = lambda ask: PlanMade(ask.stamp, None, "memory does not hold it")
    report(council, 15, {B: 1.0, C: 3.0})
    assert council.stage is Stage.RUN
    assert council.told(Decided)[-1][1].text == "memory does not hold it"


def test_figures_of_another_job_are_no_drift(council):
    asked = len(council.asked)
    report(council, 30, {B: 9.0}, job=OTHER_JOB)
    assert len(council.asked) <= asked + 1, "B counts as it was calibrated again: 1.0"


def test_who_is_slow_from_the_beginning_is_looked_at_when_the_plan_is_warm():
    council = Council()
    council.run()
    council.think = answer("kept")
    report(council, round(WARM_SECONDS) - 1, {B: 5.0})
    assert not council.told(Decided)
    report(council, 10, {B: 5.0})
    assert council.told(Decided)
