"""The commands of the local socket: each is a question to the observer, or an event for the core."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edged.core.events import JobSubmitted, StopAsked
from edged.core.ids import JobId
from edged.core.joblist import ENDED
from edged.core.messages import JobRecord, JobState
from edged.errors import UNREADABLE, ConfigError, JobError, brief
from edged.roles.history import Story
from edged.roles.local import Answer, Send
from edged.roles.observer import Observer
from edged.roles.orders import Orders, Taken
from edged.roles.pump import Post
from edged.roles.sounder import Sounder
from edged.roles.source import Source
from edged.roles.spool import copy_file, feeder_from_json, write_texts
from edged.roles.status import job_document, status_document
from edged.telemetry.journal import Journal
from edged.transport.interface import Transport

STOP_SECONDS = 5.0
"""How long ``stop`` waits for the leader's word before it answers with what is known."""

LEAST_INTERVAL_SECONDS = 0.1

PRETRAINED_WEIGHTS = "model.safetensors"
"""What Hugging Face's libraries call the file of weights."""


class NodeCommands:
    """What this node does for its user."""

    def __init__(
        self,
        cluster: str,
        observer: Observer,
        source: Source,
        journal: Journal,
        post: Post,
        transport: Transport,
        taken: Taken,
    ) -> None:
        """Answer from ``observer``; act through ``post`` and ``source``, and sound links through ``transport``.

        ``taken`` tells who has a new cluster key.
        """
        self._cluster = cluster
        self._observer = observer
        self._source = source
        self._journal = journal
        self._post = post
        self._sounder = Sounder(observer, transport)
        self._orders = Orders(observer, post, taken)

    def status(self) -> Answer:
        """The status object."""
        return status_document(self._observer, self._cluster)

    async def answer(self, command: str, request: Answer) -> Answer | None:
        """Answer a one-shot command."""
        match command:
            case "status":
                return self.status()
            case "jobs":
                return {"jobs": [job_document(self._observer, record) for record in self._observer.jobs().values()]}
            case "submit":
                return self._submit(JobId(_text(request, "job")))
            case "stop":
                return await self._stop(request)
            case "export":
                return await self._export(request)
            case "pause":
                return await self._orders.pause(self._find(_text(request, "job")))
            case "resume":
                return await self._orders.resume(self._find(_text(request, "job")))
            case _:
                return await self._order(command, request)

    async def _order(self, command: str, request: Answer) -> Answer | None:
        """Answer a command about nodes."""
        match command:
            case "leave":
                return self._orders.leave(request.get("node"))
            case "expel":
                return await self._orders.expel(request.get("node"))
            case "rotate":
                return await self._orders.rotate()
            case "sound":
                sounding = await self._sounder.sound()
                return {"sounded": len(sounding.measured), "silent": sounding.silent, "late": sounding.late}
            case _:
                return None

    def period(self, command: str, request: Answer) -> tuple[float, Callable[[], Answer]] | None:
        """``watch``: the status, again and again."""
        if command != "watch":
            return None
        interval = request.get("interval", 0.5)
        if not isinstance(interval, int | float) or isinstance(interval, bool):
            raise ConfigError(f"interval must be a number of seconds, got {interval!r}")
        return max(LEAST_INTERVAL_SECONDS, float(interval)), self.status

    def subscribe(
        self, command: str, request: Answer, send: Send, end: Callable[[], None]
    ) -> Callable[[], None] | None:
        """``events``, ``attach``, and ``announce``, which sends nothing and lasts until the job is handed in."""
        if command == "events":
            return self._events(follow=bool(request.get("follow")), send=send, end=end)
        if command == "attach":
            return self._attach(_text(request, "job"), send, end)
        if command == "announce":
            return self._announce(request)
        return None

    async def feed(self, request: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hand the connection to the source."""
        job = JobId(_text(request, "job"))
        await self._source.announced.settled(job)
        problem = self._source.refusal(job)
        if problem:
            raise JobError(problem)
        writer.write(b'{"ok": true}\n')
        await self._source.attach(job, reader, writer)

    def _submit(self, job: JobId) -> Answer:
        spec = self._source.take_on(job)
        if spec.source != self._observer.own_id:
            self._source.drop_job(job)
            raise JobError(
                f"job {job} names node {spec.source} as its source, this is {self._observer.own_id}: submit it again"
            )
        self._post(JobSubmitted(spec))
        return {"job": job}

    async def _stop(self, request: Answer) -> Answer:
        record = self._find(_text(request, "job"))
        job = record.job
        if record.state not in ENDED:
            self._post(StopAsked(job, str(request.get("reason") or "stopped by its user")))
            await self._ended(job)
        return {"job": job, "state": self._state(job).name.lower()}

    async def _ended(self, job: JobId) -> None:
        """Wait until the job is over, but not for ever: a leader may be missing."""
        story = self._observer.history.story(job)
        over = asyncio.Event()
        unfollow = story.follow(lambda _document: over.set() if story.ended else None)
        try:
            if not story.ended:
                await asyncio.wait_for(over.wait(), STOP_SECONDS)
        except TimeoutError:
            return
        finally:
            unfollow()

    async def _export(self, request: Answer) -> Answer:
        record = self._find(_text(request, "job"))
        output = Path(_text(request, "output"))
        if not output.is_absolute() or not output.parent.is_dir():
            raise ConfigError(f"--output {output}: the folder must exist and the path be absolute")
        if record.source != self._observer.own_id:
            source = self._observer.name(record.source)
            raise JobError(f"{source} is the source of job {record.name} now: type `edged export` there")
        if request.get("pretrained"):
            return await self._export_pretrained(record, output)
        return await self._export_weights(record, output)

    async def _export_weights(self, record: JobRecord, output: Path) -> Answer:
        if record.state is JobState.FINISHED:
            return await self._copy_result(record, output)
        if record.state is not JobState.RUNNING:
            raise JobError(f"weights are exported from a job that runs or is finished; {_next_step(record)}")
        return await self._source.export(record.job, output)

    async def _export_pretrained(self, record: JobRecord, folder: Path) -> Answer:
        """What Hugging Face's ``from_pretrained`` takes: the weights first, so that a folder with a config is whole."""
        files = self._source.pretrained(record.job)
        if not files:
            raise JobError(
                f"the model of job {record.name} is none of Hugging Face's (a PreTrainedModel), or was handed in on "
                "another device: leave --pretrained out, and load the .safetensors into your own module"
            )
        answer = await self._export_weights(record, folder / PRETRAINED_WEIGHTS)
        try:
            await asyncio.to_thread(write_texts, folder, files)
        except OSError as error:
            raise ConfigError(f"cannot write {folder}: {error.strerror}") from error
        return {**answer, "output": str(folder)}

    async def _copy_result(self, record: JobRecord, output: Path) -> Answer:
        result = self._source.result(record.job)
        end = self._observer.history.story(record.job).newest("finished") or {}
        if result is None:
            raise JobError(
                f"the weights of job {record.name} are no longer in the home; they were written to {end.get('output')}"
            )
        try:
            await asyncio.to_thread(copy_file, result, output)
        except OSError as error:
            raise ConfigError(f"cannot write {output}: {error.strerror}") from error
        return {
            "job": record.job,
            "output": str(output),
            "step": record.steps,
            "state_sha256": end.get("state_sha256", ""),
        }

    def _events(self, *, follow: bool, send: Send, end: Callable[[], None]) -> Callable[[], None]:
        for line in tuple(self._journal.ring):
            send(json.loads(line))
        if follow:
            return self._journal.follow(lambda line: send(json.loads(line)))
        end()
        return lambda: None

    def _announce(self, request: Answer) -> Callable[[], None]:
        """Start the feeder of a job that is being captured, unless it would have to wait for another job."""
        try:
            feeder = feeder_from_json(request["feeder"])
        except UNREADABLE as error:
            raise ConfigError(f"announce takes a job and how to feed it ({brief(error)})") from error
        if feeder is None or any(record.state < JobState.FINISHED for record in self._observer.jobs().values()):
            return lambda: None
        return self._source.announced.begin(JobId(_text(request, "job")), feeder)

    def _attach(self, wanted: str, send: Send, end: Callable[[], None]) -> Callable[[], None]:
        story: Story = self._observer.history.story(self._find(wanted).job)

        def pass_on(document: Mapping[str, Any]) -> None:
            send(document)
            if document["event"] in {"finished", "failed"}:
                end()

        for document in tuple(story.objects):
            pass_on(document)
        return story.follow(pass_on)

    def _state(self, job: JobId) -> JobState:
        record = self._observer.jobs().get(job)
        return record.state if record is not None else JobState.STOPPED

    def _find(self, wanted: str) -> JobRecord:
        """The job with this id, else the newest with this name, else the only one whose id begins so."""
        jobs = self._observer.jobs()
        if wanted in jobs:
            return jobs[JobId(wanted)]
        named = [record for record in jobs.values() if record.name == wanted]
        begun = [] if named else [record for job, record in jobs.items() if job.startswith(wanted)]
        if len(begun) > 1:
            raise JobError(
                f"several jobs begin with {wanted!r}: {', '.join(f'{record.job} ({record.name})' for record in begun)}"
            )
        named += begun
        if not named:
            known = ", ".join(f"{record.job} ({record.name})" for record in jobs.values()) or "none"
            raise JobError(f"no job is called {wanted!r}; known jobs: {known}")
        return named[-1]


def _next_step(record: JobRecord) -> str:
    """What to do who wants to export the weights of a job that neither runs nor is finished."""
    what = f"job {record.name} is {record.state.name.lower()}"
    if record.state in ENDED:
        why = f" ({record.reason})" if record.reason else ""
        return f"{what}{why}, and nothing else is left of its weights: train it again"
    if record.state is JobState.PAUSED:
        return f"{what}: `edged resume {record.job}`, export when it runs, and pause it again"
    why = f" ({record.reason})" if record.reason else ""
    return f"{what}{why}: export when it runs, `edged attach {record.job}` follows it"


def _text(request: Answer, name: str) -> str:
    value = request.get(name)
    if not isinstance(value, str) or not value:
        raise ConfigError(f"the request lacks {name!r}")
    return value
