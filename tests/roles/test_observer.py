"""The observer and the status object made from it."""

import json
from dataclasses import replace

import pytest

from edged.core.effects import Log, TellLeader, TellLineage, TellMember
from edged.core.events import JobSubmitted, MessageReceived, StagesBuilt, TimerFired, UpdateDone
from edged.core.ids import JobId, NodeId, Stamp
from edged.core.messages import (
    TRIED_AGAIN,
    Decided,
    End,
    EvalReport,
    FinishedReport,
    JobRecord,
    JobState,
    LinkReport,
    Lying,
    MemberState,
    NodeReport,
    PlanChosen,
    Prepare,
    RecoveryReport,
    StepReport,
)
from edged.core.plan import Hop, Plan, Route
from edged.roles.history import KEPT_JOBS
from edged.roles.observer import Observer
from edged.roles.status import job_document, status_document
from edged.transport.contacts import Reason, Unmet
from tests.roles.conftest import record_of, spec_of

OWN, PEER = NodeId("a" * 16), NodeId("b" * 16)
SPEC = spec_of()
STAMP = Stamp(SPEC.job, 1, 1)
PLAN = Plan(STAMP, "pipeline", "two devices", 2, 2, (Route((Hop(OWN, 0, 0, 2), Hop(PEER, 1, 1, 2)), (0, 1)),), 0.5)


class Stage:
    """An observer with a job list and a clock that the test sets."""

    def __init__(self) -> None:
        self.records: dict = {}
        self.now = 0.0
        self.observer = Observer(record_of(OWN, "desk"), lambda: self.records, clock=lambda: self.now)

    def do(self, effect) -> None:
        self.observer.table()[type(effect)](effect)

    def hear(self, message, sender: NodeId = PEER) -> None:
        self.observer.watch(MessageReceived(sender, message))

    def job(self, state: JobState, reason: str = "", step: int = 0) -> None:
        self.records[SPEC.job] = JobRecord(SPEC.job, SPEC.name, SPEC.source, state, step, SPEC.steps, reason)

    def status(self) -> dict:
        return json.loads(json.dumps(status_document(self.observer, "home")))

    def story(self) -> list:
        return list(self.observer.history.story(SPEC.job).objects)

    def words(self) -> list[str]:
        return [text for _, text in self.observer.events]


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.do(TellMember(record_of(PEER, "pi-4"), None, "joined"))
    stage.do(TellLeader(PEER, 3))
    return stage


def test_an_idle_node_has_the_promised_fields(stage: Stage) -> None:
    status = stage.status()
    assert {key: status[key] for key in ("cluster", "node", "name", "term", "leader", "job", "plan")} == {
        "cluster": "home",
        "node": OWN,
        "name": "desk",
        "term": 3,
        "leader": PEER,
        "job": None,
        "plan": None,
    }
    desk, pi = status["members"]
    assert (desk["name"], desk["address"], desk["state"]) == ("desk", "tcp://127.0.0.1:7003", "alive")
    assert (pi["roles"], pi["layers"], pi["weight_version"], pi["replicas"]) == (["leader"], None, None, [])
    assert status["view"]["waiting"] == ""


def test_a_running_job_shows_who_does_what(stage: Stage) -> None:
    stage.job(JobState.RUNNING, step=1)
    stage.hear(PlanChosen(PLAN, SPEC))
    stage.hear(StepReport(STAMP, 1, 0, 2.5, 100.0, 0.05))
    stage.hear(StepReport(STAMP, 2, 0, 2.0, 80.0, 0.05))
    stage.hear(NodeReport(1, 1, 1, 2, 0.75, 0.004, 1234, (LinkReport(OWN, 0.001, 5e6, 0.002, 1e7),), SPEC.job, 3.0))
    status = stage.status()
    desk, pi = status["members"]
    assert (desk["roles"], desk["layers"]) == (["source", "worker"], [0, 0])
    assert (pi["roles"], pi["layers"], pi["weight_version"]) == (["leader", "worker"], [1, 1], 2)
    assert (pi["busy"], pi["micro_batch_seconds"], pi["resident_bytes"]) == (0.75, 0.004, 1234)
    assert pi["links"] == {
        OWN: {
            "round_trip_seconds": 0.001,
            "bytes_per_second": 5e6,
            "latency_seconds": 0.002,
            "bandwidth_bytes_per_second": 1e7,
        }
    }
    assert pi["slowness"] == 3.0 * SPEC.source_slowness
    assert status["job"]["step"] == 2
    assert status["plan"]["routes"][0]["hops"][1]["name"] == "pi-4"
    assert status["view"]["loss"] == [[1, 2.5], [2, 2.0]]
    assert status["view"]["seconds_left"] == 2 * 8 / 80.0
    assert [item["event"] for item in stage.story()] == ["started", "plan", "step", "step"]


def test_what_was_decided_on_a_plan_is_told_once_and_shown_with_its_age(stage: Stage) -> None:
    stage.job(JobState.RUNNING, step=1)
    stage.hear(PlanChosen(PLAN, SPEC))
    assert stage.status()["plan"]["decision"] is None
    kept = Decided(
        STAMP,
        replace(STAMP, version=4),
        changes=False,
        text="kept: the best other plan gains 3 %, moving costs 40 steps",
        step_seconds=1.25,
    )
    for message in (kept, kept, replace(kept, asked=replace(STAMP, version=3), text="older")):
        stage.hear(message)
    stage.now = 2.5
    assert stage.status()["plan"]["decision"] == {
        "text": kept.text,
        "age_seconds": 2.5,
        "predicted_step_seconds": 1.25,
    }
    assert stage.words()[-1] == kept.text
    assert [item for item in stage.story() if item["event"] == "decision"] == [
        {"event": "decision", "changes": False, "text": kept.text, "predicted_step_seconds": 1.25}
    ]


def test_a_running_job_shows_what_it_sends_over_each_link(stage: Stage) -> None:
    assert stage.status()["traffic"] == []
    stage.job(JobState.RUNNING)
    stage.hear(PlanChosen(PLAN, SPEC))
    each = SPEC.layers[0].crossing_bytes * 2
    sent = {"sender": OWN, "receiver": PEER, "bytes_per_step": each, "bytes_per_second": None}
    back = {**sent, "sender": PEER, "receiver": OWN}
    assert stage.status()["traffic"] == [sent, back]
    stage.hear(StepReport(STAMP, 1, 0, 0.5, 3.0 * SPEC.batch_size, 0.1))
    assert [link["bytes_per_second"] for link in stage.status()["traffic"]] == [3.0 * each, 3.0 * each]
    stage.job(JobState.PAUSED)
    assert stage.status()["traffic"] == []


def test_whom_this_node_does_not_see_is_told_with_the_reason(stage: Stage) -> None:
    stage.observer.contacts.add(Unmet(Reason.MULTICAST, "", "deaf"))
    stage.observer.contacts.add(Unmet(Reason.KEY, "10.0.0.1:7077", "another key"))
    key = {"reason": "key", "address": "10.0.0.1:7077", "text": "another key"}
    assert stage.status()["unmet"] == [key]  # who sees one node is not alone
    stage.do(TellMember(record_of(PEER, "pi-4", MemberState.DEAD), MemberState.ALIVE, ""))
    assert stage.status()["unmet"] == [key, {"reason": "multicast", "address": "", "text": "deaf"}]


def test_evaluation_and_result_are_told_in_words(stage: Stage) -> None:
    stage.hear(EvalReport(STAMP, 2, 0, 0.25, (("accuracy", 0.9750001),)))
    stage.hear(FinishedReport(STAMP, 4, 0.5, 9.0, "/out", "abc"))
    stage.hear(FinishedReport(STAMP, 4, 0.5, 9.0, "/out", "abc"))
    assert stage.words()[-2:] == ["epoch 1: evaluation loss 0.25, accuracy 0.975", "finished after 4 steps, loss 0.5"]


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.STOPPED])
def test_a_job_that_the_list_calls_over_is_over(stage: Stage, state: JobState) -> None:
    stage.job(state, "node pi-4 died")
    stage.hear(End(STAMP, state, "node pi-4 died"))
    assert stage.story() == [{"event": "failed", "reason": "node pi-4 died"}]
    stage.observer.settle()
    assert len(stage.story()) == 1


@pytest.mark.parametrize("there_before", [True, False])
def test_the_end_of_a_job_is_told_to_who_saw_it_run_and_to_no_newcomer(stage: Stage, there_before: bool) -> None:
    if there_before:
        stage.job(JobState.QUEUED)
        stage.observer.settle()
    stage.job(JobState.STOPPED, "stopped by its user")
    stage.observer.settle()
    assert [words for words in stage.words() if "stopped" in words] == (
        [f"job {SPEC.name} stopped: stopped by its user"] if there_before else []
    )
    assert stage.story() == [{"event": "failed", "reason": "stopped by its user"}]


def test_a_finished_job_waits_a_little_for_its_report(stage: Stage) -> None:
    stage.job(JobState.FINISHED)
    stage.observer.settle()
    stage.now = 2.9
    stage.observer.settle()
    assert stage.story() == []
    stage.now = 3.1
    stage.observer.settle()
    assert stage.story()[-1]["event"] == "finished"


def test_members_are_told_in_words_and_their_reports_forgotten(stage: Stage) -> None:
    stage.hear(NodeReport(1, 0, 0, 0, 0.5, 0.0, 1, (), JobId(""), 0.0))
    stage.do(TellMember(record_of(PEER, "pi-4", MemberState.SUSPECT), MemberState.ALIVE, "no answer for 0.3 s"))
    stage.do(TellMember(record_of(PEER, "pi-4"), MemberState.SUSPECT, ""))
    stage.do(TellMember(record_of(PEER, "pi-4"), MemberState.ALIVE, "measured"))
    stage.do(TellMember(record_of(PEER, "pi-4", MemberState.DEAD), MemberState.SUSPECT, "3 refused connects"))
    stage.do(TellMember(record_of(OWN, "desk"), None, "self"))
    expelled = replace(record_of(PEER, "pi-4", MemberState.DEAD), proven=True, expelled=True)
    stage.do(TellMember(expelled, MemberState.ALIVE, "it was expelled"))
    assert stage.words() == [
        "pi-4 is here",
        "pi-4 leads (term 3)",
        "pi-4 does not answer: no answer for 0.3 s",
        "pi-4 answers again",
        "pi-4 died: 3 refused connects",
        "pi-4 was expelled",
    ]
    assert stage.observer.reports == {}
    stage.hear(NodeReport(2, 0, 0, 0, 0.5, 0.0, 1, (), JobId(""), 0.0))
    assert stage.observer.reports == {}, "what it said while it went"
    assert stage.status()["members"][1]["roles"] == []


def test_who_waits_is_told_why(stage: Stage) -> None:
    stage.job(JobState.QUEUED, "needs 3 GB, there is 1 GB")
    assert stage.status()["view"]["waiting"] == "needs 3 GB, there is 1 GB"
    stage.do(Log("info", "election", "waiting: 1 of 3 members agree"))
    stage.do(TellLeader(None, 4))
    stage.do(TellLeader(None, 4))
    assert stage.status()["view"]["waiting"] == "1 of 3 members agree"
    stage.do(Log("warning", "election", "steps down: a majority of the voters does not answer"))
    assert stage.status()["view"]["waiting"] == "a majority of the voters does not answer"
    assert stage.words()[-1] == "no leader (term 4)"


def test_of_an_election_of_several_rounds_only_the_outcome_stays(stage: Stage) -> None:
    *before, _ = stage.words()  # the last: that another one leads
    for leader, term in ((None, 40), (None, 41), (stage.observer.own_id, 42)):
        stage.do(TellLeader(leader, term))
    assert stage.words() == [*before, "desk (this node) leads (term 42)"]
    stage.do(Log("warning", "feeding", "the feeder ended"))
    stage.do(TellLeader(None, 43))
    assert stage.words()[-3:] == ["desk (this node) leads (term 42)", "the feeder ended", "no leader (term 43)"]


def test_warnings_reach_the_live_view_and_news_of_little_weight_does_not(stage: Stage) -> None:
    before = len(stage.words())
    stage.do(Log("info", "feeding", "all is well"))
    stage.do(Log("warning", "feeding", "the feeder ended; it is started again"))
    assert stage.words()[before:] == ["the feeder ended; it is started again"]


def test_the_current_job_is_the_running_one_then_the_next_then_the_last(stage: Stage) -> None:
    assert stage.observer.current() is None
    for number, state in enumerate((JobState.FINISHED, JobState.QUEUED, JobState.RUNNING)):
        job = spec_of(str(number)).job
        stage.records[job] = JobRecord(job, f"job {number}", OWN, state, 0, 4, "")
    assert stage.observer.current().name == "job 2"
    del stage.records["2"]
    assert stage.observer.current().name == "job 1"
    del stage.records["1"]
    assert stage.observer.current().name == "job 0"
    assert job_document(stage.observer, stage.observer.current())["state"] == "finished"


def test_the_nodes_own_weight_version_is_followed(stage: Stage) -> None:
    stage.observer.watch(JobSubmitted(SPEC))
    stage.observer.watch(UpdateDone(STAMP, 7, 0.1, 0.05))
    assert stage.observer.weight_version == 7
    stage.observer.watch(StagesBuilt(STAMP, ""))
    stage.observer.watch(TimerFired())
    assert stage.observer.weight_version == 0
    assert stage.observer.name(None) == "nobody"
    assert stage.observer.name(NodeId("stranger")) == "stranger"


def test_what_was_learned_of_jobs_of_long_ago_is_forgotten() -> None:
    stage = Stage()
    for number in range(3 * KEPT_JOBS):
        spec = spec_of(f"{number:x}")
        stage.hear(PlanChosen(replace(PLAN, stamp=Stamp(spec.job, 1, 1)), spec))
        stage.hear(StepReport(Stamp(spec.job, 1, 1), 1, 0, 1.0, 10.0, 0.1))
    stage.observer.settle()
    seen = stage.observer
    assert len(seen.specs) == len(seen.plans) == len(seen.losses) == KEPT_JOBS


AGAIN = replace(PLAN, stamp=Stamp(SPEC.job, 1, 2))
RING = (Lying(0, 0, (OWN, PEER)), Lying(1, 1, (PEER, OWN)))


def test_steps_that_are_done_again_replace_those_that_were_rolled_back(stage: Stage) -> None:
    stage.job(JobState.RUNNING)
    for number in (1, 2, 3):
        stage.hear(StepReport(STAMP, number, 0, 3.0 - number, 80.0, 0.05))
    stage.hear(StepReport(AGAIN.stamp, 2, 0, 1.0, 80.0, 0.05))
    stage.hear(StepReport(STAMP, 4, 0, 9.0, 80.0, 0.05))
    status = stage.status()
    assert status["view"]["loss"] == [[1, 2.0], [2, 1.0]]
    assert status["job"]["step"] == 2
    assert [item["step"] for item in stage.story()] == [1, 2, 3, 2]


def test_a_recovery_is_told_in_words_once(stage: Stage) -> None:
    report = RecoveryReport(AGAIN.stamp, "died", (PEER,), 2, 1, 0.8, 512, "pi-4 died; its layer 1 came back")
    stage.hear(report)
    stage.hear(EvalReport(STAMP, 2, 0, 0.25, ()))
    stage.hear(report)
    assert stage.words().count("pi-4 died; its layer 1 came back") == 1


def test_an_evaluation_that_is_repeated_is_told_once(stage: Stage) -> None:
    for _ in range(2):
        stage.hear(EvalReport(STAMP, 2, 0, 0.25, ()))
        stage.hear(StepReport(STAMP, 3, 1, 1.0, 80.0, 0.05))
        stage.observer.tell("something else")
    assert [text for text in stage.words() if text.startswith("epoch")] == ["epoch 1: evaluation loss 0.25"]


def test_what_others_wrote_of_nodes_that_are_not_here_names_them_as_they_were_called() -> None:
    records = {}
    gone = NodeId("d" * 16)
    observer = Observer(record_of(OWN, "desk"), lambda: records, remembered={gone: "laptop", OWN: "old"})
    reason = f"the program was lost with node {gone}; nothing is known of {'c' * 16}"
    records[SPEC.job] = JobRecord(SPEC.job, SPEC.name, gone, JobState.WAITING, 2, SPEC.steps, reason)
    said = f"the program was lost with node laptop; nothing is known of {'c' * 16}"
    assert json.loads(json.dumps(status_document(observer, "home")))["job"]["reason"] == said
    assert (observer.name(gone), observer.name(OWN)) == ("laptop", "desk")
    observer.table()[Log](Log("warning", "jobs", f"job waits: {reason}"))
    assert observer.events[-1][1] == f"job waits: {said}"


@pytest.mark.parametrize("state", [JobState.PAUSED, JobState.WAITING])
def test_a_job_that_stands_is_not_over_and_says_why(stage: Stage, state: JobState) -> None:
    stage.job(state, "layer 1 was lost with node pi-4", step=2)
    stage.observer.settle()
    stage.observer.wait({})
    stage.observer.wait({})
    (waiting,) = stage.story()
    assert waiting["event"] == "waiting"
    why = waiting["reason"]
    assert ("edged resume" in why) if state is JobState.PAUSED else (why == "layer 1 was lost with node pi-4")
    assert stage.status()["view"]["waiting"] == why
    assert stage.words()[-1] == why
    assert stage.status()["job"]["state"] == state.name.lower()
    assert stage.status()["members"][0]["roles"] == ["source"]


def test_a_job_whose_weights_cannot_be_written_says_so_at_whatever_step(stage: Stage) -> None:
    stage.job(JobState.RUNNING, "pi-4 leaves; the step under way is finished first", step=2)
    assert stage.status()["view"]["waiting"] == ""
    why = f"the loss of step 3 is nan; the weights after step 2 {TRIED_AGAIN}: the disk is full"
    stage.job(JobState.RUNNING, why, step=2)
    assert stage.status()["view"]["waiting"] == why


def test_a_job_that_waits_is_the_current_one_and_a_paused_one_gives_way(stage: Stage) -> None:
    for number, state in enumerate((JobState.PAUSED, JobState.FINISHED, JobState.QUEUED, JobState.WAITING)):
        job = spec_of(str(number)).job
        stage.records[job] = JobRecord(job, f"job {number}", OWN, state, 0, 4, "")
    for number in (3, 2, 0, 1):
        assert stage.observer.current().name == f"job {number}"
        del stage.records[str(number)]


def test_an_equal_plan_of_another_leader_is_no_news(stage: Stage) -> None:
    stage.hear(PlanChosen(PLAN, SPEC))
    before = stage.words()
    again = replace(PLAN, stamp=Stamp(SPEC.job, PLAN.stamp.term + 1, 1))
    stage.hear(PlanChosen(again, SPEC))
    assert stage.words() == before
    stage.hear(PlanChosen(replace(again, stamp=Stamp(SPEC.job, PLAN.stamp.term + 1, 2), reason="without pi-4"), SPEC))
    assert stage.words() == [*before, "job tiny: without pi-4"]


def test_a_plan_that_goes_on_begins_with_its_version(stage: Stage) -> None:
    stage.hear(Prepare(AGAIN, SPEC, 7, OWN, ()))
    stage.observer.watch(StagesBuilt(AGAIN.stamp, ""))
    assert stage.observer.weight_version == 7
    stage.observer.watch(StagesBuilt(replace(STAMP, version=3), ""))
    assert stage.observer.weight_version == 0


def test_a_fork_is_told_when_it_begins_and_when_it_ends(stage: Stage) -> None:
    before = len(stage.words())
    for tentative in ("", "a fork: its results are tentative", "", ""):
        stage.do(TellLineage("0a", tentative, ""))
        assert (stage.status()["lineage"], stage.status()["tentative"]) == ("0a", tentative)
    assert stage.words()[before:] == ["a fork: its results are tentative", "no fork any more: the results count"]
