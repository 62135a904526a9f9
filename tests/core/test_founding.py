"""From the queue to a plan: who is asked, what is enough, what is waited for and in which words."""

from dataclasses import replace

import pytest

from edged.core.course import (
    ANSWER_SECONDS,
    IMPOSSIBLE_SECONDS,
    MEASURE_SECONDS,
)
from edged.core.events import LeaderChanged, MemberChanged, PlanMade
from edged.core.joblist import queued
from edged.core.messages import (
    Committed,
    EvalReport,
    Halt,
    Holding,
    HoldingKind,
    Jobs,
    JobState,
    MemberState,
    Prepare,
    Prepared,
    RecoveryReport,
    ResumeRequest,
    Start,
    Transfer,
    WorkFailed,
)
from edged.core.newcomers import SETTLED_SECONDS
from edged.core.phases import Stage
from edged.core.stock import BEGINNING_SECONDS
from tests.core.council import FIRST, Council, E, bring, inventory, messages, receivers, snapshot
from tests.core.job_sample import JOB, A, B, C, D, member, plan, spec, stamp


@pytest.fixture
def council():
    return Council()


# ------------------------------------------------------------------------------------- the first plan


def test_a_job_begins_by_stopping_whatever_is_older_and_asking_everyone_what_it_holds():
    council = Council(auto=False)
    effects = council.submit()
    assert receivers(effects, Halt) == {A, B, C, D}
    assert council.record.state is JobState.QUEUED
    assert council.stage is Stage.FENCE


def test_a_job_goes_from_the_queue_to_its_first_step(council):
    council.submit()
    assert council.stage is Stage.RESUME
    assert council.told(Prepare)[-1][1].version == 0
    prepares = dict(council.told(Prepare))
    assert set(prepares) == {A, B, C}
    assert prepares[A].transfers == ()
    assert prepares[C].transfers == (Transfer(2, 3, 0, A),)
    assert {prepare.program_holder for prepare in prepares.values()} == {A}
    council.step(1)
    assert (council.stage, council.record.state, council.record.step) == (Stage.RUN, JobState.RUNNING, 1)
    assert not council.told(RecoveryReport)


def test_a_job_goes_on_from_the_newest_version_that_is_found_whole(council):
    council.holdings |= {
        B: (Holding(0, 1, 112, HoldingKind.DISK),),
        C: (Holding(2, 3, 96, HoldingKind.DISK), Holding(2, 3, 112, HoldingKind.DISK)),
    }
    council.submit(steps=200)
    starts = dict(council.told(Start))
    assert starts[B].version == starts[C].version == 112
    assert dict(council.told(Prepare))[B].transfers == (Transfer(0, 1, 112, B),)


def test_start_is_said_again_until_a_step_or_an_evaluation_is_done(council):
    council.submit()
    for _ in range(3):
        assert receivers(council.wait(1.0), Start) == {A, B, C}
    council.hear(A, EvalReport(council.stamp, 0, 0, 0.5, ()))
    assert council.stage is Stage.RUN
    assert not messages(council.wait(4.0), Start)


def test_two_nodes_are_enough():
    council = Council(node=A, leader=A, nodes=(A, B), workers=(A, B))
    council.run()
    council.keep(0)
    council.lose(B)
    assert council.plan.nodes() == (A,)


def test_one_node_is_a_cluster():
    council = Council(node=A, leader=A, nodes=(A,), workers=(A,))
    council.run()
    assert council.plan.nodes() == (A,)
    council.finish()
    assert council.record.state is JobState.FINISHED


# -------------------------------------------------------------------------------------------- the fence


def test_halt_is_said_again_quickly_at_first_and_only_to_those_who_are_silent():
    council = Council(auto=False)
    council.submit()
    of = council.told(Halt)[0][1].stamp
    for node in (A, B):
        council.hear(node, inventory(of))
    for moment in (0.25, 0.5, 0.75, 1.0):
        assert receivers(council.wake(), Halt) == {C, D}
        assert council.now == moment
    council.wake()
    assert council.now == 2.0


def test_after_a_second_it_goes_on_without_those_who_do_not_answer(council):
    council.silent = {C}
    council.submit()
    assert council.stage is Stage.FENCE
    council.wait(ANSWER_SECONDS)
    assert council.stage is Stage.RESUME
    assert council.plan.nodes() == (B,)


def test_a_silent_node_that_is_needed_is_waited_for_by_name():
    council = Council(workers=(B, C))
    council.run()
    council.keep(0)
    council.holdings = {B: (snapshot(0, 1, 16),), C: (snapshot(2, 3, 16),)}
    council.silent = {C}
    council.hear(A, WorkFailed(council.stamp, "broken pipe", False, C))
    council.wait(ANSWER_SECONDS)
    assert council.stage is Stage.FENCE
    assert council.record.state is JobState.WAITING
    assert council.record.reason == (
        "layers 2–3 were lost with node pi-c; the job goes on when it is back (waiting for pi-c to answer)"
    )
    council.silent = set()
    council.wait(1.0)
    assert council.stage is Stage.RESUME
    assert council.record.state is JobState.RUNNING


def test_a_silent_source_is_waited_for_while_it_is_not_gone(council):
    council.run()
    council.keep(0)
    council.data.add(C)
    council.programs.add(C)
    council.silent = {A}
    council.lose(B)
    council.wait(5.0)
    assert council.record.reason == "only node pi-a has the job's data (waiting for pi-a to answer)"
    council.lose(A)
    assert council.record.source == C


def test_who_dies_while_it_is_asked_is_not_waited_for(council):
    council.silent = {C}
    council.submit()
    council.lose(C)
    assert council.stage is Stage.RESUME
    assert council.now == 0.0


def test_what_a_node_said_before_it_died_counts_no_more(council):
    council.silent = {D}
    council.submit()
    council.lose(C)
    council.wait(ANSWER_SECONDS)
    assert [m.node for m in council.asked[-1].situation.members] == [A, B]


def test_who_joins_while_the_others_are_asked_is_asked_too(council):
    council.silent = {D}
    council.submit()
    assert receivers(council.join(E), Halt) == {E}
    council.wait(ANSWER_SECONDS)
    assert E in {m.node for m in council.asked[-1].situation.members}


def test_answers_of_an_older_stamp_and_of_strangers_count_nothing():
    council = Council(auto=False)
    council.submit()
    of = council.told(Halt)[0][1].stamp
    council.hear(E, inventory(of, FIRST, program=True, data=True))
    council.hear(A, inventory(stamp(version=of.version - 1), FIRST, program=True, data=True))
    council.wait(10.0)
    assert council.stage is Stage.FENCE
    council.hear(A, inventory(of, FIRST, program=True, data=True))
    assert council.stage is Stage.PLAN


def test_a_late_or_doubled_answer_changes_nothing(council):
    council.run()
    of = council.told(Halt)[0][1].stamp
    before = len(council.sent)
    council.hear(B, inventory(of))
    council.hear(B, Prepared(of, ""))
    council.hear(B, Prepared(of, "too late"))
    assert len(council.sent) == before
    assert council.stage is Stage.RUN


def test_a_node_that_answers_too_late_is_taken_in_later(council):
    council.silent = {C}
    council.submit(steps=100)
    council.wait(ANSWER_SECONDS)
    council.step(1)
    council.silent = set()
    council.stands = 3
    council.keep(3)
    council.wait(SETTLED_SECONDS)
    assert council.plan.nodes() == (B, C)


# --------------------------------------------------------------------------------------------- waiting


def test_lost_layers_are_named_and_waited_for(council):
    council.run()
    council.holdings = {A: (), B: (snapshot(0, 1, 16),), C: (snapshot(2, 3, 16),)}
    council.lose(C)
    assert council.stage is Stage.WAIT
    assert council.record.state is JobState.WAITING
    assert council.record.reason == "layers 2–3 were lost with node pi-c; the job goes on when it is back"
    numbers = {message.number for _, message in council.told(Jobs)}
    council.wait(30.0)
    assert council.record.state is JobState.WAITING
    assert {message.number for _, message in council.told(Jobs)} == numbers
    council.join(C, boot=2)
    assert council.stage is Stage.RESUME
    assert dict(council.told(Prepare))[B].version == 16


def test_rather_than_begin_anew_it_waits_as_long_as_that_would_take(council):
    council.run()
    for step in range(2, 22):
        council.now += 0.5
        council.step(step)
    of = council.plan.stamp
    council.handle(LeaderChanged(None, 1))
    council.board.committed[JOB] = Committed(of, 16, 16, (), "")
    council.handle(LeaderChanged(D, 2))
    council.lose(C)
    assert council.stage is Stage.WAIT
    assert council.record.reason.endswith("the job goes on when it is back; if that takes long, it begins anew")
    council.wait(BEGINNING_SECONDS - 1.0)
    assert council.stage is Stage.WAIT, "how long a step takes is not known any more"
    council.wait(2.0)
    assert council.stage is Stage.RESUME
    assert dict(council.told(Prepare))[B].version == 0


def test_a_job_that_is_taken_up_again_waits_for_lost_layers_only_so_long(council):
    council.holdings[B] = (Holding(0, 1, 16, HoldingKind.DISK),)
    council.submit(steps=100)
    assert council.stage is Stage.WAIT
    assert council.record.reason.endswith("if that takes long, it begins anew")
    council.wait(BEGINNING_SECONDS - 2.0)
    assert council.stage is Stage.WAIT
    council.wait(4.0)
    assert council.stage is Stage.RESUME
    assert dict(council.told(Prepare))[B].version == 0


def test_a_job_that_has_begun_anew_goes_back_to_what_a_late_member_brings(council):
    council.holdings[B] = (Holding(0, 1, 16, HoldingKind.DISK),)
    council.lose(C)
    council.submit(steps=100)
    council.wait(BEGINNING_SECONDS + 2.0)
    assert council.stage is Stage.RESUME
    council.step(1)
    council.step(2)
    council.holdings[C] = (Holding(2, 3, 16, HoldingKind.DISK),)
    council.stands = 2
    council.workers.remove(C)
    council.join(C, boot=2)
    council.wait(3.0)
    assert council.stage is Stage.RESUME
    assert dict(council.told(Prepare))[B].version == 16
    assert council.record.step == 16
    council.step(17)
    halts = len(council.told(Halt))
    council.join(E)
    council.wait(3.0)
    assert len(council.told(Halt)) == halts, "nobody can bring anything newer any more"


def test_after_a_restart_of_everything_people_are_told_where_the_job_goes_on(council):
    council.holdings[B] = (Holding(0, 3, 16, HoldingKind.DISK),)
    council.submit(steps=100)
    council.wait(2.0)
    assert council.record.step == 16
    council.step(17)
    report = council.told(RecoveryReport)[-1][1]
    assert (report.cause, report.rolled_back_to, report.lost_steps) == ("restarted", 16, 0)
    assert report.text.startswith("all nodes were restarted; the job went on after")
    assert report.text.endswith("it goes on from version 16")


def test_a_lost_source_is_waited_for_if_nobody_has_its_data(council):
    council.run()
    council.keep(0)
    council.lose(A)
    assert council.stage is Stage.WAIT
    assert council.record.reason == (
        "node pi-a is gone, and nobody else has the job's data; the job goes on when it is back"
    )
    council.join(A, boot=2)
    assert council.stage is Stage.RESUME


def test_a_lost_program_is_waited_for(council):
    council.run()
    council.keep(0)
    council.data.add(C)
    council.lose(A)
    assert council.record.reason == "the program was lost with node pi-a; the job goes on when it is back"


def test_another_node_with_the_data_takes_over_as_source(council):
    council.run()
    council.keep(0)
    council.data.add(C)
    council.programs.add(B)
    council.lose(A)
    assert council.stage is Stage.RESUME
    assert council.record.source == C
    prepares = dict(council.told(Prepare))
    assert prepares[C].spec.source == C
    assert prepares[B].program_holder == B
    council.now = 1.0
    council.step(1)
    text = council.told(RecoveryReport)[0][1].text
    assert text == "pi-a died; the job went on after 1.0 s; pi-c goes on with the data; 1 step is done again"
    council.finish()
    assert council.record.state is JobState.FINISHED


def test_a_source_that_comes_back_without_its_data_is_replaced(council):
    council.run()
    council.keep(0)
    council.data = {C}
    council.lose(A, MemberState.ALIVE, boot=2)
    assert council.record.source == C


def test_waiting_jobs_try_again_each_second(council):
    council.data = set()
    council.submit()
    assert council.record.reason == "node pi-a does not have the job's data, and nobody else does"
    council.data = {A}
    council.wait(1.0)
    assert council.stage is Stage.RESUME


def test_a_job_that_never_ran_and_is_impossible_begins_when_a_device_joins(council):
    council.impossible = "needs 3 GB, 1 GB is free"
    council.submit()
    assert (council.record.state, council.record.reason) == (JobState.WAITING, "needs 3 GB, 1 GB is free")
    council.wait(2 * IMPOSSIBLE_SECONDS)
    assert (council.record.state, council.record.reason) == (JobState.WAITING, "needs 3 GB, 1 GB is free")
    council.impossible = ""
    council.join(E)
    assert council.stage is Stage.RESUME


def test_a_job_that_has_run_waits_for_devices_that_make_a_plan_possible(council):
    council.run()
    council.keep(0)
    council.impossible = "needs 3 GB, 1 GB is free"
    council.lose(C)
    council.wait(2 * IMPOSSIBLE_SECONDS)
    assert (council.record.state, council.record.reason) == (JobState.WAITING, "needs 3 GB, 1 GB is free")
    council.impossible = ""
    council.join(E)
    assert council.stage is Stage.RESUME


def test_a_job_of_which_copies_lie_on_disks_is_never_ended_for_want_of_devices(council):
    """After everyone was switched off nobody remembers its steps, and the device that it needs may start last."""
    council.holdings |= {B: (Holding(0, 1, 112, HoldingKind.DISK),), C: (Holding(2, 3, 112, HoldingKind.DISK),)}
    council.impossible = "needs 3 GB, 1 GB is free"
    council.submit(steps=200)
    council.wait(2 * IMPOSSIBLE_SECONDS)
    assert (council.record.state, council.record.reason) == (JobState.WAITING, "needs 3 GB, 1 GB is free")
    council.impossible = ""
    council.join(E)
    assert council.stage is Stage.RESUME
    assert dict(council.told(Start))[B].version == 112


def test_it_waits_a_little_for_members_that_measure_their_speed(council):
    council.join(E, slowness=0.0)
    council.submit()
    assert council.record.reason == "waiting for the speed of pi-e"
    council.wait(MEASURE_SECONDS - 1)
    assert not council.asked
    council.handle(MemberChanged(member(E), MemberState.ALIVE, "measured"))
    assert len(council.asked[-1].situation.members) == 5


def test_it_does_not_wait_longer_for_them(council):
    council.join(E, slowness=0.0)
    council.submit()
    council.wait(MEASURE_SECONDS)
    assert [m.node for m in council.asked[-1].situation.members] == [A, B, C, D]


def test_a_cluster_that_has_not_measured_at_all_is_waited_for():
    council = Council(node=A, leader=A, nodes=(), workers=(A,))
    council.handle(MemberChanged(member(A, slowness=0.0), None, ""))
    council.submit()
    council.wait(MEASURE_SECONDS + 10)
    assert council.record.reason == "no device that answers has measured its speed yet"
    council.handle(MemberChanged(member(A), MemberState.ALIVE, "measured"))
    assert council.stage is Stage.RESUME


def test_an_answer_to_an_older_question_is_not_taken(council):
    bring(council, Stage.PLAN)
    council.auto = False
    council.lose(C)
    of = council.told(Halt)[-1][1].stamp
    for node in (A, B, D):
        council.hear(node, inventory(of, FIRST, program=True, data=node == A))
    assert council.stage is Stage.PLAN
    council.handle(PlanMade(stamp(version=1), None, "an old problem"))
    council.handle(PlanMade(stamp(version=1), plan(stamp(version=1), (B, C)), ""))
    assert council.stage is Stage.PLAN
    council.handle(PlanMade(of, plan(of, (B,)), ""))
    assert council.stage is Stage.TRANSFER


def test_an_answer_counts_that_comes_before_the_one_to_an_older_question():
    council = Council(workers=(B, C, E))
    council.run()
    council.keep(0)
    council.think = lambda ask: LeaderChanged(D, 1)  # the planner is at work
    council.join(E)
    council.wait(SETTLED_SECONDS + 1)
    trial = council.asked[-1]
    council.lose(C)
    council.wait(2.0)
    assert council.stage is Stage.PLAN
    assert council.asked[-1].stamp != trial.stamp
    council.handle(PlanMade(council.asked[-1].stamp, None, "too little memory"))
    assert council.stage is Stage.WAIT
    assert council.record.reason == "too little memory"
    council.handle(PlanMade(trial.stamp, plan(trial.stamp, (B, C, E)), ""))
    assert council.stage is Stage.WAIT


@pytest.mark.parametrize(("kind", "cause"), [(HoldingKind.DISK, "restarted"), (HoldingKind.SNAPSHOT, "paused")])
def test_a_job_that_stood_while_everything_was_restarted_says_so_when_it_is_resumed(kind, cause):
    council = Council(listed=[replace(queued(spec(steps=100)), state=JobState.PAUSED, step=16)])
    council.holdings[B] = (Holding(0, 3, 16, kind),)
    council.submit(steps=100)
    council.hear(A, ResumeRequest(JOB))
    council.wait(2.0)
    council.step(17)
    report = council.told(RecoveryReport)[-1][1]
    assert (report.cause, report.rolled_back_to, report.lost_steps) == (cause, 16, 0)
