"""The board on the leader and on its followers: messages in, messages out."""

import pytest

from edged.core.effects import MakePlan, SendMessage
from edged.core.events import (
    JobSubmitted,
    LeaderChanged,
    MemberChanged,
    MessageReceived,
    PlanMade,
    StopAsked,
    TimerFired,
)
from edged.core.jobs import IDLE_SECONDS, REPEAT_SECONDS, JobBoard
from edged.core.messages import (
    End,
    JobDone,
    Jobs,
    JobState,
    MemberState,
    PlanChosen,
    Prepare,
    Prepared,
    Start,
    StepReport,
    StopRequest,
    Submit,
    Transfer,
    WorkFailed,
)
from edged.core.procedure import ADOPT_SECONDS, IMPOSSIBLE_SECONDS, MEASURE_SECONDS, Stage
from tests.core.job_sample import JOB, OTHER_JOB, A, B, C, D, member, plan, spec, stamp


class Scene:
    """One board on node ``node``; A is the source, B and C run layers, D leads unless told otherwise."""

    def __init__(self, node=D, leader=D, term=1):
        self.board = JobBoard(member(node))
        self.node = node
        self.now = 0.0
        for other in (A, B, C, D):
            self.handle(MemberChanged(member(other), None, ""))
        self.handle(LeaderChanged(leader, term))

    def handle(self, event):
        effects = self.board.handle(event, self.now)
        self.board.check()
        return effects

    def hear(self, sender, message):
        return self.handle(MessageReceived(sender, message))

    def wake(self):
        self.now = self.board.deadline()
        return self.handle(TimerFired())

    def lose(self, node, state=MemberState.DEAD, boot=1):
        return self.handle(MemberChanged(member(node, state, boot), MemberState.ALIVE, ""))

    def planned(self, job=JOB, of=None):
        made = plan(of or stamp(job=job), (B, C))
        return self.handle(PlanMade(job, made, ""))

    def run(self, job=JOB):
        """Bring a job as far as its first step."""
        self.hear(A, Submit(spec(job)))
        of = self.board.procedure.version
        of = stamp(version=of, job=job)
        self.planned(job, of)
        for node in (A, B, C):
            self.hear(node, Prepared(of, ""))
        self.hear(A, StepReport(of, 1, 0, 0.5, 1.0, 0.1))
        return of

    @property
    def record(self):
        return self.board.jobs.records[JOB]


def messages(effects, kind):
    return [(e.to, e.message) for e in effects if isinstance(e, SendMessage) and isinstance(e.message, kind)]


def receivers(effects, kind):
    return {to for to, _ in messages(effects, kind)}


@pytest.fixture
def scene():
    return Scene()


# ------------------------------------------------------------------------------------------ the procedure


def test_a_submitted_job_is_planned_over_the_living_members(scene):
    scene.lose(C)
    effects = scene.hear(A, Submit(spec()))
    (make,) = [e for e in effects if isinstance(e, MakePlan)]
    assert make.stamp == stamp()
    assert [m.node for m in make.members] == [A, B, D]
    assert scene.record.state is JobState.QUEUED
    assert receivers(effects, Jobs) == {A, B}


def test_a_repeated_submission_changes_nothing(scene):
    scene.hear(A, Submit(spec()))
    assert scene.hear(A, Submit(spec())) == []


def test_nobody_submits_for_another(scene):
    assert scene.hear(B, Submit(spec())) == []
    assert not scene.board.jobs.records


def test_everyone_with_a_part_is_prepared_and_told_where_layers_are(scene):
    scene.hear(A, Submit(spec()))
    effects = scene.planned()
    prepares = dict(messages(effects, Prepare))
    assert set(prepares) == {A, B, C}
    assert prepares[A].transfers == ()
    assert prepares[C].transfers == (Transfer(2, 3, 0, A),)
    assert scene.record.state is JobState.PREPARING


def test_only_those_who_have_not_answered_are_asked_again(scene):
    scene.hear(A, Submit(spec()))
    scene.planned()
    scene.hear(B, Prepared(stamp(), ""))
    assert receivers(scene.wake(), Prepare) == {A, C}


def test_start_and_plan_are_repeated_until_a_step_is_done(scene):
    scene.hear(A, Submit(spec()))
    scene.planned()
    for node in (A, B):
        scene.hear(node, Prepared(stamp(), ""))
    effects = scene.hear(C, Prepared(stamp(), ""))
    assert receivers(effects, Start) == receivers(effects, PlanChosen) == {A, B, C}
    assert scene.record.state is JobState.RUNNING
    assert receivers(scene.wake(), Start) == {A, B, C}
    scene.hear(A, StepReport(stamp(), 1, 0, 0.5, 1.0, 0.1))
    assert scene.record.step == 1
    for _ in range(12):
        assert not messages(scene.wake(), Start)


def test_the_result_ends_the_job_for_all_and_the_next_begins(scene):
    of = scene.run()
    scene.hear(A, Submit(spec(OTHER_JOB)))
    effects = scene.hear(A, JobDone(of, 3, ""))
    assert receivers(effects, End) == {A, B, C, D}
    assert scene.record.state is JobState.FINISHED
    assert scene.record.step == 3
    (make,) = [e for e in effects if isinstance(e, MakePlan)]
    assert make.stamp == stamp(version=2, job=OTHER_JOB)


def test_an_impossible_job_fails_at_once_and_the_next_begins(scene):
    scene.hear(A, Submit(spec()))
    scene.hear(A, Submit(spec(OTHER_JOB)))
    effects = scene.handle(PlanMade(JOB, None, "needs 3 GB, 1 GB is free"))
    assert (scene.record.state, scene.record.reason) == (JobState.FAILED, "needs 3 GB, 1 GB is free")
    assert [e.stamp for e in effects if isinstance(e, MakePlan)] == [stamp(version=2, job=OTHER_JOB)]
    assert receivers(effects, Jobs) == {A, B, C}


def test_only_members_that_are_measured_take_part(scene):
    scene.handle(MemberChanged(member(B, slowness=0.0), None, ""))
    scene.hear(A, Submit(spec()))
    while scene.board.procedure.stage is not Stage.PLAN:
        effects = scene.wake()
    assert scene.now >= MEASURE_SECONDS
    assert [[m.node for m in e.members] for e in effects if isinstance(e, MakePlan)] == [[A, C, D]]


def test_an_impossible_job_waits_no_longer_than_members_may_take_to_measure(scene):
    scene.handle(MemberChanged(member(B, slowness=0.0), None, ""))
    scene.hear(A, Submit(spec()))
    while scene.record.state is JobState.QUEUED:
        if any(isinstance(e, MakePlan) for e in scene.wake()):
            scene.handle(PlanMade(JOB, None, "needs 3 GB, 1 GB is free"))
    assert scene.record.reason == "needs 3 GB, 1 GB is free"
    assert IMPOSSIBLE_SECONDS <= scene.now < IMPOSSIBLE_SECONDS + 2


def test_waits_with_the_reason_while_a_member_that_does_not_answer_may_be_what_lacks(scene):
    scene.hear(A, Submit(spec()))
    scene.lose(C, MemberState.SUSPECT)
    effects = scene.handle(PlanMade(JOB, None, "needs 3 GB, 1 GB is free"))
    assert scene.record.reason == "needs 3 GB, 1 GB is free"
    assert scene.record.state is JobState.QUEUED
    assert receivers(effects, Jobs) == {A, B, C}
    effects = scene.handle(MemberChanged(member(B), MemberState.ALIVE, "faster"))
    assert [e.stamp for e in effects if isinstance(e, MakePlan)] == [stamp(version=2)]
    scene.handle(PlanMade(JOB, None, "still not"))
    assert any(isinstance(e, MakePlan) for e in scene.wake())


def test_waits_a_little_for_members_that_still_measure_their_speed(scene):
    scene.handle(MemberChanged(member("e" * 16, slowness=0.0), None, "joined"))
    effects = scene.hear(A, Submit(spec()))
    assert not [e for e in effects if isinstance(e, MakePlan)]
    assert scene.record.reason == "waiting for the speed of pi-e"
    effects = scene.handle(MemberChanged(member("e" * 16, slowness=2.0), MemberState.ALIVE, "measured"))
    assert [len(e.members) for e in effects if isinstance(e, MakePlan)] == [5]


def test_waits_no_longer_than_it_takes(scene):
    scene.handle(MemberChanged(member("e" * 16, slowness=0.0), None, "joined"))
    scene.hear(A, Submit(spec()))
    while not any(isinstance(e, MakePlan) for e in scene.wake()):
        assert scene.now < MEASURE_SECONDS
    assert scene.now == MEASURE_SECONDS


def test_a_plan_for_an_older_question_is_ignored(scene):
    scene.hear(A, Submit(spec()))
    scene.lose(D, MemberState.SUSPECT)
    scene.handle(PlanMade(JOB, None, "no"))
    scene.wake()
    assert not messages(scene.planned(), Prepare)
    assert messages(scene.planned(of=stamp(version=2)), Prepare)


def test_a_member_lost_before_anyone_was_told_costs_a_new_plan(scene):
    scene.hear(A, Submit(spec()))
    scene.lose(C)
    effects = scene.planned()
    assert [e.stamp for e in effects if isinstance(e, MakePlan)] == [stamp(version=2)]


# ---------------------------------------------------------------------------------------------- trouble


@pytest.mark.parametrize(
    ("node", "state", "boot", "sentence"),
    [
        (C, MemberState.DEAD, 1, "node pi-c died; it ran layers 2–3"),
        (B, MemberState.LEFT, 1, "node pi-b left; it ran layers 0–1"),
        (C, MemberState.ALIVE, 2, "node pi-c was restarted; it ran layers 2–3"),
        (A, MemberState.DEAD, 1, "node pi-a died; it was the source of the job's data"),
    ],
)
def test_a_lost_participant_ends_the_job_by_name(scene, node, state, boot, sentence):
    scene.run()
    effects = scene.lose(node, state, boot)
    assert scene.record.state is JobState.FAILED
    assert scene.record.reason == sentence
    ends = dict(messages(effects, End))
    assert ends[D] == End(stamp(), JobState.FAILED, sentence)
    assert {A, B, C, D} - {node} <= set(ends)


def test_a_lost_bystander_ends_nothing():
    scene = Scene()
    scene.board.handle(MemberChanged(member("e" * 16), None, ""), 0.0)
    scene.run()
    scene.lose("e" * 16)
    assert scene.record.state is JobState.RUNNING


def test_suspicion_ends_nothing(scene):
    scene.run()
    scene.lose(C, MemberState.SUSPECT)
    assert scene.record.state is JobState.RUNNING


def test_who_cannot_prepare_is_named(scene):
    scene.hear(A, Submit(spec()))
    scene.planned()
    scene.hear(C, Prepared(stamp(), "out of memory"))
    assert scene.record.reason == "pi-c could not prepare: out of memory"


def test_a_transfer_is_bounded_and_names_the_silent(scene):
    scene.hear(A, Submit(spec()))
    scene.planned()
    scene.hear(A, Prepared(stamp(), ""))
    while scene.record.state is JobState.PREPARING:
        scene.wake()
    assert scene.record.reason == "not ready in time: pi-b, pi-c"
    assert scene.now < 70


def test_a_failing_worker_ends_the_job_with_its_reason(scene):
    of = scene.run()
    scene.hear(D, WorkFailed(of, "a stranger says so"))
    assert scene.record.state is JobState.RUNNING
    scene.hear(C, WorkFailed(of, "the loss of step 2 is nan"))
    assert (scene.record.state, scene.record.reason) == (JobState.FAILED, "the loss of step 2 is nan")


@pytest.mark.parametrize("stage", [Stage.PLAN, Stage.WAIT, Stage.TRANSFER, Stage.RUN])
def test_a_job_is_stopped_at_every_stage(scene, stage):
    if stage is Stage.RUN:
        scene.run()
    else:
        scene.hear(A, Submit(spec()))
    if stage is Stage.WAIT:
        scene.lose(C, MemberState.SUSPECT)
        scene.handle(PlanMade(JOB, None, "no"))
    elif stage is Stage.TRANSFER:
        scene.planned()
    assert scene.board.procedure.stage is stage
    effects = scene.hear(B, StopRequest(JOB, "asked by the user"))
    assert (scene.record.state, scene.record.reason) == (JobState.STOPPED, "asked by the user")
    told = {A, B, C, D} if stage in {Stage.TRANSFER, Stage.RUN} else set()
    assert receivers(effects, End) == told


def test_a_queued_job_is_stopped_without_its_turn(scene):
    scene.run()
    scene.hear(A, Submit(spec(OTHER_JOB)))
    scene.hear(C, StopRequest(OTHER_JOB, "changed my mind"))
    assert scene.board.jobs.records[OTHER_JOB].state is JobState.STOPPED
    assert scene.record.state is JobState.RUNNING


def test_a_queued_job_fails_when_its_source_goes(scene):
    scene.run()
    scene.hear(B, Submit(spec(OTHER_JOB, source=B)))
    scene.lose(B)
    assert scene.board.jobs.records[OTHER_JOB].state is JobState.FAILED
    assert scene.record.state is JobState.FAILED


# ---------------------------------------------------------------------------------------- telling everyone


def test_the_list_is_repeated_quickly_while_there_is_work_and_slowly_after(scene):
    of = scene.run()
    before = scene.now
    while not messages(scene.wake(), Jobs):
        pass
    assert scene.now - before <= REPEAT_SECONDS
    scene.hear(A, JobDone(of, 3, ""))
    scene.wake()
    before = scene.now
    assert receivers(scene.wake(), Jobs) == {A, B, C}
    assert scene.now - before == IDLE_SECONDS


def test_a_newcomer_is_told_jobs_and_plan(scene):
    scene.run()
    effects = scene.handle(MemberChanged(member("e" * 16), None, "joined"))
    assert receivers(effects, Jobs) == receivers(effects, PlanChosen) == {"e" * 16}


def test_an_idle_leader_without_jobs_sleeps(scene):
    assert scene.board.deadline() is None


# ------------------------------------------------------------------------------------------- the source


def test_a_submission_is_repeated_until_the_job_has_its_turn():
    scene = Scene(node=A, leader=None)
    assert scene.handle(JobSubmitted(spec())) == []
    assert scene.record.state is JobState.QUEUED
    assert messages(scene.handle(LeaderChanged(D, 1)), Submit) == [(D, Submit(spec()))]
    assert messages(scene.wake(), Submit) == [(D, Submit(spec()))]
    running = Scene()
    running.run()
    scene.hear(D, running.board.jobs.message())
    assert scene.board.deadline() is None


def test_a_stop_is_repeated_until_the_job_has_ended():
    scene = Scene(node=B)
    leader = Scene()
    leader.run()
    scene.hear(D, leader.board.jobs.message())
    assert messages(scene.handle(StopAsked(JOB, "enough")), StopRequest) == [(D, StopRequest(JOB, "enough"))]
    assert messages(scene.wake(), StopRequest)
    scene.hear(D, End(stamp(), JobState.STOPPED, "enough"))
    assert scene.record.state is JobState.STOPPED
    assert scene.board.deadline() is None


def test_a_stop_of_an_unknown_job_is_forgotten():
    scene = Scene(node=B)
    assert scene.handle(StopAsked(JOB, "enough")) == []


# ---------------------------------------------------------------------------------------- a new leader


def follower_of(leader, node=D):
    scene = Scene(node=node, leader=C)
    scene.hear(C, leader.board.jobs.message())
    return scene


def test_a_new_leader_adopts_the_running_plan_and_says_start_again():
    old = Scene()
    of = old.run()
    scene = follower_of(old)
    scene.hear(C, PlanChosen(plan(of, (B, C)), spec()))
    effects = scene.handle(LeaderChanged(D, 2))
    assert receivers(effects, Start) == {A, B, C}
    assert [m.stamp for _, m in messages(effects, Start)] == [of] * 3
    assert scene.record.state is JobState.RUNNING
    scene.hear(A, JobDone(of, 3, ""))
    assert scene.record.state is JobState.FINISHED


def test_a_new_leader_ends_a_running_job_whose_plan_lost_a_member():
    old = Scene()
    of = old.run()
    scene = follower_of(old)
    scene.hear(C, PlanChosen(plan(of, (B, C)), spec()))
    scene.lose(C)
    effects = scene.handle(LeaderChanged(D, 2))
    assert scene.record.reason == "node pi-c died; it ran layers 2–3"
    assert receivers(effects, End) == {A, B, D}


def test_a_new_leader_that_missed_the_plan_learns_it_from_the_source():
    old = Scene()
    of = old.run()
    chosen = PlanChosen(plan(of, (B, C)), spec())
    scene, source = follower_of(old), follower_of(old, node=A)
    source.hear(C, chosen)
    source.handle(LeaderChanged(D, 2))
    listed = messages(scene.handle(LeaderChanged(D, 2)), Jobs)[0][1]
    told = messages(source.hear(D, listed), PlanChosen)
    assert told == [(D, chosen)]
    effects = scene.hear(A, chosen)
    assert receivers(effects, Start) == {A, B, C}
    confirmation = dict(messages(effects, PlanChosen))[A]
    source.hear(D, confirmation)
    assert not messages(source.hear(D, listed), PlanChosen)


def test_a_plan_that_nobody_tells_ends_the_job_in_time():
    scene = follower_of(old := Scene())
    old.run()
    scene.hear(C, old.board.jobs.message())
    scene.handle(LeaderChanged(D, 2))
    while scene.record.state is JobState.RUNNING:
        scene.wake()
    assert scene.now == ADOPT_SECONDS
    assert "lost with the leader" in scene.record.reason


def test_a_job_in_preparation_goes_back_to_the_queue_of_a_new_leader():
    old = Scene()
    old.hear(A, Submit(spec()))
    old.planned()
    scene = follower_of(old)
    scene.handle(LeaderChanged(D, 2))
    assert scene.record.state is JobState.QUEUED
    effects = scene.hear(A, Submit(spec()))
    assert [e.stamp for e in effects if isinstance(e, MakePlan)] == [stamp(term=2)]


def test_a_leader_that_steps_down_stops_deciding(scene):
    scene.run()
    scene.handle(LeaderChanged(B, 2))
    assert scene.board.procedure is None
    assert scene.lose(C) == []
    assert scene.record.state is JobState.RUNNING


def test_a_correction_ends_the_job_in_hand():
    old = Scene()
    of = old.run()
    scene = follower_of(old)
    scene.hear(C, PlanChosen(plan(of, (B, C)), spec()))
    source = follower_of(old, node=A)
    source.hear(C, End(of, JobState.FINISHED, ""))
    listed = messages(scene.handle(LeaderChanged(D, 2)), Jobs)[0][1]
    source.handle(LeaderChanged(D, 2))
    ((_, correction),) = messages(source.hear(D, listed), Jobs)
    effects = scene.hear(A, correction)
    assert scene.record.state is JobState.FINISHED
    assert receivers(effects, End) == {A, B, C, D}
