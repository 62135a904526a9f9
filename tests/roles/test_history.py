"""Stories of jobs: complete, in order, each thing once."""

from edged.core.ids import NodeId, Stamp
from edged.core.messages import EvalReport, FinishedReport, RecoveryReport, StepReport
from edged.core.plan import Hop, Plan, Route
from edged.roles import history
from edged.roles.history import History
from tests.roles.conftest import spec_of

SPEC = spec_of()
STAMP = Stamp(SPEC.job, 1, 1)
PLAN = Plan(STAMP, "pipeline", "because", 2, 2, (Route((Hop(NodeId("a"), 0, 1, 2),), (0, 1)),), 0.5)


def step(number: int, stamp: Stamp = STAMP) -> StepReport:
    return StepReport(stamp, number, 0, 1.0 / number, 10.0, 0.05)


def test_a_story_has_the_promised_objects() -> None:
    told = History()
    told.started(SPEC)
    assert told.planned(PLAN, {NodeId("a"): "desk"})
    told.step(step(1))
    told.evaluated(EvalReport(STAMP, 1, 0, 0.5, (("accuracy", 0.9),)))
    told.finished(FinishedReport(STAMP, 1, 1.0, 2.0, "/out", "abc"))
    assert told.story(SPEC.job).ended
    assert told.story(SPEC.job).objects == [
        {"event": "started", "job": SPEC.job, "name": "tiny", "layers": 2, "parameters": 25, "steps": 4},
        {
            "event": "plan",
            "term": 1,
            "version": 1,
            "strategy": "pipeline",
            "reason": "because",
            "predicted_step_seconds": 0.5,
            "routes": [
                {
                    "hops": [{"node": "a", "name": "desk", "first_layer": 0, "last_layer": 1}],
                    "micro_batches": [0, 1],
                }
            ],
        },
        {"event": "step", "step": 1, "epoch": 0, "loss": 1.0, "samples_per_second": 10.0, "learning_rate": 0.05},
        {"event": "eval", "epoch": 0, "loss": 0.5, "metrics": {"accuracy": 0.9}},
        {"event": "finished", "steps": 1, "loss": 1.0, "seconds": 2.0, "output": "/out", "state_sha256": "abc"},
    ]


def test_what_is_repeated_is_told_once_but_a_step_done_again_is_told_again() -> None:
    told = History()
    for _ in range(2):
        told.started(SPEC)
        told.planned(PLAN, {})
        told.step(step(1))
    told.step(step(1, Stamp(SPEC.job, 1, 2)))
    assert [item["event"] for item in told.story(SPEC.job).objects] == ["started", "plan", "step", "step"]


def test_nothing_follows_an_end() -> None:
    told = History()
    told.failed(SPEC.job, "node b died")
    told.step(step(1))
    told.failed(SPEC.job, "again")
    assert told.story(SPEC.job).objects == [{"event": "failed", "reason": "node b died"}]


def test_followers_hear_until_they_stop() -> None:
    told, heard = History(), []
    stop = told.story(SPEC.job).follow(heard.append)
    told.step(step(1))
    stop()
    told.step(step(2))
    assert [item["step"] for item in heard] == [1]
    newest = told.story(SPEC.job).newest("step")
    assert newest is not None
    assert newest["step"] == 2
    assert told.story(SPEC.job).newest("eval") is None


def test_long_stories_are_thinned_out_and_old_jobs_are_forgotten(monkeypatch) -> None:
    monkeypatch.setattr(history, "KEPT_OBJECTS", 100)
    monkeypatch.setattr(history, "KEPT_OF_THE_PAST", 10)
    monkeypatch.setattr(history, "KEPT_JOBS", 3)
    told = History()
    told.started(SPEC)
    for number in range(1, 3001):
        told.step(step(number))
        told.evaluated(EvalReport(STAMP, number, number, 0.5, ()))
    story = told.story(SPEC.job)
    assert len(story.objects) <= 100
    assert story.objects[0]["event"] == "started"
    assert story.objects[-2]["step"] == 3000
    steps = [item["step"] for item in story.objects if item["event"] == "step"]
    assert steps == sorted(set(steps))
    assert steps[0] < 1500
    assert len(story._latest) == 3
    told.started(spec_of("a1"))
    told.failed(spec_of("b1").job, "x")
    told.started(spec_of("c1"))
    assert set(told._stories) == {SPEC.job, "a1", "c1"}
    told.failed(spec_of("a1").job, "x")
    told.failed(SPEC.job, "enough")
    told.story(SPEC.job).thin(10)
    assert len(story.objects) <= 10
    assert story.objects[-1]["event"] == "failed"


def test_a_recovery_has_the_promised_fields_and_is_told_once() -> None:
    told = History()
    second = Stamp(SPEC.job, 1, 2)
    report = RecoveryReport(second, "died", (NodeId("b"),), 2, 1, 0.8, 512, "pi-4 died; no step lost")
    assert told.recovered(report)
    assert not told.recovered(report)
    assert told.story(SPEC.job).objects == [
        {
            "event": "recovery",
            "cause": "died",
            "nodes": ["b"],
            "rolled_back_to": 2,
            "pause_seconds": 0.8,
            "moved_bytes": 512,
            "text": "pi-4 died; no step lost",
        }
    ]


def test_a_late_step_of_the_plan_before_is_no_news() -> None:
    told = History()
    assert told.step(step(3))
    assert told.step(step(3, Stamp(SPEC.job, 1, 2)))
    assert not told.step(step(4))


def test_the_same_wait_is_told_again_only_after_something_went_on() -> None:
    told = History()
    assert told.waiting(SPEC.job, "no data")
    assert not told.waiting(SPEC.job, "no data")
    told.step(step(1))
    assert told.waiting(SPEC.job, "no data")
    assert [item["event"] for item in told.story(SPEC.job).objects] == ["waiting", "step", "waiting"]
