"""What the fence admits and drops."""

from __future__ import annotations

import pytest

from edged.core.fence import MOST_JOBS, Fence
from edged.core.ids import JobId, NodeId, Stamp
from edged.core.job import Phase, Work
from edged.core.messages import (
    Activation,
    Boundary,
    Committed,
    Drain,
    Drained,
    End,
    EvalReport,
    FinishedReport,
    Gradient,
    GradientNorms,
    Halt,
    Held,
    Inputs,
    Inventory,
    JobDone,
    JobState,
    Ping,
    Prepared,
    ProgramParcel,
    RecoveryReport,
    Result,
    Start,
    StateParcel,
    StepReport,
    Stuck,
    Taken,
    Unwritten,
    Updated,
    WantProgress,
    WantSnapshot,
    WantState,
    WorkFailed,
)

JOB = JobId("job")
WORK = Work(0, Phase.TRAIN, 0)


def stamp(term: int, version: int) -> Stamp:
    return Stamp(JOB, term, version)


OWN = [
    lambda s: Inputs(s, 0, 0, WORK, ()),
    lambda s: Activation(s, 0, 1, WORK, (), ()),
    lambda s: Gradient(s, 0, 0, WORK, ()),
    lambda s: StateParcel(s, 0, 1, 0, (), b"", replica=False),
    lambda s: StateParcel(s, 0, 1, 0, (), b"", replica=True),
    lambda s: Taken(s, WORK),
    lambda s: Result(s, WORK, 1.0, ()),
    lambda s: Updated(s, 0, 0, 1, 0.0, 0.1),
    lambda s: GradientNorms(s, 1, (), again=False, skip=False),
    lambda s: WantProgress(s, 0, WORK),
    lambda s: Boundary(s, 3),
]
VERDICTS = [
    lambda s: WantState(s, 0, 1, 0),
    lambda s: Prepared(s, ""),
    lambda s: WorkFailed(s, "why", final=True, peer=NodeId("x")),
    lambda s: JobDone(s, 3, ""),
    lambda s: Unwritten(s, 3, "full"),
    lambda s: WantSnapshot(s, 0, 1, 4),
    lambda s: Inventory(s, (), program=False, data=False),
    lambda s: Held(s, 0, 1, 4, 0.0, 10),
    lambda s: Committed(s, 4, 16, (), ""),
    Drain,
    lambda s: Drained(s, 4),
    lambda s: Stuck(s, NodeId("x")),
]
REPORTS = [
    lambda s: StepReport(s, 1, 0, 1.0, 1.0, 0.1),
    lambda s: EvalReport(s, 1, 0, 1.0, ()),
    lambda s: FinishedReport(s, 1, 1.0, 1.0, "out", "sha"),
    lambda s: RecoveryReport(s, "died", (), 0, 0, 1.0, 0, "what happened"),
]
ALL = OWN + VERDICTS + REPORTS


@pytest.mark.parametrize("make", ALL)
def test_traffic_of_the_newest_plan_passes(make):
    fence = Fence()
    assert fence.learn(stamp(2, 3))
    assert fence.refusal(make(stamp(2, 3))) == ""


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize("older", [stamp(2, 2), stamp(1, 9)])
def test_traffic_of_an_older_plan_is_dropped_with_the_reason(make, older):
    fence = Fence()
    fence.learn(stamp(2, 3))
    assert fence.refusal(make(older)) == (
        f"{type(make(older)).__name__} of plan ({older.term}, {older.version}) of job job dropped: "
        "plan (2, 3) has replaced it"
    )


@pytest.mark.parametrize("make", OWN)
def test_a_plans_own_traffic_ahead_of_what_is_known_is_dropped(make):
    fence = Fence()
    assert "no plan of this job" in fence.refusal(make(stamp(1, 1)))
    fence.learn(stamp(1, 1))
    assert "the newest known is (1, 1)" in fence.refusal(make(stamp(1, 2)))


@pytest.mark.parametrize("make", VERDICTS + REPORTS)
def test_questions_and_reports_may_come_before_their_plan(make):
    fence = Fence()
    assert fence.refusal(make(stamp(1, 1))) == ""
    fence.learn(stamp(1, 1))
    assert fence.refusal(make(stamp(2, 1))) == ""


@pytest.mark.parametrize("make", OWN + VERDICTS)
def test_nothing_of_an_ended_plan_passes_but_reports(make):
    fence = Fence()
    fence.close(stamp(1, 1))
    assert "is over" in fence.refusal(make(stamp(1, 1)))
    assert fence.refusal(REPORTS[0](stamp(1, 1))) == ""
    fence.check()


def test_an_ended_plan_cannot_be_learnt_again_but_a_newer_one_can():
    fence = Fence()
    fence.close(stamp(1, 1))
    assert not fence.learn(stamp(1, 1))
    assert fence.learn(stamp(1, 2))
    assert fence.refusal(OWN[0](stamp(1, 2))) == ""
    fence.check()


def test_the_end_of_an_older_plan_does_not_close_the_newer():
    fence = Fence()
    fence.learn(stamp(2, 1))
    fence.close(stamp(1, 7))
    assert fence.refusal(OWN[0](stamp(2, 1))) == ""
    assert not fence.learn(stamp(1, 7))


def test_jobs_do_not_touch_each_other():
    fence = Fence()
    fence.learn(stamp(5, 5))
    other = Stamp(JobId("other"), 1, 1)
    fence.learn(other)
    assert fence.refusal(OWN[0](other)) == ""


def test_jobs_of_long_ago_are_forgotten():
    fence = Fence()
    for number in range(2 * MOST_JOBS):
        fence.close(Stamp(JobId(str(number)), 1, 1))
    fence.check()
    assert len(fence._highest) == len(fence._over) == MOST_JOBS
    assert not fence.learn(Stamp(JobId(str(2 * MOST_JOBS - 1)), 1, 1))


@pytest.mark.parametrize(
    "message",
    [
        Ping(1, NodeId("x"), ()),
        ProgramParcel(JOB, 5),
        Start(stamp(0, 0), 1, 0, (), ""),
        Halt(stamp(0, 0)),
        End(stamp(0, 0), JobState.FAILED, "why"),
    ],
)
def test_what_carries_no_stamp_and_what_the_leader_says_is_not_judged_here(message):
    fence = Fence()
    fence.learn(stamp(1, 1))
    assert fence.refusal(message) == ""
