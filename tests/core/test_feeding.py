"""Whole jobs, from the first draw to the leader's ``End``."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.core.collecting import KEPT_TOKEN
from edged.core.effects import RunBackward, RunForward, RunUpdate, SendMessage, WriteWeights
from edged.core.events import (
    DataLost,
    ExportAsked,
    FeederFailed,
    LeaderChanged,
    LoopWasLate,
    MessageReceived,
    ParcelArrived,
    TimerFired,
    WeightsWritten,
)
from edged.core.feeding import Feeding
from edged.core.ids import JobId, Stamp
from edged.core.job import Phase, Work
from edged.core.messages import (
    Committed,
    Drain,
    Drained,
    End,
    EvalReport,
    FinishedReport,
    JobDone,
    JobState,
    Refused,
    Result,
    StateParcel,
    StepReport,
    Stuck,
    Taken,
    Unwritten,
    WantSnapshot,
    WorkFailed,
)
from tests.core.miniature import LEADER, SOURCE, STAMP, Miniature, assert_whole, make_plan, make_spec, node, pipeline


def reports(job: Miniature, kind: type) -> list:
    return [message for to, message in job.messages if to == SOURCE and isinstance(message, kind)]


@pytest.mark.parametrize("hops", [1, 2, 3, 5])
@pytest.mark.parametrize("loss", [0.0, 0.3])
def test_a_whole_job_ends_with_every_work_done_once_and_every_report_in_order(hops, loss):
    spec = make_spec(hops, steps=6, samples=44, epochs=1, eval_samples=13, clips=True, micro_batches=4, batch_size=8)
    times = random.Random(hops)
    job = Miniature(
        pipeline(hops, 4), spec, loss=loss, delay=lambda: times.uniform(0, 2), seconds=lambda _: times.uniform(0.1, 1)
    ).run()
    assert job.verdict is not None
    assert job.verdict.problem == ""
    assert job.verdict.step == 6
    assert_whole(job)
    assert [report.step for report in reports(job, StepReport)] == [1, 2, 3, 4, 5, 6]
    assert [(report.step, report.epoch) for report in reports(job, EvalReport)] == [(6, 0)]
    assert job.written == [(6, 0)]
    finished = reports(job, FinishedReport)
    assert len(finished) == 1
    assert finished[0].loss == reports(job, StepReport)[-1].loss


def test_the_loss_of_a_step_is_the_weighted_mean_in_ascending_order():
    spec = make_spec(2, steps=1, samples=7, batch_size=8, micro_batches=4)
    job = Miniature(pipeline(2, 4), spec).run()
    assert [report.loss for report in reports(job, StepReport)] == [
        2 / 7 * 1.0 + 2 / 7 * 1.125 + 2 / 7 * 1.25 + 1 / 7 * 1.375
    ]
    assert [report.learning_rate for report in reports(job, StepReport)] == [0.1]


def test_an_evaluation_is_reported_before_the_step_that_follows_it():
    spec = make_spec(2, steps=4, samples=16, batch_size=8, micro_batches=4, epochs=2, eval_samples=20)
    job = Miniature(pipeline(2, 4), spec, loss=0.3).run()
    kinds = [
        (type(m).__name__, m.step) for to, m in job.messages if to == SOURCE and isinstance(m, StepReport | EvalReport)
    ]
    assert kinds == [
        ("StepReport", 1),
        ("StepReport", 2),
        ("EvalReport", 2),
        ("StepReport", 3),
        ("StepReport", 4),
        ("EvalReport", 4),
    ]
    assert dict(reports(job, EvalReport)[0].metrics) == {"accuracy": pytest.approx(0.5 * 4.5)}


def test_reports_go_to_every_member_once():
    job = Miniature(pipeline(2, 4), make_spec(2, steps=2)).run()
    for to in (SOURCE, node(1)):
        assert [m.step for t, m in job.messages if t == to and isinstance(m, StepReport)] == [1, 2]


def test_a_run_goes_on_from_any_version():
    spec = make_spec(3, steps=6, samples=24, batch_size=8, epochs=2, eval_samples=4)
    job = Miniature(pipeline(3, 4), spec, version=3).run()
    assert_whole(job, 3)
    assert [report.step for report in reports(job, StepReport)] == [4, 5, 6]


def test_a_run_that_starts_at_the_end_only_collects():
    job = Miniature(pipeline(3, 4), make_spec(3, steps=6), version=6).run()
    assert job.computed == []
    assert job.written == [(6, 0)]


def test_the_source_need_not_be_part_of_the_plan():
    plan = make_plan(((1, 2, 2), (2, 1, 1)), layers=3, micro_batches=4)
    assert_whole(Miniature(plan, make_spec(3), loss=0.2).run())


def test_samples_wait_only_up_to_a_bound():
    job = Miniature(pipeline(3, 8), make_spec(3, steps=20, micro_batches=8), seconds=lambda _: 50.0)
    job.run_until(40.0)
    assert len(job.drawn) <= 2 * (3 + 2) + 4


def test_nothing_is_fed_far_ahead_of_what_the_first_hop_has_taken():
    spec = make_spec(2, steps=10)
    job = Miniature(pipeline(2, 4), spec, seconds=lambda effect: 100.0 if isinstance(effect, RunForward) else 0.0)
    job.run_until(50.0)
    assert len([place for place in job._shelf if place[3] == 1]) == 4


def test_a_loss_that_is_not_a_number_ends_the_job_naming_step_and_micro_batch():
    job = Miniature(pipeline(3, 4), make_spec(3, steps=5), loss=0.4)
    job.losses = lambda work: float("nan") if (work.version, work.micro_batch) == (2, 1) else 1.0
    job.run()
    assert job.verdict is not None
    assert job.verdict.problem == "the loss of step 3, micro-batch 1 is nan"
    assert job.verdict.step <= 2
    updates = [each.effect.version for each in job.computed if isinstance(each.effect, RunUpdate)]
    assert max(updates) == 2


def test_a_feeder_that_merely_died_is_started_again():
    job = Miniature(pipeline(2, 4), make_spec(2, steps=5))
    deaths = [7, 13]
    job.feeder = lambda _work: "" if deaths and len(job.drawn) == deaths[0] and deaths.pop(0) else None
    job.run()
    assert_whole(job)
    assert job.feeders == 3


def test_a_feeder_that_dies_again_at_once_ends_the_job():
    job = Miniature(pipeline(2, 4), make_spec(2, steps=5))
    job.feeder = lambda work: "" if work.version == 2 else None
    job.run()
    assert job.verdict is not None
    assert job.verdict.problem == "the job's data could not be read: it ended"
    assert job.feeders == 2


def test_user_code_that_raises_ends_the_job_at_once():
    job = Miniature(pipeline(2, 4), make_spec(2, steps=5), loss=0.5)
    job.feeder = lambda work: "Traceback ..." if work.version == 2 else None
    job.run()
    assert job.verdict is not None
    assert job.verdict.problem == "the job's data could not be read: it ended"
    assert job.feeders == 1


@pytest.mark.parametrize("loss", [0.0, 0.3])
def test_an_export_is_one_version_of_all_layers(loss):
    job = Miniature(pipeline(3, 4), make_spec(3, steps=12), loss=loss, delay=lambda: 0.3)
    job.export(7, at=10.2)
    job.run()
    assert_whole(job)
    (version,) = (version for version, token in job.written if token == 7)
    assert 0 < version <= 12
    assert (12, 0) in job.written


def test_an_export_whose_question_comes_too_late_chooses_a_later_version():
    job = Miniature(pipeline(2, 2), make_spec(2, steps=60, micro_batches=2), delay=lambda: 5.0, seconds=lambda _: 0.01)
    job.export(7, at=100.0)
    job.export(8, at=101.0)
    job.run()
    assert {token for _, token in job.written} == {0, 7, 8}


def test_an_export_at_the_very_end_is_written_from_the_result():
    job = Miniature(pipeline(2, 4), make_spec(2, steps=2), delay=lambda: 0.5)
    job.run()
    end = job.now
    again = Miniature(pipeline(2, 4), make_spec(2, steps=2), delay=lambda: 0.5)
    again.export(9, at=end - 1.6)
    again.run()
    assert sorted(again.written) == [(2, 0), (2, 9)]


def test_a_feeding_without_a_leader_waits_for_one():
    feeding = Feeding(pipeline(1, 4), make_spec(1, steps=2), SOURCE, 2, None, lambda: ())
    assert feeding.deadline() == 0.0
    feeding.handle(TimerFired(), 1.0)
    assert feeding.deadline() is not None


def test_a_new_leader_is_told_at_once_and_again_until_the_end():
    feeding = Feeding(pipeline(1, 4), make_spec(1, steps=2), SOURCE, 0, None, lambda: ())
    feeding.handle(TimerFired(), 0.0)
    failed = MessageReceived(SOURCE, WorkFailed(STAMP, "out of memory", final=True, peer=SOURCE))
    assert feeding.handle(failed, 1.0) == []
    verdict = JobDone(STAMP, 0, "out of memory")
    assert feeding.handle(LeaderChanged(LEADER, 2), 1.1) == [SendMessage(LEADER, verdict)]
    assert feeding.deadline() == 1.6
    assert feeding.handle(FeederFailed(STAMP.job, "too late", "a traceback"), 1.2) == []
    assert feeding.handle(TimerFired(), 1.6) == [SendMessage(LEADER, verdict)]
    assert feeding.handle(MessageReceived(LEADER, End(STAMP, JobState.FAILED, "out of memory")), 1.7) == []
    assert feeding.handle(TimerFired(), 3.0) == []
    assert feeding.deadline() is None
    feeding.check()


def test_a_source_that_lost_its_data_says_so_until_the_plan_ends_and_does_not_end_the_job():
    feeding = Feeding(pipeline(1, 4), make_spec(1, steps=2), SOURCE, 0, LEADER, lambda: ())
    feeding.handle(TimerFired(), 0.0)
    failed = SendMessage(LEADER, WorkFailed(STAMP, "a flipped bit", final=False, peer=SOURCE))
    assert failed in feeding.handle(DataLost(STAMP.job, "a flipped bit"), 0.1)
    assert feeding.handle(FeederFailed(STAMP.job, "no such job", "no such job"), 0.2) == []
    assert failed in feeding.handle(TimerFired(), 0.6)
    assert feeding.handle(DataLost(JobId("f" * 12), "another"), 0.7) == []


def test_a_result_that_cannot_be_written_is_tried_until_it_can():
    """To end the job would be to throw the finished weights away: every copy goes with it."""
    feeding = Feeding(pipeline(1, 4), make_spec(1, steps=2), SOURCE, 2, LEADER, lambda: ())
    feeding.handle(TimerFired(), 0.0)
    parcel = StateParcel(STAMP, 0, 0, 2, (), b"", replica=False)
    assert WriteWeights(STAMP, 2, 0) in feeding.handle(ParcelArrived(SOURCE, parcel), 0.1)
    full = WeightsWritten(STAMP, 0, "out", "", "the disk is full")
    text = "the result cannot be written, which is tried again: the disk is full"
    told = SendMessage(LEADER, Unwritten(STAMP, 2, text))
    log, *effects = feeding.handle(full, 0.2)
    assert (log.level, effects) == ("warning", [told])
    assert not [e for e in feeding.handle(TimerFired(), 5.1) if isinstance(e, WriteWeights)]
    assert feeding.deadline() == 5.2
    assert feeding.handle(TimerFired(), 5.2) == [WriteWeights(STAMP, 2, 0)]
    assert feeding.handle(full, 6.0) == [told]  # the log is not told the same twice
    assert feeding.handle(ExportAsked(STAMP.job, 7), 6.1) == [WriteWeights(STAMP, 2, 7)]
    assert feeding.handle(TimerFired(), 11.0) == [WriteWeights(STAMP, 2, 0)]
    effects = feeding.handle(WeightsWritten(STAMP, 0, "out", "sha", ""), 11.1)
    assert [type(e.message) for e in effects] == [FinishedReport, JobDone]
    assert effects[-1].message == JobDone(STAMP, 2, "")


def test_a_job_takes_as_long_as_all_its_plans():
    feeding = Feeding(pipeline(1, 4), make_spec(1, steps=2), SOURCE, 2, LEADER, lambda: (), since=-50.0)
    feeding.handle(TimerFired(), 0.0)
    feeding.handle(ParcelArrived(SOURCE, StateParcel(STAMP, 0, 0, 2, (), b"", replica=False)), 0.1)
    report, _ = feeding.handle(WeightsWritten(STAMP, 0, "out", "sha", ""), 10.0)
    assert report.message.seconds == 60.0


def failing(*, committed: int = 4, loss: float = 0.0) -> Miniature:
    """Three hops; the loss of step 7 is not a number. Copies are made at each fourth version."""
    times = random.Random(committed)
    job = Miniature(
        pipeline(3, 4), make_spec(3, steps=9, samples=72), loss=loss, delay=lambda: times.uniform(0, 0.2), every=4
    )
    job.losses = lambda work: float("nan") if work.version == 6 else 1.0
    job.hear(Committed(STAMP, committed, 4, (), ""), at=0.0)
    return job


@pytest.mark.parametrize("loss", [0.0, 0.3])
def test_a_job_that_fails_brings_home_what_was_copied_last(loss):
    job = failing(loss=loss)
    job.export(9, at=1.0)  # may or may not be met before
    verdict = job.run().verdict
    assert verdict is not None
    assert verdict.problem.startswith("the loss of step 7, micro-batch ")
    assert verdict.problem.endswith(" is nan; the weights after step 4 are kept on the source in out")
    assert [entry for entry in job.written if entry[1] != 9] == [(4, KEPT_TOKEN)]
    assert reports(job, FinishedReport) == []


def test_a_job_that_fails_before_anything_was_copied_keeps_nothing():
    verdict = failing(committed=-1).run().verdict
    assert verdict is not None
    assert verdict.problem == "the loss of step 7, micro-batch 0 is nan"


def test_a_job_that_fails_keeps_what_it_went_on_from():
    job = Miniature(pipeline(2, 4), make_spec(2, steps=9, samples=72), version=5)
    job.losses = lambda work: float("inf") if work.version == 6 else 1.0
    verdict = job.run().verdict
    assert verdict is not None
    assert verdict.problem.endswith(" is inf; the weights after step 5 are kept on the source in out")
    assert job.written == [(5, KEPT_TOKEN)]


def test_copies_that_are_lost_as_well_are_told():
    job = failing(committed=3)
    verdict = job.run().verdict
    assert verdict is not None
    assert re.search(" is nan; the weights after step 3 are lost: .* does not hold layer [012]$", verdict.problem)
    assert job.written == []


def test_what_was_let_go_for_a_newer_version_is_brought_home_at_that_one():
    feeding = Feeding(pipeline(2, 4), make_spec(2, steps=9), SOURCE, 4, LEADER, lambda: ())
    feeding.handle(TimerFired(), 0.0)

    def asked(version: int) -> list[SendMessage]:
        return [SendMessage(hop, WantSnapshot(STAMP, at, at, version)) for at, hop in enumerate((SOURCE, node(1)))]

    failed = MessageReceived(SOURCE, WorkFailed(STAMP, "out of memory", final=True, peer=SOURCE))
    assert feeding.handle(failed, 0.1) == asked(4)
    let_go = MessageReceived(node(1), Refused(STAMP.job, "node1 does not hold layer 1 at version 4", 4))
    assert feeding.handle(let_go, 0.2) == []  # the word of what is kept instead is on its way
    assert feeding.handle(MessageReceived(LEADER, Committed(STAMP, 6, 1, (), "")), 0.3) == []
    assert feeding.handle(let_go, 1.1) == asked(6)
    for at, hop in enumerate((SOURCE, node(1))):
        effects = feeding.handle(ParcelArrived(hop, StateParcel(STAMP, at, at, 6, (), b"", replica=False)), 1.2)
    assert effects == [WriteWeights(STAMP, 6, KEPT_TOKEN)]


def test_what_is_kept_of_a_failed_job_is_written_when_there_is_room():
    feeding = Feeding(pipeline(1, 4), make_spec(1, steps=2), SOURCE, 1, LEADER, lambda: ())
    feeding.handle(TimerFired(), 0.0)
    failed = MessageReceived(SOURCE, WorkFailed(STAMP, "out of memory", final=True, peer=SOURCE))
    assert feeding.handle(failed, 0.1) == [SendMessage(SOURCE, WantSnapshot(STAMP, 0, 0, 1))]
    assert feeding.handle(MessageReceived(SOURCE, Refused(STAMP.job, "an export came too late", 2)), 0.2) == []
    assert feeding.handle(MessageReceived(LEADER, Committed(STAMP, 2, 1, (), "")), 0.3) == []
    parcel = StateParcel(STAMP, 0, 0, 1, (), b"", replica=False)
    assert feeding.handle(ParcelArrived(SOURCE, parcel), 0.4) == [WriteWeights(STAMP, 1, KEPT_TOKEN)]
    _, told = feeding.handle(WeightsWritten(STAMP, KEPT_TOKEN, "out", "", "the disk is full"), 0.5)
    text = "out of memory; the weights after step 1 cannot be written, which is tried again: the disk is full"
    assert told == SendMessage(LEADER, Unwritten(STAMP, 1, text))
    assert feeding.handle(TimerFired(), 5.4) == []
    assert feeding.deadline() == 5.5
    assert feeding.handle(TimerFired(), 5.5) == [WriteWeights(STAMP, 1, KEPT_TOKEN)]
    verdict = JobDone(STAMP, 1, "out of memory; the weights after step 1 are kept on the source in out")
    assert feeding.handle(WeightsWritten(STAMP, KEPT_TOKEN, "out", "sha", ""), 6.0) == [SendMessage(LEADER, verdict)]
    feeding.check()


def failed_at(version: int) -> Feeding:
    """One hop; the job fails, and its copy of this version has been asked for."""
    feeding = Feeding(pipeline(1, 4), make_spec(1, steps=9), SOURCE, version, LEADER, lambda: ())
    feeding.handle(TimerFired(), 0.0)
    failed = MessageReceived(SOURCE, WorkFailed(STAMP, "out of memory", final=True, peer=SOURCE))
    assert feeding.handle(failed, 0.1) == [SendMessage(SOURCE, WantSnapshot(STAMP, 0, 0, version))]
    return feeding


def test_weights_of_a_failing_job_that_the_source_cannot_take_are_lost_and_the_job_ends():
    feeding = failed_at(4)
    assert feeding.fail("inputs that nobody expects", 0.2) == []
    lost = "out of memory; the weights after step 4 are lost: layer 0 at version 4 cannot be taken"
    ended = [SendMessage(LEADER, JobDone(STAMP, 4, lost))]
    assert feeding.cannot_take("layer 0 at version 4 cannot be taken", 0.3) == ended
    assert feeding.cannot_take("another", 0.4) == []


def test_a_result_that_the_source_cannot_take_fails_the_job_with_what_was_copied():
    feeding = Feeding(pipeline(1, 4), make_spec(1, steps=2), SOURCE, 2, LEADER, lambda: ())
    feeding.handle(TimerFired(), 0.0)
    assert feeding.cannot_take("too large", 0.1) == [SendMessage(SOURCE, WantSnapshot(STAMP, 0, 0, 2))]


def test_an_export_that_the_source_cannot_take_is_given_up_and_the_job_goes_on():
    feeding = Feeding(pipeline(1, 4), make_spec(1, steps=9), SOURCE, 4, LEADER, lambda: ())
    feeding.handle(TimerFired(), 0.0)
    feeding.handle(ExportAsked(STAMP.job, 7), 0.1)
    log, written = feeding.cannot_take("layer 0 at version 5 cannot be taken", 0.2)
    assert (log.level, written.token) == ("warning", 7), (
        "what is not complete is not written, and whoever asked hears it"
    )
    assert feeding.exports == ()
    assert [type(e) for e in feeding.handle(ExportAsked(STAMP.job, 8), 0.3)] == [SendMessage]


def test_an_export_of_a_failing_job_gets_what_is_kept():
    feeding = failed_at(4)
    assert feeding.handle(ExportAsked(STAMP.job, 7), 0.2) == []
    parcel = StateParcel(STAMP, 0, 0, 4, (), b"", replica=False)
    both = [WriteWeights(STAMP, 4, KEPT_TOKEN), WriteWeights(STAMP, 4, 7)]
    assert feeding.handle(ParcelArrived(SOURCE, parcel), 0.3) == both
    feeding.handle(WeightsWritten(STAMP, KEPT_TOKEN, "out", "", "the disk is full"), 0.4)
    assert feeding.handle(ExportAsked(STAMP.job, 8), 0.5) == [WriteWeights(STAMP, 4, 8)]
    assert feeding.handle(TimerFired(), 5.4) == [WriteWeights(STAMP, 4, KEPT_TOKEN)]


def test_an_export_that_was_owed_when_the_job_failed_gets_what_is_kept():
    feeding = Feeding(pipeline(1, 4), make_spec(1, steps=9), SOURCE, 4, LEADER, lambda: ())
    feeding.handle(TimerFired(), 0.0)
    feeding.handle(ExportAsked(STAMP.job, 7), 0.1)
    feeding.handle(MessageReceived(SOURCE, WorkFailed(STAMP, "out of memory", final=True, peer=SOURCE)), 0.2)
    assert feeding.exports == (7,)
    parcel = StateParcel(STAMP, 0, 0, 4, (), b"", replica=False)
    effects = feeding.handle(ParcelArrived(SOURCE, parcel), 0.3)
    assert effects == [WriteWeights(STAMP, 4, 7), WriteWeights(STAMP, 4, KEPT_TOKEN)]


def test_a_refusal_that_comes_when_all_is_here_changes_nothing():
    feeding = failed_at(4)
    feeding.handle(ParcelArrived(SOURCE, StateParcel(STAMP, 0, 0, 4, (), b"", replica=False)), 0.2)
    feeding.handle(MessageReceived(LEADER, Committed(STAMP, 8, 4, (), "")), 0.3)
    late = MessageReceived(SOURCE, Refused(STAMP.job, "it is not here yet", 4))
    assert feeding.handle(late, 0.4) == []
    assert feeding.handle(late, 9.0) == []


def test_what_is_not_of_this_plan_changes_nothing():
    feeding = Feeding(pipeline(1, 4), make_spec(1, steps=2), SOURCE, 0, LEADER, lambda: ())
    feeding.handle(TimerFired(), 0.0)
    other = Stamp(STAMP.job, 1, 0)
    work = Work(0, Phase.TRAIN, 0)
    for message in (
        Taken(other, work),
        Result(other, work, 1.0, ()),
        WorkFailed(other, "old", final=True, peer=SOURCE),
        Refused(JobId("x"), ""),
    ):
        assert feeding.handle(MessageReceived(SOURCE, message), 0.1) == []
    assert (
        feeding.handle(MessageReceived(node(9), WorkFailed(STAMP, "who says so?", final=True, peer=SOURCE)), 0.1) == []
    )
    assert feeding.step == 0


# ------------------------------------------------------------------------------------------- draining, silence


def told(job: Miniature, kind: type) -> list:
    return [message for to, message in job.messages if to == LEADER and isinstance(message, kind)]


@pytest.mark.parametrize("loss", [0.0, 0.3])
@pytest.mark.parametrize("at", [0.0, 5.5, 14.0, 33.3])
def test_a_drained_plan_comes_to_stand_with_all_hops_between_two_steps(loss, at):
    spec = make_spec(3, steps=40, samples=32, batch_size=8, epochs=10, eval_samples=9)
    job = Miniature(pipeline(3, 4), spec, loss=loss, delay=lambda: 0.3)
    job.hear(Drain(STAMP), at=at)
    job.run_until(at + 100.0)
    drained, *again = told(job, Drained)
    assert set(again) == {drained}
    assert drained.version < 40
    assert {schedule.version for schedule in job.schedules.values()} == {drained.version}
    assert all(schedule.standing() for schedule in job.schedules.values())
    assert all(count == 0 for count in job.flight.values())
    said = len(again)
    job.run_until(job.now + 3.0)  # who asked may lead no more
    assert 5 <= len(told(job, Drained)[said:]) <= 8
    assert told(job, Stuck) == []


def test_a_drain_of_what_has_fed_its_last_step_lets_it_finish():
    job = Miniature(pipeline(2, 4), make_spec(2, steps=1), delay=lambda: 0.3)
    job.hear(Drain(STAMP), at=4.0)
    assert_whole(job.run())
    assert told(job, Drained) == []


def test_a_drain_of_another_plan_is_none():
    job = Miniature(pipeline(2, 4), make_spec(2, steps=6))
    job.hear(Drain(Stamp(STAMP.job, 9, 9)), at=1.0)
    assert_whole(job.run())


def test_a_node_that_says_nothing_while_nothing_moves_is_told_to_the_leader():
    job = Miniature(pipeline(3, 4), make_spec(3, steps=30))
    job.silence(node(1), at=20.0)
    job.run_until(80.0)
    assert {stuck.node for stuck in told(job, Stuck)} == {node(1)}


@pytest.mark.parametrize("hung", [0, 1, 2])
def test_a_node_whose_computation_never_ends_is_told_to_the_leader_though_it_answers(hung):
    def seconds(effect):
        return 1e9 if isinstance(effect, RunBackward) and (effect.hop, effect.work.version) == (hung, 3) else 1.0

    job = Miniature(pipeline(3, 4), make_spec(3, steps=30), seconds=seconds)
    job.run_until(40.0)
    assert told(job, Stuck) == []
    job.run_until(300.0)
    assert {stuck.node for stuck in told(job, Stuck)} == {node(hung)}


def test_nobody_is_stuck_who_is_slow():
    def seconds(effect):
        if not isinstance(effect, RunForward | RunBackward):
            return 10.0
        first = effect.work.micro_batch == 0
        return (500.0 if effect.work.version == 0 else 300.0) if first else 100.0

    spec = make_spec(3, steps=3)
    job = Miniature(pipeline(3, 4), spec, seconds=seconds)
    assert_whole(job.run())
    assert told(job, Stuck) == []


def test_a_source_that_was_away_calls_nobody_stuck():
    feeding = Feeding(pipeline(2, 4), make_spec(2, steps=2), SOURCE, 0, LEADER, lambda: ())
    feeding.handle(TimerFired(), 0.0)
    feeding.handle(LoopWasLate(60.0), 60.0)
    assert not [e for e in feeding.handle(TimerFired(), 61.0) if isinstance(e.message, Stuck)]
    assert [e for e in feeding.handle(TimerFired(), 63.0) if isinstance(e.message, Stuck)]


def test_a_failure_that_another_plan_may_mend_does_not_end_the_job():
    feeding = Feeding(pipeline(1, 4), make_spec(1, steps=2), SOURCE, 0, LEADER, lambda: ())
    feeding.handle(TimerFired(), 0.0)
    feeding.handle(MessageReceived(SOURCE, WorkFailed(STAMP, "a link broke", final=False, peer=node(1))), 0.1)
    assert not [e for e in feeding.handle(TimerFired(), 1.0) if isinstance(e.message, JobDone)]


@st.composite
def jobs(draw):
    micro_batches = draw(st.integers(1, 5))
    routes = draw(st.integers(1, 2))
    layers = draw(st.integers(1, 5))
    cuts = sorted(draw(st.sets(st.integers(1, layers - 1)))) if layers > 1 else []
    bounds = list(zip([0, *cuts], [*cuts, layers], strict=True))
    nodes = [draw(st.integers(0, 4)) for _ in bounds]
    made = [
        tuple((n, b - a, draw(st.integers(1, 4))) for n, (a, b) in zip(nodes, bounds, strict=True))
        for _ in range(routes)
    ]
    plan = make_plan(*made, layers=layers, micro_batches=micro_batches)
    steps = draw(st.integers(1, 5))
    size = draw(st.integers(1, 2))
    batch = size * micro_batches + draw(st.integers(0, micro_batches - 1))
    spec = make_spec(
        layers,
        steps=steps * 2,
        micro_batches=micro_batches,
        batch_size=batch,
        samples=batch * (steps - 1) + draw(st.integers(1, batch)),
        epochs=2,
        eval_samples=draw(st.integers(0, 9)),
        clips=draw(st.booleans()),
    )
    return plan, spec


@settings(max_examples=80)
@given(jobs(), st.integers(0, 2**32), st.sampled_from([0.0, 0.1, 0.4]))
def test_any_plan_with_any_timing_runs_to_its_end(made, seed, loss):
    plan, spec = made
    times = random.Random(seed)
    job = Miniature(
        plan,
        spec,
        loss=loss,
        seed=seed,
        delay=lambda: times.choice([0.0, 0.1, times.expovariate(1.0)]),
        seconds=lambda _: times.choice([0.0, 0.1, times.expovariate(1.0)]),
    )
    job.export(5, at=times.uniform(0, 10))
    job.run()
    assert_whole(job)
    assert [report.step for report in reports(job, StepReport)] == list(range(1, spec.steps + 1))
    evaluations = [report.step for report in reports(job, EvalReport)]
    assert evaluations == ([spec.steps // 2, spec.steps] if spec.eval_samples else [])
