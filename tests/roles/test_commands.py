"""Commands that need no running job."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from edged.core.events import JobSubmitted, LeaveAsked, LinkLost, StopAsked
from edged.core.ids import JobId, NodeId
from edged.core.messages import JobRecord, JobState
from edged.errors import ConfigError, JobError
from edged.roles import commands
from edged.roles.commands import NodeCommands
from edged.roles.observer import Observer
from edged.roles.source import Source
from edged.roles.spool import Spool
from edged.telemetry.journal import Journal
from tests.roles.conftest import record_of, spec_of

OWN = NodeId("a" * 16)
SPEC = spec_of()


class Desk:
    """Commands over a job list that the test fills."""

    def __init__(self, home: Path) -> None:
        self.posted: list = []
        self.records: dict = {}
        self.observer = Observer(record_of(OWN, "desk"), lambda: self.records)
        self.journal = Journal(None)
        nothing = lambda *_: None  # noqa: E731
        worker = SimpleNamespace(load_program=nothing)
        self.source = Source(home, home / "s", None, worker, None, None, self.posted.append, nothing, nothing)
        self.taken: dict = {}
        self.commands = NodeCommands(
            "home", self.observer, self.source, self.journal, self.posted.append, None, self.taken.get
        )

    def job(self, state: JobState, source: NodeId = OWN) -> None:
        self.records[SPEC.job] = JobRecord(SPEC.job, SPEC.name, source, state, 4, SPEC.steps, "why")

    async def ask(self, command: str, **request: object):
        return await self.commands.answer(command, request)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


async def test_status_jobs_and_leave(desk: Desk) -> None:
    desk.job(JobState.RUNNING)
    assert (await desk.ask("status"))["name"] == "desk"
    assert [job["state"] for job in (await desk.ask("jobs"))["jobs"]] == ["running"]
    assert (await desk.ask("leave"))["name"] == "desk"
    assert desk.posted == [LeaveAsked()]
    assert await desk.ask("dance") is None


async def test_submitting_needs_a_spool_folder_of_this_node(desk: Desk, write_spool: Callable[..., Path]) -> None:
    with pytest.raises(JobError, match="edged train"):
        await desk.ask("submit", job=SPEC.job)
    with pytest.raises(ConfigError, match="'job'"):
        await desk.ask("submit")
    write_spool(SPEC)
    assert await desk.ask("submit", job=SPEC.job) == {"job": SPEC.job}
    assert desk.posted == [JobSubmitted(SPEC)]
    other = spec_of("112233445566", source=NodeId("b" * 16))
    write_spool(other)
    with pytest.raises(JobError, match="as its source"):
        await desk.ask("submit", job=other.job)


async def test_a_folder_with_another_job_in_it_is_refused(desk: Desk, write_spool: Callable[..., Path]) -> None:
    write_spool(SPEC).rename(desk.source._home / "jobs" / "1234")
    with pytest.raises(JobError, match="holds job"):
        await desk.ask("submit", job="1234")


async def test_stopping_by_name_waits_for_the_leaders_word_but_not_for_ever(desk: Desk, monkeypatch) -> None:
    monkeypatch.setattr(commands, "STOP_SECONDS", 0.02)
    desk.job(JobState.RUNNING)
    assert await desk.ask("stop", job="tiny", reason="enough") == {"job": SPEC.job, "state": "running"}
    assert desk.posted == [StopAsked(SPEC.job, "enough")]
    desk.job(JobState.FINISHED)
    assert await desk.ask("stop", job=SPEC.job) == {"job": SPEC.job, "state": "finished"}


@pytest.mark.parametrize(
    ("state", "source", "output", "error", "text"),
    [
        (JobState.RUNNING, OWN, "relative", ConfigError, "absolute"),
        (JobState.RUNNING, OWN, "/no/such/folder/x", ConfigError, "must exist"),
        (JobState.RUNNING, NodeId("b"), "/tmp/x", JobError, "b is the source of job tiny now: type"),
        (JobState.QUEUED, OWN, "/tmp/x", JobError, r"is queued \(why\): export when it runs, `edged attach"),
        (JobState.WAITING, OWN, "/tmp/x", JobError, r"is waiting \(why\): export when it runs"),
        (JobState.PAUSED, OWN, "/tmp/x", JobError, f"is paused: `edged resume {SPEC.job}`, export when it runs"),
        (
            JobState.STOPPED,
            OWN,
            "/tmp/x",
            JobError,
            r"is stopped \(why\), and nothing else is left of its weights",
        ),
        (JobState.FINISHED, OWN, "/tmp/x", JobError, "no longer in the home"),
        (JobState.RUNNING, OWN, "/tmp/x", JobError, "not submitted here"),
    ],
)
async def test_exports_that_cannot_be_say_why(
    desk: Desk, state: JobState, source: NodeId, output: str, error: type[Exception], text: str
) -> None:
    desk.job(state, source)
    with pytest.raises(error, match=text):
        await desk.ask("export", job="tiny", output=output)


async def test_a_finished_job_is_exported_from_its_result(desk: Desk, tmp_path: Path) -> None:
    desk.job(JobState.FINISHED)
    spool = Spool(tmp_path, SPEC.job)
    spool.folder.mkdir(parents=True)
    spool.result.write_bytes(b"weights")
    answer = await desk.ask("export", job="tiny", output=str(tmp_path / "out"))
    assert (answer["step"], answer["output"]) == (4, str(tmp_path / "out"))
    assert (tmp_path / "out").read_bytes() == b"weights"
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match="cannot write"):
        await desk.ask("export", job="tiny", output=str(tmp_path / "folder"))


async def test_a_hugging_face_model_is_exported_as_a_folder(
    desk: Desk, write_spool: Callable[..., Path], tmp_path: Path
) -> None:
    desk.job(JobState.FINISHED)
    folder = write_spool(SPEC)
    (folder / "result.safetensors").write_bytes(b"weights")
    wanted = {"job": "tiny", "output": str(tmp_path / "tuned"), "pretrained": True}
    with pytest.raises(JobError, match="the model of job tiny is none of Hugging Face's .* leave --pretrained out"):
        await desk.ask("export", **wanted)
    assert not (tmp_path / "tuned").exists()
    document = json.loads((folder / "job.json").read_text())
    (folder / "job.json").write_text(json.dumps({**document, "pretrained": {"config.json": "{}"}}))
    answer = await desk.ask("export", **wanted)
    assert (answer["step"], answer["output"]) == (4, str(tmp_path / "tuned"))
    assert (tmp_path / "tuned" / "model.safetensors").read_bytes() == b"weights"
    assert (tmp_path / "tuned" / "config.json").read_text() == "{}"
    (tmp_path / "tuned" / "config.json").unlink()
    (tmp_path / "tuned" / "config.json" / "in the way").mkdir(parents=True)
    with pytest.raises(ConfigError, match="cannot write"):
        await desk.ask("export", **wanted)
    (folder / "job.json").unlink()
    with pytest.raises(JobError, match=r"job\.json cannot be read .*: export without --pretrained"):
        await desk.ask("export", **wanted)


async def test_a_job_is_found_by_the_beginning_of_its_id_if_that_is_one_jobs_alone(desk: Desk) -> None:
    desk.job(JobState.FINISHED)
    assert (await desk.ask("stop", job=SPEC.job[:3]))["job"] == SPEC.job
    other = JobId(SPEC.job[:3] + "0")
    desk.records[other] = JobRecord(other, "other", OWN, JobState.RUNNING, 4, 8, "")
    with pytest.raises(JobError, match="several jobs begin with"):
        await desk.ask("stop", job=SPEC.job[:3])


async def test_an_unknown_job_lists_the_known_ones(desk: Desk) -> None:
    desk.job(JobState.RUNNING)
    with pytest.raises(JobError, match=rf"{SPEC.job} \(tiny\)"):
        await desk.ask("stop", job="other")


def test_watching_has_a_least_interval(desk: Desk) -> None:
    seconds, make = desk.commands.period("watch", {"interval": 0.0})
    assert seconds == 0.1
    assert make()["cluster"] == "home"
    assert desk.commands.period("status", {}) is None
    with pytest.raises(ConfigError, match="interval"):
        desk.commands.period("watch", {"interval": "fast"})


def test_attaching_replays_and_follows_to_the_end(desk: Desk) -> None:
    desk.job(JobState.RUNNING)
    heard: list = []
    desk.observer.history.started(SPEC)
    stop = desk.commands.subscribe("attach", {"job": "tiny"}, heard.append, lambda: heard.append("end"))
    desk.observer.history.failed(SPEC.job, "enough")
    assert [item if item == "end" else item["event"] for item in heard] == ["started", "failed", "end"]
    stop()
    assert desk.commands.subscribe("dance", {}, heard.append, lambda: None) is None


def test_events_are_the_journals_lines(desk: Desk) -> None:
    heard: list = []
    desk.journal.record(LinkLost(NodeId("b")), [], 1.0)
    desk.commands.subscribe("events", {}, heard.append, lambda: heard.append("end"))()
    stop = desk.commands.subscribe("events", {"follow": True}, heard.append, lambda: heard.append("end"))
    desk.journal.record(LinkLost(NodeId("c")), [], 2.0)
    stop()
    assert [item if item == "end" else item["event"]["node"] for item in heard] == ["b", "end", "b", "c"]


async def test_a_feeder_for_no_job_is_refused(desk: Desk) -> None:
    with pytest.raises(JobError, match="not running on this node"):
        await desk.commands.feed({"job": SPEC.job}, None, None)
