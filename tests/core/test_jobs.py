"""The board on the leader and on its followers: the list, the queue, requests, what everyone is told."""

from dataclasses import replace

import pytest

from edged.core.effects import MakePlan, SaveJobs
from edged.core.events import HeldFound, JobSubmitted, LeaderChanged, LineageChanged, StopAsked
from edged.core.joblist import queued
from edged.core.jobs import IDLE_SECONDS, REPEAT_SECONDS
from edged.core.messages import (
    Committed,
    End,
    Held,
    JobDone,
    Jobs,
    JobState,
    LeaveGranted,
    LeaveRequest,
    Lying,
    MemberState,
    PauseRequest,
    PlanChosen,
    Prepare,
    RecoveryReport,
    ResumeRequest,
    StepReport,
    StopRequest,
    Submit,
)
from edged.core.orphans import SOURCE_SECONDS
from edged.core.phases import Stage
from edged.core.queue import YIELD_SECONDS
from tests.core.council import Council, messages, receivers, snapshot
from tests.core.job_sample import JOB, OTHER_JOB, A, B, C, D, plan, spec, stamp

E = "e" * 16


@pytest.fixture
def council():
    return Council()


# --------------------------------------------------------------------------------------------- the queue


def test_a_repeated_submission_changes_nothing(council):
    council.submit()
    assert council.submit() == []


def test_nobody_submits_for_another(council):
    assert council.hear(B, Submit(spec())) == []
    assert not council.board.jobs.records


def test_the_result_ends_the_job_for_all_and_the_next_begins(council):
    of = council.run()
    council.hear(A, Submit(spec(OTHER_JOB)))
    effects = council.hear(A, JobDone(of, 3, ""))
    assert receivers(effects, End) == {A, B, C, D}
    assert (council.record.state, council.record.step) == (JobState.FINISHED, 3)
    assert [e.stamp for e in effects if isinstance(e, MakePlan)] == [stamp(version=2, job=OTHER_JOB)]


def test_an_impossible_job_waits_and_lets_the_next_one_have_its_turn(council):
    council.impossible = "needs 3 GB, 1 GB is free"
    council.submit()
    council.hear(A, Submit(spec(OTHER_JOB)))
    assert council.record.state is JobState.WAITING
    council.wait(YIELD_SECONDS + 1)
    assert council.board.procedure.record.job == OTHER_JOB
    council.impossible = ""
    council.wait(1.0)
    assert council.record.state is JobState.WAITING
    assert council.board.jobs.records[OTHER_JOB].state is JobState.RUNNING


def test_a_queued_job_is_stopped_or_paused_without_its_turn(council):
    council.run()
    council.hear(A, Submit(spec(OTHER_JOB)))
    council.hear(C, PauseRequest(OTHER_JOB))
    assert council.board.jobs.records[OTHER_JOB].state is JobState.PAUSED
    council.finish()
    assert council.board.procedure is None
    council.hear(C, ResumeRequest(OTHER_JOB))
    assert council.board.jobs.records[OTHER_JOB].state is JobState.RUNNING
    council.hear(C, StopRequest(OTHER_JOB, "changed my mind"))
    assert council.board.jobs.records[OTHER_JOB].state is JobState.STOPPED


def test_a_paused_job_lets_the_next_one_run_and_has_its_turn_again(council):
    council.run()
    council.keep(0)
    council.hear(A, Submit(spec(OTHER_JOB)))
    council.stands = 2
    council.keep(2)
    council.hear(C, PauseRequest(JOB))
    assert council.record.state is JobState.PAUSED
    assert council.board.procedure.record.job == OTHER_JOB
    council.hear(C, ResumeRequest(JOB))
    council.hear(C, ResumeRequest(JOB))
    assert council.record.state is JobState.QUEUED
    council.finish(3)
    assert council.board.procedure.record.job == JOB
    assert council.record.state is JobState.RUNNING


def test_a_job_that_waits_lets_others_have_their_turn_and_is_tried_again(council):
    council.run()
    council.keep(0)
    council.lose(A)
    council.hear(B, Submit(spec(OTHER_JOB, source=B)))
    assert council.record.state is JobState.WAITING
    council.wait(YIELD_SECONDS + 1)
    assert council.board.procedure.record.job == OTHER_JOB
    assert council.board.jobs.records[OTHER_JOB].state is JobState.WAITING
    council.wait(YIELD_SECONDS)
    assert council.board.procedure.record.job == JOB
    council.join(A, boot=2)
    assert council.record.state is JobState.RUNNING
    council.step(1)
    assert council.told(RecoveryReport)


def test_a_queued_job_that_only_its_lost_source_knows_says_so():
    council = Council(leader=C)
    council.hear(C, queued_at(C))
    council.lose(A)
    council.handle(LeaderChanged(D, 2))
    assert council.record.state is JobState.WAITING
    assert council.record.reason == "node pi-a died; it has the job's data; the job goes on when it is back"
    council.join(A, boot=2)
    council.submit()
    assert council.record.state is JobState.RUNNING


def queued_at(node):
    old = Council(node=node, leader=node, auto=False)
    old.submit()
    return old.board.jobs.message()


# ---------------------------------------------------------------------------------------- telling everyone


def test_the_list_is_repeated_quickly_while_there_is_work_and_slowly_after(council):
    of = council.run()
    before = council.now
    while not messages(council.wake(), Jobs):
        pass
    assert council.now - before <= REPEAT_SECONDS
    council.hear(A, JobDone(of, 3, ""))
    council.wake()
    before = council.now
    assert receivers(council.wake(), Jobs) == {A, B, C}
    assert council.now - before == IDLE_SECONDS


def test_a_newcomer_is_told_jobs_plan_and_what_is_safe(council):
    council.run()
    effects = council.join(E)
    assert receivers(effects, Jobs) == receivers(effects, PlanChosen) == {E}
    assert E in receivers(effects, Committed)


def test_an_idle_leader_without_jobs_sleeps(council):
    assert council.board.deadline() is None


# ----------------------------------------------------------------------------------------------- leaving


def test_where_no_job_runs_anyone_may_leave(council):
    assert messages(council.hear(B, LeaveRequest(B)), LeaveGranted) == [(B, LeaveGranted(B))]


def test_nobody_asks_for_another_to_leave(council):
    assert not messages(council.hear(B, LeaveRequest(C)), LeaveGranted)


def test_a_node_leaves_when_a_version_is_safe_without_it(council):
    council.run()
    council.keep(0)
    council.stands = 3
    council.keep(3)
    assert not messages(council.hear(C, LeaveRequest(C)), LeaveGranted)
    assert council.plan.nodes() == (B,)
    council.step(4)
    assert not messages(council.hear(C, LeaveRequest(C)), LeaveGranted)
    for node in (B, D):
        council.hear(node, Held(council.stamp, 0, 3, 3, 0.01, 100, boot=1))
    assert messages(council.hear(C, LeaveRequest(C)), LeaveGranted) == [(C, LeaveGranted(C))]
    council.lose(C, MemberState.LEFT)
    assert council.stage is Stage.RUN


# ----------------------------------------------------------------------------------- requests of the user


def test_a_submission_is_repeated_until_the_job_has_its_turn():
    council = Council(node=A, leader=None)
    assert council.handle(JobSubmitted(spec())) == [SaveJobs((queued(spec()),))]
    assert council.record.state is JobState.QUEUED
    assert messages(council.handle(LeaderChanged(D, 1)), Submit) == [(D, Submit(spec()))]
    assert messages(council.wake(), Submit) == [(D, Submit(spec()))]
    running = Council()
    running.run()
    council.hear(D, running.board.jobs.message())
    assert council.board.deadline() is None


def test_a_stop_is_repeated_until_the_job_has_ended():
    council = Council(node=B)
    leader = Council()
    leader.run()
    council.hear(D, leader.board.jobs.message())
    assert messages(council.handle(StopAsked(JOB, "enough")), StopRequest) == [(D, StopRequest(JOB, "enough"))]
    assert messages(council.wake(), StopRequest)
    council.hear(D, End(stamp(), JobState.STOPPED, "enough"))
    assert council.record.state is JobState.STOPPED
    assert council.board.deadline() is None


def test_a_stop_of_an_unknown_job_is_forgotten():
    assert Council(node=B).handle(StopAsked(JOB, "enough")) == []


# ------------------------------------------------------------------------------------------- followers


def test_a_follower_remembers_what_is_committed_until_the_job_is_over():
    council = Council(node=B)
    leader = Council()
    of = leader.run()
    council.hear(D, leader.board.jobs.message())
    word = Committed(of, 16, 16, (Lying(0, 1, (B, C)), Lying(2, 3, (C,))), "")
    council.hear(D, word)
    assert council.board.committed == {JOB: word}
    council.join(D)
    assert council.board.committed == {JOB: word}
    council.join(C, boot=2)  # what it held in memory is gone, whoever leads next
    assert council.board.committed == {JOB: replace(word, layers=(Lying(0, 1, (B,)),))}
    council.hear(D, StepReport(of, 5, 0, 0.5, 1.0, 0.1))
    assert council.record.step == 5
    council.hear(D, End(of, JobState.FINISHED, ""))
    assert council.board.committed == {}


def test_a_source_tells_a_leader_that_missed_it_which_plan_runs():
    leader = Council()
    leader.run()
    chosen = PlanChosen(leader.plan, leader.board.procedure.spec)
    source = Council(node=A, leader=C)
    source.hear(C, leader.board.jobs.message())
    source.hear(C, chosen)
    newcomer = Council(leader=C)
    newcomer.hear(C, leader.board.jobs.message())
    source.handle(LeaderChanged(D, 2))
    listed = messages(newcomer.handle(LeaderChanged(D, 2)), Jobs)[0][1]
    assert messages(source.hear(D, listed), PlanChosen) == [(D, chosen)]
    confirmation = dict(messages(newcomer.hear(A, chosen), PlanChosen))[A]
    source.hear(D, confirmation)
    assert not messages(source.hear(D, listed), PlanChosen)


def test_a_leader_that_shows_no_list_is_told_what_there_is_to_be_done():
    old = Council(auto=False)
    old.submit()
    follower = Council(node=B, leader=D)
    follower.hear(D, old.board.jobs.message())
    assert not messages(follower.handle(LeaderChanged(C, 2)), Jobs)
    ((to, listed),) = messages(follower.wake(), Jobs)
    assert to == C
    assert messages(follower.wake(), Jobs) == [(C, listed)]
    restarted = Council(node=C, leader=C, term=2)
    effects = restarted.hear(B, listed)
    assert restarted.record.state is JobState.QUEUED
    follower.hear(C, dict(messages(effects, Jobs))[B])
    assert follower.board.deadline() is None


def test_a_leader_that_shows_no_list_is_told_of_jobs_that_are_over_too():
    old = Council()
    old.run()
    old.finish()
    follower = Council(node=B, leader=D)
    follower.hear(D, old.board.jobs.message())
    follower.handle(LeaderChanged(C, 2))
    ((_, listed),) = messages(follower.wake(), Jobs)
    restarted = Council(node=C, leader=C, term=2)
    restarted.hear(B, listed)
    assert restarted.record.state is JobState.FINISHED


def test_a_job_whose_spec_nobody_knows_waits_for_its_source_and_says_so():
    old = Council(auto=False)
    old.submit()
    leader = Council(node=C, leader=C, term=2)
    leader.hear(B, old.board.jobs.message())
    leader.wait(10.0)
    assert leader.record.state is JobState.WAITING
    assert leader.record.reason == "node pi-a has the job's data; waiting for it to hand the job in"
    leader.submit()
    assert leader.stage is Stage.RESUME


def test_a_source_that_a_new_leader_has_never_met_is_named_by_its_id():
    old = Council(auto=False)
    old.submit()
    leader = Council(node=C, leader=C, term=2, nodes=(B, C))
    leader.hear(B, old.board.jobs.message())
    leader.wait(10.0)
    assert leader.record.reason == f"node {A} has the job's data; waiting for it to hand the job in"


def test_a_node_that_finds_copies_on_its_disk_hands_the_job_in_for_a_source_that_does_not_come_back():
    holder = Council(node=B, leader=C)
    found = (snapshot(0, 3, 64),)
    assert messages(holder.handle(HeldFound(JOB, found, program=False, data=False, spec=spec())), Submit)
    leader = Council(node=C, leader=C, nodes=(B, C))
    leader.holdings = {B: found}
    leader.programs = {B}
    leader.data = set()
    leader.hear(B, holder.board.jobs.message())
    began = leader.now
    while leader.stage is None:
        leader.wait(1.0)
        leader.hear(B, Submit(spec()))
    assert leader.now >= began + SOURCE_SECONDS
    leader.wait(1.0)
    assert leader.record.state is JobState.WAITING
    assert leader.record.reason.startswith(f"node {A} is gone, and nobody else has the job's data")
    leader.data = {B}
    leader.wait(2.0)
    assert leader.stage is Stage.RESUME
    assert leader.record.source == B
    assert leader.told(Prepare)[-1][1].version == 64


def test_a_source_that_comes_back_in_time_is_the_one_that_is_heard():
    leader = Council(node=C, leader=C)
    leader.hear(B, holder_list())
    leader.hear(B, Submit(spec(steps=200)))
    assert leader.stage is None
    leader.submit()
    assert leader.stage is Stage.RESUME
    assert leader.board.procedure.spec == spec()


def test_a_job_that_stood_stands_after_a_restart_though_its_source_hands_it_in():
    paused = replace(queued(spec()), state=JobState.PAUSED, step=7)
    source = Council(node=A, leader=A, listed=(paused,))
    assert messages(source.handle(JobSubmitted(spec())), Submit) == [(A, Submit(spec()))]
    source.submit()
    source.wait(5.0)
    assert (source.record, source.stage) == (paused, None)
    source.hear(B, ResumeRequest(JOB))
    assert source.stage is Stage.RESUME


def test_the_list_is_on_the_disk_before_anybody_is_told_that_a_job_is_over():
    council = Council()
    of = council.run()
    effects = council.hear(A, JobDone(of, 100, ""))
    assert isinstance(effects[0], SaveJobs)
    assert effects[0].records == (council.record,)


def test_a_job_that_its_source_has_ended_is_not_run_again_from_copies():
    source = Council(node=A, leader=C)
    source.hear(C, holder_list())
    source.hear(C, End(stamp(), JobState.FINISHED, ""))
    again = Council(node=A, leader=C, listed=(source.record,))
    leader = Council(node=C, leader=C)
    leader.data, leader.holdings, leader.programs = {B}, {B: (snapshot(0, 3, 64),)}, {B}
    leader.hear(B, holder_list())
    leader.wait(SOURCE_SECONDS)
    leader.hear(B, Submit(spec(steps=100)))
    assert leader.stage is Stage.RESUME
    correction = messages(again.hear(C, leader.board.jobs.message()), Jobs)[0][1]
    effects = leader.hear(A, correction)
    assert leader.record.state is JobState.FINISHED
    assert receivers(effects, End) == {A, B, C, D}


def holder_list():
    """What a node says that has found the job on its disk."""
    holder = Council(node=B, leader=C)
    holder.handle(HeldFound(JOB, (), program=False, data=False, spec=spec(steps=100)))
    return holder.board.jobs.message()


def test_where_the_source_is_gone_anybody_tells_a_new_leader_which_plan_ran():
    old = Council()
    old.run()
    old.data.add(B)
    old.keep(0)
    chosen = PlanChosen(old.plan, old.board.procedure.spec)
    follower = Council(node=B, leader=D)
    follower.hear(D, old.board.jobs.message())
    follower.hear(D, chosen)
    follower.lose(A)
    follower.handle(LeaderChanged(C, 2))
    leader = Council(node=C, leader=C, term=2)
    leader.holdings, leader.programs, leader.data = old.holdings, old.programs | {B}, old.data
    leader.lose(A)
    leader.hear(B, old.board.jobs.message())
    assert leader.stage is Stage.ADOPT
    assert messages(follower.hear(C, leader.board.jobs.message()), PlanChosen) == [(C, chosen)]
    leader.hear(B, chosen)
    assert leader.stage is Stage.RESUME
    assert leader.record.source == B


def test_whoever_knows_a_plan_offers_the_spec_of_a_job_that_waits_to_a_leader_that_may_know_of_a_newer_plan():
    follower = Council(node=C, leader=D, auto=False)
    follower.hear(D, PlanChosen(plan(stamp(), (B, C)), spec()))
    follower.handle(LeaderChanged(B, 2))
    listed = replace(queued(spec()), source=B)
    assert messages(follower.hear(B, Jobs(2, 1, (listed,))), Submit) == []
    waiting = replace(listed, state=JobState.WAITING, reason="waiting for it to hand the job in")
    ((_, offer),) = messages(follower.hear(B, Jobs(2, 2, (waiting,))), Submit)
    leader = Council(node=B, leader=B, term=2)
    leader.hear(C, follower.board.jobs.message())
    for _ in range(2 * int(SOURCE_SECONDS)):
        if leader.stage is None:
            leader.wait(1.0)
            leader.hear(C, offer)
    assert leader.stage is not None
    assert leader.now >= SOURCE_SECONDS


def test_that_one_jobs_plan_is_known_to_the_leader_says_nothing_of_anothers():
    follower = Council(node=C, leader=D, auto=False)
    follower.hear(D, PlanChosen(plan(stamp(), (B, C)), spec()))
    follower.handle(LeaderChanged(B, 2))
    other = spec(OTHER_JOB, source=B)
    follower.hear(B, PlanChosen(plan(stamp(2, job=OTHER_JOB), (B, C)), other))
    waiting = replace(queued(spec()), state=JobState.WAITING, reason="its source is gone")
    running = replace(queued(other), state=JobState.RUNNING)
    offered = messages(follower.hear(B, Jobs(2, 2, (waiting, running))), Submit)
    assert [submit.spec.job for _, submit in offered] == [JOB]


def test_a_correction_ends_the_job_in_hand():
    old = Council()
    of = old.run()
    council = Council(leader=C)
    council.hear(C, old.board.jobs.message())
    council.hear(C, PlanChosen(old.plan, old.board.procedure.spec))
    source = Council(node=A, leader=C)
    source.hear(C, old.board.jobs.message())
    source.hear(C, End(of, JobState.FINISHED, ""))
    listed = messages(council.handle(LeaderChanged(D, 2)), Jobs)[0][1]
    source.handle(LeaderChanged(D, 2))
    ((_, correction),) = messages(source.hear(D, listed), Jobs)
    effects = council.hear(A, correction)
    assert council.record.state is JobState.FINISHED
    assert receivers(effects, End) == {A, B, C, D}


def test_a_restart_of_everything_goes_on_when_the_source_hands_the_job_in_again(council):
    council.run()
    council.keep(16)
    council.step(17)
    again = Council(nodes=(A, B, C, D))
    again.holdings = council.holdings
    again.hear(A, Submit(spec(steps=100)))
    assert again.record.state is JobState.RUNNING
    assert again.board.procedure.protection.version == 16


def test_a_list_of_a_lineage_that_is_not_followed_changes_nothing():
    council = Council(node=B, leader=D, term=5)
    listed = replace(queued(spec()), state=JobState.RUNNING)
    council.hear(D, Jobs(5, 1, (listed,)))
    for sender, term in ((A, 912_000), (A, 5), (D, 6)):
        council.hear(sender, Jobs(term, 1, (replace(listed, state=JobState.PAUSED),)))
        assert council.record.state is JobState.RUNNING
    council.hear(D, Jobs(5, 2, (replace(listed, state=JobState.WAITING),)))
    assert council.record.state is JobState.WAITING


def test_who_gives_its_lineage_up_offers_the_spec_to_a_leader_that_waits_for_it():
    council = Council(node=B, leader=D)
    listed = replace(queued(spec()), state=JobState.RUNNING)
    council.hear(D, Jobs(1, 1, (listed,)))
    council.hear(D, PlanChosen(plan(stamp(), (A, B)), spec()))
    council.handle(LineageChanged("other", "", "discarded"))
    council.handle(LeaderChanged(C, 1))
    council.lose(A)
    effects = council.hear(C, Jobs(1, 1, (replace(listed, state=JobState.WAITING),)))
    assert [(to, message.spec.job) for to, message in messages(effects, Submit)] == [(C, JOB)]
