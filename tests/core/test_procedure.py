"""Every trouble at every stage, and every change that is wanted: it mends, ends, or comes to rest."""

import pytest

from edged.core.course import (
    ANSWER_SECONDS,
    IMPOSSIBLE_SECONDS,
)
from edged.core.events import PortProbed
from edged.core.inventory import TRANSFER_SECONDS
from edged.core.messages import (
    Committed,
    Drained,
    End,
    Halt,
    Held,
    JobDone,
    Jobs,
    JobState,
    Lying,
    MemberState,
    PauseRequest,
    Prepare,
    Prepared,
    RecoveryReport,
    ResumeRequest,
    StepReport,
    StopRequest,
    Stuck,
    Submit,
    Transfer,
    Unwritten,
    WorkFailed,
)
from edged.core.phases import Stage
from tests.core.council import FIRST, Council, E, bring, inventory, receivers, snapshot
from tests.core.job_sample import JOB, A, B, C, D, spec, stamp


@pytest.fixture
def council():
    return Council()


# ------------------------------------------------------------------------------------------- a node dies


def test_a_restarted_holder_outside_the_plan_changes_no_plan_and_holds_nothing():
    council = Council(node=B, leader=B, nodes=(B, C), workers=(B,))
    council.holdings, council.programs, council.data = {B: (FIRST,)}, {B}, {B}
    council.hear(B, Submit(spec(source=B, steps=100)))
    of = council.stamp
    council.hear(B, StepReport(of, 1, 0, 0.5, 1.0, 0.1))
    council.hear(C, Held(of, 0, 3, 16, 0.0, 100, -1, boot=1))
    council.lose(C)
    council.join(C, boot=2)
    council.hear(B, Held(of, 0, 3, 16, 0.0, 100, -1, boot=1))
    assert (council.stage, council.stamp) == (Stage.RUN, of)
    assert council.told(Committed)[-1][1].version == -1
    council.hear(C, Held(of, 0, 3, 16, 0.0, 100, -1, boot=1))  # was on its way for long
    assert council.told(Committed)[-1][1].version == -1
    council.hear(C, Held(of, 0, 3, 16, 0.0, 100, -1, boot=2))
    assert council.told(Committed)[-1][1].layers == (Lying(0, 3, (B, C)),)


def test_a_dead_node_costs_a_new_plan_from_the_newest_whole_version(council):
    council.run()
    council.keep(0)
    council.keep(16)
    council.step(20)
    council.now = 7.0
    council.lose(C)
    assert council.stage is Stage.RESUME
    assert council.record.state is JobState.RUNNING
    prepare = dict(council.told(Prepare))[B]
    assert prepare.version == 16
    assert prepare.transfers == (Transfer(0, 1, 16, B), Transfer(2, 3, 16, B))
    council.now = 7.8
    council.step(17)
    reports = council.told(RecoveryReport)
    assert [to for to, _ in reports] == [A, B, D]
    report = reports[0][1]
    assert (report.cause, report.nodes, report.rolled_back_to, report.lost_steps) == ("died", (C,), 16, 4)
    assert report.pause_seconds == pytest.approx(0.8)
    assert report.text == "pi-c died; its layers 2–3 came back from pi-b in 0.8 s; 4 steps are done again"


@pytest.mark.parametrize(
    ("state", "boot", "words"),
    [
        (MemberState.DEAD, 1, "pi-c died"),
        (MemberState.LEFT, 1, "pi-c left"),
        (MemberState.ALIVE, 2, "pi-c was restarted"),
    ],
)
def test_the_record_says_what_happened(council, state, boot, words):
    council.run()
    council.keep(0)
    council.silent = {D}
    council.lose(C, state, boot)
    assert council.record.state is JobState.PREPARING
    assert council.record.reason == f"recovering: {words}"


def test_a_refused_port_is_acted_upon_before_membership_has_the_last_word(council):
    council.run()
    council.keep(0)
    council.silent = {C}
    council.handle(PortProbed(C, refused=True))
    assert council.stage is Stage.RESUME
    assert council.now == 0.0
    assert council.plan.nodes() == (B,)
    council.step(1)
    assert council.told(RecoveryReport)[0][1].cause == "died"
    council.lose(C)
    assert council.stage is Stage.RUN


def test_a_port_that_accepts_means_nothing(council):
    council.run()
    council.handle(PortProbed(C, refused=False))
    assert council.stage is Stage.RUN


def test_a_doubted_node_that_answers_takes_part(council):
    council.run()
    council.silent = {D}
    council.handle(PortProbed(C, refused=True))
    council.wait(ANSWER_SECONDS)
    assert council.plan.nodes() == (B, C)


def test_suspicion_changes_nothing(council):
    council.run()
    council.lose(C, MemberState.SUSPECT)
    assert council.stage is Stage.RUN


def test_a_bystander_that_dies_changes_nothing_but_holders():
    council = Council(nodes=(A, B, C, D, E))
    council.run()
    council.lose(E)
    assert council.stage is Stage.RUN
    assert council.plan.stamp == stamp()


def test_two_at_once_cost_one_plan(council):
    council.workers = [A, B, C]
    council.run()
    council.keep(0)
    council.silent = {B, C}
    council.lose(B)
    council.lose(C)
    assert council.stage is Stage.RESUME
    assert council.plan.nodes() == (A,)
    council.step(1)
    report = council.told(RecoveryReport)[0][1]
    assert set(report.nodes) == {B, C}
    assert report.text.startswith("pi-b and pi-c died; their layers")


@pytest.mark.parametrize("stage", [Stage.PLAN, Stage.TRANSFER, Stage.RESUME, Stage.RUN, Stage.DRAIN])
def test_a_death_at_any_stage_leads_back_to_the_fence_with_one_version_more(council, stage):
    bring(council, stage)
    version = council.board.procedure.version
    council.auto = False
    effects = council.lose(C)
    assert council.stage is Stage.FENCE
    assert council.board.procedure.version == version + 1
    assert receivers(effects, Halt) == {A, B, D}
    council.auto = True
    council.wait(2.0)
    assert council.stage is Stage.RESUME
    assert C not in council.plan.nodes()


def test_a_holder_that_dies_while_others_fetch_from_it_costs_a_new_plan():
    council = Council(nodes=(A, B, C, D, E), workers=(B, C))
    council.holdings = {E: (snapshot(0, 3, 8),), D: (snapshot(0, 3, 8),)}
    council.silent = {B}
    council.auto = False
    council.submit()
    of = council.told(Halt)[0][1].stamp
    council.auto = True
    for node in (A, B, C, D):
        council.hear(node, inventory(of, program=node == A, data=node == A))
    council.hear(E, inventory(of, snapshot(0, 3, 8)))
    assert council.stage is Stage.TRANSFER
    council.lose(E)
    assert council.stage is Stage.FENCE


# ---------------------------------------------------------------------------------------- broken links


def test_a_broken_connection_costs_a_new_plan(council):
    council.run()
    council.keep(0)
    council.hear(B, WorkFailed(council.stamp, "connection to pi-c broke", False, C))
    assert council.stage is Stage.RESUME
    assert council.plan.nodes() == (B, C)
    council.step(1)
    assert council.told(RecoveryReport)[0][1].cause == "link"
    assert council.told(RecoveryReport)[0][1].text.startswith("pi-c cannot be reached; the job went on after")


def test_a_node_that_is_lost_three_times_in_a_minute_is_left_out_until_it_is_started_anew(council):
    council.run()
    council.keep(0)
    for _ in range(3):
        council.now += 5.0
        council.hear(C, WorkFailed(council.stamp, "restarted", False, C))
        council.step(1)
    assert council.plan.nodes() == (B,)
    council.stands = 1
    council.wait(60.0)
    assert council.plan.nodes() == (B,)
    council.join(C, boot=2)
    council.wait(60.0)
    assert council.plan.nodes() == (B, C)


def test_several_reports_of_one_break_are_one_strike(council):
    council.run()
    council.keep(0)
    of = council.stamp
    for sender in (A, B, C):
        council.hear(sender, WorkFailed(of, "broken", False, C))
    assert council.stamp.version == of.version + 1


def test_strangers_and_older_plans_break_nothing(council):
    of = council.run()
    council.hear(D, WorkFailed(of, "a stranger says so", False, C))
    council.hear(B, WorkFailed(stamp(version=0), "long ago", False, C))
    council.hear(B, Stuck(of, C))
    assert council.stage is Stage.RUN


def test_a_source_that_cannot_be_reached_again_and_again_is_given_rest():
    council = Council(workers=(A, B))
    council.run()
    council.keep(0)
    for _ in range(3):
        council.hear(A, WorkFailed(council.stamp, "broken", False, A))
    assert council.plan.nodes() == (B,)
    council.hear(A, WorkFailed(council.stamp, "broken", False, A))
    assert council.stage is Stage.FENCE
    council.wait(1.0)
    assert council.stage is Stage.RESUME


def test_a_final_failure_ends_the_job_when_the_source_has_brought_home_what_is_left(council):
    of = council.run()
    council.hear(C, WorkFailed(of, "the loss of step 2 is nan", True, C))
    assert council.record.state is JobState.RUNNING
    effects = council.hear(A, JobDone(of, 2, "the loss of step 2 is nan"))
    assert (council.record.state, council.record.reason) == (JobState.FAILED, "the loss of step 2 is nan")
    assert receivers(effects, End) == {A, B, C, D}


# ------------------------------------------------------------------------------------------ preparing


def test_only_those_who_have_not_answered_are_asked_again():
    council = Council()
    bring(council, Stage.TRANSFER)
    council.auto = False
    council.hear(B, Prepared(stamp(), ""))
    assert receivers(council.wait(1.0), Prepare) == {A, C}


def test_who_fails_to_prepare_twice_is_left_out(council):
    council.problems = {C: "out of memory"}
    council.submit()
    assert council.stage is Stage.RESUME
    assert council.plan.nodes() == (B,)
    assert len(council.asked) == 3


def only_layers_are_too_much(council, problems):
    """Who is given layers of a plan fails with its problem; as the source alone it is well."""
    answers = council.answers

    def answer(to, message):
        if isinstance(message, Prepare):
            council.problems = {n: w for n, w in problems.items() if n in message.plan.nodes()}
        return answers(to, message)

    council.answers = answer


def test_if_nobody_is_left_the_job_fails_with_the_reasons():
    council = Council(node=A, leader=A, nodes=(A, B), workers=(A, B))
    only_layers_are_too_much(council, {A: "out of memory", B: "an unknown operation"})
    council.submit()
    assert council.record.state is JobState.FAILED
    assert council.record.reason == (
        "pi-a could not prepare: out of memory; pi-b could not prepare: an unknown operation"
    )


def without_b(problems):
    council = Council(node=A, leader=A, nodes=(A, B), workers=(A, B))
    only_layers_are_too_much(council, problems)
    council.lose(B)
    return council


def test_who_is_dead_may_come_back_in_time_for_a_job_that_nobody_here_can_prepare():
    council = without_b({A: "out of memory"})
    council.submit()
    assert council.record.state is JobState.WAITING
    assert council.record.reason == "pi-a could not prepare: out of memory"
    council.join(B, boot=2)
    council.wait(2.0)
    assert council.plan.nodes() == (B,)


def test_a_job_that_nobody_here_can_prepare_does_not_wait_long_for_the_dead():
    council = without_b({A: "out of memory"})
    council.submit()
    council.wait(IMPOSSIBLE_SECONDS - 2)
    assert council.record.state is JobState.WAITING
    council.wait(4)
    assert council.record.state is JobState.FAILED


def test_a_job_that_has_run_is_never_ended_because_nodes_cannot_prepare_any_more(council):
    council.run()
    council.keep(0)
    only_layers_are_too_much(council, {C: "out of memory"})
    council.workers = [B, C]
    council.lose(B)
    council.wait(10 * IMPOSSIBLE_SECONDS)
    assert council.record.state is JobState.WAITING
    assert "pi-c could not prepare: out of memory" in council.record.reason
    council.join(B, boot=2)
    council.wait(2.0)
    assert council.stage is Stage.RESUME


def test_a_source_that_cannot_prepare_any_more_does_not_end_a_job_that_has_run(council):
    council.run()
    council.keep(0)
    council.problems = {A: "no room for the program"}
    council.lose(B)
    council.wait(10 * IMPOSSIBLE_SECONDS)
    assert council.record.state is JobState.PREPARING
    council.problems = {}
    council.wait(5.0)
    assert council.stage is Stage.RESUME


def test_a_source_that_can_never_prepare_ends_the_job(council):
    council.problems = {A: "no room for the program"}
    council.submit()
    assert council.record.state is JobState.FAILED
    assert council.record.reason == "pi-a could not prepare: no room for the program"


def test_a_transfer_is_bounded_and_the_silent_are_left_out_at_last(council):
    council.silent = set()
    answers = council.answers
    council.answers = lambda to, m: () if to == C and isinstance(m, Prepare) else answers(to, m)
    council.submit()
    assert council.stage is Stage.TRANSFER
    council.wait(2 * TRANSFER_SECONDS + 10)
    assert council.stage is Stage.RESUME
    assert council.plan.nodes() == (B,)


def test_two_transfers_that_took_too_long_weeks_apart_exclude_nobody(council):
    answers = council.answers
    council.submit()
    for _ in range(3):
        council.now += 14 * 24 * 3600.0
        council.answers = lambda to, m: () if to == C and isinstance(m, Prepare) else answers(to, m)
        council.hear(A, Stuck(council.stamp, B))
        council.wait(TRANSFER_SECONDS)
        council.answers = answers
        council.wait(10.0)
        assert council.stage is Stage.RESUME
        assert council.plan.nodes() == (B, C)


# ------------------------------------------------------------------------------- pause, resume, stop


def test_a_pause_lets_the_step_under_way_finish_and_frees_the_cluster(council):
    council.run()
    council.keep(0)
    council.hear(B, PauseRequest(JOB))
    assert council.record.reason == "pausing; the step under way is finished first"
    council.keep(5)
    council.step(5)
    council.hear(A, Drained(council.stamp, 5))
    assert council.record.state is JobState.PAUSED
    assert council.board.procedure is None
    assert not council.told(End)
    council.wait(60.0)
    assert council.record.state is JobState.PAUSED
    council.hear(B, ResumeRequest(JOB))
    assert council.stage is Stage.RESUME
    assert dict(council.told(Prepare))[B].version == 5
    council.now += 0.5
    council.step(6)
    report = council.told(RecoveryReport)[0][1]
    assert (report.cause, report.lost_steps) == ("paused", 0)
    assert report.text == "the job was resumed; the job went on after 0.5 s; no step lost"


def test_a_paused_job_stands_at_the_newest_version_that_is_held(council):
    council.run(step=7)
    council.keep(4)
    council.hear(B, PauseRequest(JOB))
    council.hear(B, WorkFailed(council.stamp, "restarted", False, B))
    council.wait(2.0)
    assert (council.record.state, council.record.step) == (JobState.PAUSED, 4)


@pytest.mark.parametrize("stage", [Stage.FENCE, Stage.PLAN, Stage.WAIT, Stage.TRANSFER])
def test_a_pause_at_any_stage_comes_to_rest(council, stage):
    bring(council, stage)
    council.hear(B, PauseRequest(JOB))
    council.auto = True
    council.wait(2.0)
    assert council.record.state is JobState.PAUSED
    assert council.board.procedure is None


def test_a_pause_before_the_first_progress_waits_for_it(council):
    bring(council, Stage.RESUME)
    council.stands = 1
    council.hear(B, PauseRequest(JOB))
    council.step(1)
    assert council.record.state is JobState.PAUSED


def test_a_pause_taken_back_in_time_changes_nothing_but_the_plan_version(council):
    council.run()
    council.keep(0)
    council.hear(B, PauseRequest(JOB))
    council.hear(B, ResumeRequest(JOB))
    council.hear(A, Drained(council.stamp, 0))
    assert council.stage is Stage.RESUME


def test_a_pause_of_the_last_step_is_the_end(council):
    council.run(steps=3)
    council.hear(B, PauseRequest(JOB))
    council.hear(A, Drained(council.stamp, 3))
    council.finish(3)
    assert council.record.state is JobState.FINISHED


@pytest.mark.parametrize("stage", [stage for stage in Stage if stage is not Stage.OVER])
def test_a_job_is_stopped_at_every_stage(council, stage):
    bring(council, stage)
    effects = council.hear(B, StopRequest(JOB, "asked by the user"))
    assert (council.record.state, council.record.reason) == (JobState.STOPPED, "asked by the user")
    assert receivers(effects, End) == (set() if stage is Stage.ADOPT else {A, B, C, D})


@pytest.mark.parametrize("stage", [Stage.RESUME, Stage.RUN, Stage.DRAIN])
def test_the_result_ends_the_job_at_every_stage_that_works(council, stage):
    bring(council, stage)
    council.finish(3)
    assert (council.record.state, council.record.step) == (JobState.FINISHED, 3)


def test_only_the_source_of_this_plan_ends_the_job_with_a_result(council):
    of = council.run()
    council.hear(B, JobDone(of, 3, ""))
    council.hear(A, JobDone(stamp(version=0), 3, ""))
    assert council.record.state is JobState.RUNNING
    council.hear(A, JobDone(of, 3, "the data could not be read"))  # a full disk is no such verdict: see below
    assert (council.record.state, council.record.reason) == (JobState.FAILED, "the data could not be read")


def test_a_result_that_cannot_be_written_holds_the_job_and_everyone_is_told_why(council):
    of = council.run(steps=3)
    council.hear(B, Unwritten(of, 3, "who says so?"))
    assert council.record.reason == ""
    council.hear(A, Unwritten(of, 3, "the disk is full, and it is tried again"))
    record = council.record
    assert (record.state, record.step) == (JobState.RUNNING, 3)
    assert record.reason == "the disk is full, and it is tried again"
    assert record in council.told(Jobs)[-1][1].jobs
    council.finish(3)
    assert (council.record.state, council.record.reason) == (JobState.FINISHED, "")


def test_a_leader_that_begins_while_a_result_cannot_be_written_makes_no_other_plan(council):
    bring(council, Stage.RESUME)
    of = council.stamp
    council.hear(A, Unwritten(of, 3, "the disk is full"))
    assert (council.stage, council.stamp) == (Stage.RUN, of)
    assert "the disk is full" in council.record.reason


def test_a_job_whose_result_cannot_be_written_can_be_stopped(council):
    of = council.run(steps=3)
    council.hear(A, Unwritten(of, 3, "the disk is full"))
    council.hear(B, StopRequest(JOB, "asked by the user"))
    assert council.record.state is JobState.STOPPED
