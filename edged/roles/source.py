"""The source: the node that a job was handed to. It has first weights and samples, and writes the result."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from edged.core.effects import DrawSample, DropSample, SendInputs, StartFeeder, StopFeeder
from edged.core.events import ComputeFailed, DataLost, ExportAsked, FeederFailed, SampleDrawn
from edged.core.ids import JobId, NodeId
from edged.core.job import JobSpec, Work
from edged.core.messages import Inputs, Message
from edged.core.running import MOST_ASKED
from edged.errors import JobError
from edged.roles.announced import Announced
from edged.roles.copier import Copier
from edged.roles.copies import Copies, copied_kinds
from edged.roles.engine import Engine
from edged.roles.feeder_processes import FeederProcess, FeederProcesses
from edged.roles.feeders import FeederLink, Sample
from edged.roles.handed import Handed
from edged.roles.pump import Post, Table
from edged.roles.samples import trouble
from edged.roles.shelf import Shelf
from edged.roles.spool import CopyFeeder, Spool, open_jobs, read_bytes
from edged.roles.weights import Weights
from edged.roles.worker import SendParcel, Worker
from edged.telemetry.logs import topic_logger

DEATHS = 3
"""A feeder that dies so often without a sample in between ends its job."""

WAIT_SECONDS = 60.0
"""How long to wait for a process of the user that said it would feed."""

GRACE_SECONDS = 1.0
"""How long a feeder whose connection closed may take to exit, so that its last words are known."""

SLOW_SECONDS = 10.0
"""A micro-batch that takes longer than this is worth a word: the user's code may wait for something."""


AGAIN_SECONDS = 15.0
"""After so long a feeder looks again whether the job file and the data are what they were."""


class Source:
    """Serves the jobs of this node's user."""

    def __init__(
        self,
        home: Path,
        socket: Path,
        engine: Engine,
        worker: Worker,
        shelf: Shelf,
        copies: Copies,
        post: Post,
        send: Callable[[NodeId, Message], None],
        send_parcel: SendParcel,
    ) -> None:
        """``socket``: where feeders connect; ``copies``: of the samples of jobs that were handed in elsewhere."""
        self._home = home
        self._worker = worker
        self._copies = copies
        self._post = post
        self._send_parcel = send_parcel
        self._jobs: dict[JobId, Handed] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._weights = Weights(self._jobs, engine, worker, shelf, post, send, send_parcel)
        self._copier = Copier(self._jobs, post, send_parcel)
        self._tokens = 0
        self._processes = FeederProcesses(socket)
        self.announced = Announced(home, self._processes)

    def table(self) -> Table:
        """First state, samples, result."""
        return {
            **self._weights.table(),
            **self._copier.table(),
            StartFeeder: self._start_feeder,
            StopFeeder: self._stop,
            DrawSample: self._draw,
            SendInputs: self._send_inputs,
            DropSample: self._drop_sample,
        }

    def take_on(self, job: JobId) -> JobSpec:
        """Read a job's spool folder. Raises ``JobError`` if it is missing or damaged."""
        spool = Spool(self._home, job)
        spec, feeder, output = spool.read()
        if spec.job != job:
            raise JobError(f"the folder of job {job} holds job {spec.job}; submit it again")
        if job not in self._jobs:
            handed = self._jobs[job] = Handed(
                spec, spool, feeder, output, spool.kinds(), self._tasks, fed=spool.is_open
            )
            if (starting := self.announced.take(job, feeder)) is not None:
                handed.spawn(self._adopt(handed, starting))
            self._weights.load_program(handed)  # while the leader plans
        spool.accept()
        return spec

    def take_on_again(self) -> tuple[JobSpec, ...]:
        """Jobs that were handed to this node before it was restarted, and are not over, as far as its disk knows."""
        found = []
        for job in open_jobs(self._home):
            try:
                found.append(self.take_on(job))
            except JobError as error:
                topic_logger("source").warning("a job of before cannot go on: %s", error)
        return tuple(found)

    def program(self, job: JobId) -> bytes | None:
        """The program of a job that was handed in here; any thread. Raises ``JobError`` for what is no job id."""
        return read_bytes(Spool(self._home, job).program)

    def result(self, job: JobId) -> Path | None:
        """The final weights of a finished job of this home, if they are still there."""
        path = Spool(self._home, job).result
        return path if path.exists() else None

    def pretrained(self, job: JobId) -> dict[str, str]:
        """See ``Spool.pretrained``."""
        return Spool(self._home, job).pretrained()

    def export(self, job: JobId, output: Path) -> asyncio.Future[dict[str, object]]:
        """Ask for the newest complete weights of a running job: output, step and digest come later, or ``JobError``."""
        handed = self._jobs.get(job)
        if handed is None:
            raise JobError(f"job {job} was not submitted here; export it on its source")
        if sum(len(each.exports) for each in self._jobs.values()) >= MOST_ASKED:
            raise JobError(f"{MOST_ASKED} exports are under way already: wait for one of them")
        self._tokens += 1
        future: asyncio.Future[dict[str, object]] = asyncio.get_running_loop().create_future()
        handed.exports[self._tokens] = (output, future)
        self._post(ExportAsked(job, self._tokens))
        return future

    def refusal(self, job: JobId) -> str:
        """Why a feeder for this job is not wanted; empty if it is."""
        handed = self._jobs.get(job)
        if handed is None:
            return f"job {job} is not running on this node"
        return "it has a feeder" if handed.link is not None else ""

    async def attach(self, job: JobId, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A feeder that is not refused has connected: serve it until it goes."""
        handed = self._jobs[job]
        link = FeederLink(
            reader,
            writer,
            lambda work, sample: self._drawn(handed, work, sample),
            lambda reason, detail: self._fail(handed, reason, detail or reason),
            lambda rows: self._copier.take(job, rows),
            lambda difference, detail: self._changed(handed, difference, detail),
        )
        handed.link = link
        self._copier.attached(job)
        for work in handed.pending:
            link.draw(work)
        why = await link.serve()
        if handed.link is link:
            handed.link = None
            await self._lost(handed, why)

    def waiting(self) -> dict[JobId, str]:
        """For each job whose feeder lets the node wait for long: what for, in one sentence."""
        now = time.monotonic()
        return {
            job: _why_changed(handed)
            if handed.changed
            else f"waiting for the data of {handed.spec.name}: {next(iter(handed.pending)).in_words()} was asked for "
            f"more than {SLOW_SECONDS:.0f} s ago"
            for job, handed in self._jobs.items()
            if handed.pending and (handed.changed or now - handed.asked_at >= SLOW_SECONDS)
        }

    def drop_samples(self, job: JobId) -> None:
        """A plan of the job is over: its samples can be drawn again."""
        if (handed := self._jobs.get(job)) is not None:
            handed.samples.clear()
            handed.pending.clear()

    def drop_job(self, job: JobId) -> None:
        """The job is over: stop its feeder, clear its spool."""
        handed = self._jobs.pop(job, None)
        self._copier.drop_job(job)
        if handed is None:
            return
        handed.refuse_exports("the job ended before the export could be written")
        handed.spawn(self._stop_feeder(handed))
        handed.spool.clear()

    async def close(self) -> None:
        """Leave no feeder behind, and no export without an answer."""
        for handed in self._jobs.values():
            handed.refuse_exports("the node left before the export could be written")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for handed in self._jobs.values():
            await self._stop_feeder(handed)
        await self.announced.close()
        await self._processes.close()

    def kill(self) -> None:
        """End all feeders at once: the process is about to end without a goodbye."""
        self._processes.kill()

    # -- samples

    def _start_feeder(self, effect: StartFeeder) -> None:
        try:
            handed = self._jobs.get(effect.spec.job) or self._take_over(effect.spec)
        except JobError as error:
            self._post(DataLost(effect.spec.job, str(error)))
            return
        handed.generation += 1
        if handed.process is not None or (handed.feeder is None and handed.link is not None):
            return  # it was announced, or has fed an earlier plan: it is at work
        handed.deaths = 0 if handed.generation == 1 else handed.deaths
        handed.spawn(self._restart(handed, handed.generation))

    def _take_over(self, spec: JobSpec) -> Handed:
        """A job that was handed in elsewhere is drawn here from now on. Raises ``JobError``."""
        copy, program = self._copies.whole(spec.job), self._worker.program(spec.job)
        if copy is None or program is None:
            raise JobError(f"the {'samples' if copy is None else 'program'} of job {spec.name} are not here")
        spool, kinds = Spool(self._home, spec.job), copied_kinds(copy)
        spool.take_over(spec, program, kinds)
        feeder = CopyFeeder(str(self._copies.folder(spec.job)))
        handed = self._jobs[spec.job] = Handed(spec, spool, feeder, None, kinds, self._tasks)
        return handed

    def _stop(self, effect: StopFeeder) -> None:
        """Another node draws now. A program of the user that feeds is left alone."""
        handed = self._jobs.get(effect.job)
        if handed is not None and handed.feeder is not None:
            handed.pending.clear()
            handed.generation += 1
            handed.spawn(self._stop_feeder(handed))

    async def _adopt(self, handed: Handed, starting: asyncio.Task[FeederProcess]) -> None:
        """Watch over a feeder that was announced; one that cannot be used is started again when it is wanted."""
        try:
            process = await starting
        except OSError as error:
            topic_logger("source").info("the feeder could not be started early: %s", error)
            return
        if handed.generation or handed.spec.job not in self._jobs:
            await process.stop()
            return
        await self._watch(handed, process)

    async def _restart(self, handed: Handed, generation: int) -> None:
        if handed.feeder is None:
            await asyncio.sleep(WAIT_SECONDS)
            if handed.link is None and generation == handed.generation:
                reason = f"no process came to draw samples within {WAIT_SECONDS:.0f} s"
                self._fail(handed, reason, reason)
            return
        await self._stop_feeder(handed)
        if isinstance(handed.feeder, CopyFeeder) and (problem := await self._copies.damage(handed.spec.job)):
            self._lose_data(handed, problem)
            return
        if generation != handed.generation:
            return
        try:
            process = await self._processes.start(handed.spec.job, handed.feeder, handed.spool.folder)
        except OSError as error:
            self._fail(handed, f"the feeder cannot be started: {error}", str(error))
            return
        if generation != handed.generation or handed.spec.job not in self._jobs:
            await process.stop()
            return
        await self._watch(handed, process)

    def _lose_data(self, handed: Handed, problem: str) -> None:
        """What was to be drawn from is of no use: another node may have the samples, or have them soon."""
        spec = handed.spec
        if self._jobs.get(spec.job) is handed:
            self.drop_job(spec.job)
            self._copies.drop_job(spec.job)
            self._post(DataLost(spec.job, f"job {spec.name} cannot be drawn here any more: {problem}"))

    async def _watch(self, handed: Handed, process: FeederProcess) -> None:
        handed.process = process
        why = await process.wait()
        if handed.process is process:
            handed.process = None
            await self._died(handed, why, process.output())

    def _changed(self, handed: Handed, difference: str, detail: str) -> None:
        """Nothing is trained with other data than was submitted: a job that has not begun ends, any other waits."""
        if not handed.fed:
            reason = (
                f"the data is not what it was a moment ago, when the job was captured: {difference}; give what is made "
                "at random a fixed seed, leave the job file alone until the job runs, and submit it again"
            )
            self._fail(handed, reason, detail or reason)
            if handed.link is not None:
                handed.link.close()
            return
        if handed.changed != difference:
            handed.changed = difference
            topic_logger("source").warning("job %s: %s", handed.spec.name, _why_changed(handed))
        handed.spawn(self._look_again(handed, handed.generation))

    async def _look_again(self, handed: Handed, generation: int) -> None:
        link = handed.link
        await asyncio.sleep(AGAIN_SECONDS)
        if handed.link is link and handed.spec.job in self._jobs:
            await self._restart(handed, generation)

    async def _lost(self, handed: Handed, why: str) -> None:
        """The connection closed. A child's end is told by ``_watch``; one that lives on without it is of no use."""
        if handed.spec.job not in self._jobs:
            return
        if handed.feeder is None:
            reason = "the program that fed this job has gone" + (f": {why}" if why else "")
            self._fail(handed, reason, reason)
            return
        process = handed.process
        if process is not None:
            await asyncio.sleep(GRACE_SECONDS)
            if handed.process is process:
                handed.process = None
                await process.stop()
                await self._died(handed, f"the feeder closed its connection {why}".strip(), process.output())

    async def _died(self, handed: Handed, why: str, stderr: str) -> None:
        handed.deaths += 1
        self._fail(handed, why, (stderr or why) if handed.deaths >= DEATHS else "")

    def _fail(self, handed: Handed, reason: str, detail: str) -> None:
        """Every draw under way ends here; whoever still wants it asks again."""
        handed.pending.clear()
        if handed.spec.job in self._jobs:
            topic_logger("source").warning("job %s: %s", handed.spec.name, reason)
            self._post(FeederFailed(handed.spec.job, reason, detail))

    def _draw(self, effect: DrawSample) -> None:
        handed = self._jobs.get(effect.job)
        if handed is None:
            self._post(FeederFailed(effect.job, "the job's spool folder is gone", "it was never submitted here"))
        elif effect.work in handed.samples:
            self._post(SampleDrawn(effect.job, effect.work))
        elif effect.work not in handed.pending:
            handed.asked_at = handed.asked_at if handed.pending else time.monotonic()
            handed.pending[effect.work] = None
            if handed.link is not None:
                handed.link.draw(effect.work)

    def _drawn(self, handed: Handed, work: Work, sample: Sample) -> None:
        if work not in handed.pending:
            return
        problem = trouble(handed.spec, handed.kinds, work, sample[0])
        if problem:
            self._fail(handed, problem, problem)
            return
        del handed.pending[work]
        handed.deaths, handed.asked_at = 0, time.monotonic()
        handed.changed, handed.fed = "", True
        handed.samples[work] = sample
        self._post(SampleDrawn(handed.spec.job, work))

    def _send_inputs(self, effect: SendInputs) -> None:
        handed = self._jobs.get(effect.stamp.job)
        sample = handed.samples.get(effect.work) if handed is not None else None
        if sample is None or any(index >= len(sample[0]) for index in effect.inputs):
            self._post(ComputeFailed(effect.stamp, f"the source does not have the inputs of {effect.work}"))
            return
        specs, buffers = sample
        header = Inputs(effect.stamp, effect.route, effect.hop, effect.work, tuple(specs[i] for i in effect.inputs))
        self._send_parcel(effect.to, header, tuple(buffers[i] for i in effect.inputs))

    def _drop_sample(self, effect: DropSample) -> None:
        if (handed := self._jobs.get(effect.job)) is not None:
            handed.samples.pop(effect.work, None)
            handed.pending.pop(effect.work, None)

    async def _stop_feeder(self, handed: Handed) -> None:
        process, handed.process = handed.process, None
        if handed.feeder is not None or handed.spec.job not in self._jobs:
            link, handed.link = handed.link, None
            if link is not None:
                link.close()
        if process is not None:
            await process.stop()


def _why_changed(handed: Handed) -> str:
    return (
        f"the data of {handed.spec.name} is not what was submitted: {handed.changed}; put the job file and the data "
        f"back as they were and it goes on by itself, or end it: `edged stop {handed.spec.job}`"
    )
