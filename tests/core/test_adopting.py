"""A new leader goes on with the job that an earlier one has begun."""

from dataclasses import replace

import pytest

from edged.core.course import (
    ADOPT_SECONDS,
    ADOPTED_SECONDS,
)
from edged.core.events import LeaderChanged, PlanMade
from edged.core.messages import (
    Committed,
    Drained,
    Halt,
    Jobs,
    JobState,
    PlanChosen,
    Prepare,
    RecoveryReport,
    Start,
    StepReport,
)
from edged.core.phases import Stage
from tests.core.council import Council, E, inventory, messages, receivers
from tests.core.job_sample import OTHER_JOB, A, B, C, D, plan, stamp


@pytest.fixture
def council():
    return Council()


# -------------------------------------------------------------------------------------- a new leader


def follower(**fields):
    """D follows C, which leads a job that runs."""
    old = Council()
    of = old.run(step=5)
    council = Council(leader=C, **fields)
    council.hear(C, old.board.jobs.message())
    return council, of, old


def test_a_new_leader_adopts_the_plan_and_nothing_stops():
    council, of, old = follower()
    council.hear(C, PlanChosen(old.plan, old.board.procedure.spec))
    council.hear(C, Committed(of, 4, 8, (), B))
    effects = council.handle(LeaderChanged(D, 2))
    assert not messages(effects, Halt)
    starts = dict(messages(effects, Start))
    assert set(starts) == {A, B, C}
    assert {start.stamp for start in starts.values()} == {of}
    assert {start.every for start in starts.values()} == {8}
    assert (starts[A].data_holder, starts[B].data_holder) == (B, "")
    assert {message.version for _, message in messages(effects, Committed)} == {4}
    council.hear(A, StepReport(of, 6, 0, 0.5, 1.0, 0.1))
    assert council.stage is Stage.RUN
    council.finish()
    assert council.record.state is JobState.FINISHED


def test_the_adopted_plan_begins_where_its_nodes_were_told():
    council, _, old = follower()
    council.hear(C, Prepare(old.plan, old.board.procedure.spec, 3, A, ()))
    effects = council.handle(LeaderChanged(D, 2))
    assert {start.version for _, start in messages(effects, Start)} == {3}


def test_an_adopted_plan_that_has_lost_a_member_is_mended():
    council, _, old = follower()
    council.hear(C, PlanChosen(old.plan, old.board.procedure.spec))
    council.holdings = old.holdings
    council.lose(C)
    effects = council.handle(LeaderChanged(D, 2))
    assert messages(effects, Halt)
    assert council.stage is Stage.RESUME
    assert council.plan.nodes() == (B,)
    assert council.stamp.term == 2
    council.step(6)
    assert council.told(RecoveryReport)[0][1].cause == "died"


def test_an_adopted_plan_without_progress_is_replaced_in_time():
    council, _, old = follower()
    council.hear(C, PlanChosen(old.plan, old.board.procedure.spec))
    council.handle(LeaderChanged(D, 2))
    council.wait(ADOPTED_SECONDS - 1)
    assert not council.told(Halt)
    council.wait(2.0)
    assert council.stage is Stage.RESUME
    assert council.stamp == stamp(term=2)
    council.step(6)
    assert council.told(RecoveryReport)[0][1].cause == "leader"
    council.wait(ADOPTED_SECONDS * 2)
    assert council.stage is Stage.RUN


@pytest.mark.parametrize("halted", [B, D])
def test_an_adopted_plan_that_an_earlier_leader_has_halted_is_replaced_at_once(halted):
    """D has no part in it either, but hears no more what its nodes say."""
    council, of, old = follower()
    council.hear(C, PlanChosen(old.plan, old.board.procedure.spec))
    council.handle(LeaderChanged(D, 2))
    council.hear(B, inventory(of))
    council.hear(B, inventory(stamp(version=of.version + 1, job=OTHER_JOB)))
    council.join(E)
    council.hear(E, inventory(stamp(version=of.version + 1)))  # it has no part in the plan
    assert not council.told(Halt)
    council.hear(halted, inventory(stamp(version=of.version + 1)))
    assert council.stage is Stage.RESUME
    assert council.stamp == stamp(term=2)
    council.step(6)
    assert council.told(RecoveryReport)[0][1].cause == "leader"
    council.hear(B, inventory(stamp(version=of.version + 1)))
    assert council.stage is Stage.RUN


@pytest.mark.parametrize(("halted", "newer", "replaced"), [(B, 1, True), (D, 1, True), (E, 1, False), (B, 0, False)])
def test_a_halt_that_a_new_leader_hears_of_before_the_plan_counts_when_that_is_told(halted, newer, replaced):
    council, of, old = follower()
    council.handle(LeaderChanged(D, 2))
    council.hear(halted, inventory(stamp(version=of.version + newer)))
    assert council.stage is Stage.ADOPT
    council.hear(A, PlanChosen(old.plan, old.board.procedure.spec))
    assert bool(council.told(Halt)) is replaced
    assert council.stage is Stage.RESUME
    assert council.stamp == (stamp(term=2) if replaced else of)


def test_an_adopted_plan_whose_steps_take_long_is_given_the_time_of_ten():
    council, _, old = follower()
    slow = replace(old.plan, predicted_step_seconds=30.0)
    council.hear(C, PlanChosen(slow, old.board.procedure.spec))
    council.handle(LeaderChanged(D, 2))
    council.wait(ADOPTED_SECONDS + 10 * 30.0 - 1.0)
    assert not council.told(Halt)


@pytest.mark.parametrize("progress", [False, True])
def test_a_plan_that_came_to_stand_for_an_earlier_leader_goes_on_from_there_under_a_new_one(progress):
    council, of, old = follower()
    council.hear(C, PlanChosen(old.plan, old.board.procedure.spec))
    council.holdings = old.holdings
    council.handle(LeaderChanged(D, 2))
    if progress:  # its last step was being done while the leader changed
        council.hear(A, StepReport(of, 6, 0, 0.5, 1.0, 0.1))
        assert council.stage is Stage.RUN
    council.keep(6)
    council.hear(A, Drained(of, 6))
    assert council.told(Halt)
    assert council.stage is Stage.RESUME
    assert council.stamp == stamp(term=2)
    council.step(7)
    ((_, report), *_) = council.told(RecoveryReport)
    assert (report.cause, report.lost_steps) == ("leader", 0)


def test_a_newer_plan_that_the_source_knows_of_replaces_the_adopted_one():
    council, of, old = follower()
    council.hear(C, PlanChosen(old.plan, old.board.procedure.spec))
    council.handle(LeaderChanged(D, 2))
    newer = plan(stamp(version=of.version + 1), (C, B))
    council.hear(A, PlanChosen(newer, old.board.procedure.spec))
    assert council.stamp == stamp(term=2)


def test_a_new_leader_that_missed_the_plan_learns_it_from_the_source():
    council, _, old = follower()
    council.handle(LeaderChanged(D, 2))
    assert council.stage is Stage.ADOPT
    council.hear(B, PlanChosen(old.plan, old.board.procedure.spec))
    assert council.stage is Stage.ADOPT
    effects = council.hear(A, PlanChosen(old.plan, old.board.procedure.spec))
    assert receivers(effects, Start) == {A, B, C}


def test_the_plan_of_a_paused_job_is_told_a_new_leader_once_and_again_when_the_job_is_to_go_on():
    old = Council()
    old.run(step=5)
    source = Council(node=A, leader=D)
    source.hear(D, PlanChosen(old.plan, old.board.procedure.spec))
    source.handle(LeaderChanged(C, 2))
    stands = Jobs(2, 0, (replace(old.record, state=JobState.PAUSED),))
    told = [receivers(source.hear(C, stands), PlanChosen) for _ in range(3)]
    assert told == [{C}, set(), set()]
    goes_on = Jobs(2, 1, (replace(old.record, state=JobState.QUEUED),))
    assert [receivers(source.hear(C, goes_on), PlanChosen) for _ in range(2)] == [{C}, {C}]


def test_a_plan_that_nobody_tells_sends_the_job_back_to_the_queue():
    council, _, _ = follower()
    council.handle(LeaderChanged(D, 2))
    council.wait(ADOPT_SECONDS + 1)
    assert council.record.state is JobState.WAITING
    assert "waiting for the source to hand the job in again" in council.record.reason
    council.submit(steps=100)
    assert council.stage is Stage.RESUME
    assert council.record.reason == ""


@pytest.mark.parametrize("stage", [Stage.FENCE, Stage.TRANSFER, Stage.WAIT])
def test_a_new_leader_goes_on_with_what_the_old_one_had_begun(stage):
    old = Council()
    old.run(step=5)
    old.keep(0)
    chosen = PlanChosen(old.plan, old.board.procedure.spec)
    old.auto = False
    if stage is Stage.WAIT:
        old.data = set()
        old.auto = True
    old.lose(B)
    if stage is Stage.TRANSFER:
        of = old.told(Halt)[-1][1].stamp
        for node in (A, C, D):
            old.hear(node, old.handle and inventory(of, *old.holdings[node], program=node == A, data=node == A))
        old.handle(PlanMade(of, plan(of, (C,)), ""))
    assert old.stage is stage
    council = Council(leader=C)
    council.holdings = old.holdings
    council.hear(C, chosen)
    council.hear(C, old.board.jobs.message())
    council.lose(B)
    council.handle(LeaderChanged(D, 2))
    assert council.stage is Stage.RESUME
    assert council.stamp == stamp(term=2)
    council.step(1)
    assert council.told(RecoveryReport)[0][1].cause == "leader"


def test_a_leader_that_steps_down_stops_deciding(council):
    council.run()
    council.handle(LeaderChanged(B, 2))
    assert council.board.procedure is None
    assert council.lose(C) == []
    assert council.record.state is JobState.RUNNING
