"""What this node's own user asks of whoever leads, of jobs. Repeated until the list shows it."""

from __future__ import annotations

from edged.core.effects import Effect, SendMessage
from edged.core.events import PauseAsked, ResumeAsked, StopAsked
from edged.core.ids import JobId, NodeId
from edged.core.job import JobSpec
from edged.core.joblist import JobList
from edged.core.messages import JobState, Message, PauseRequest, ResumeRequest, StopRequest, Submit

REPEAT_SECONDS = 1.0
"""A request that shows no effect is sent again this often."""


class Submissions:
    """Requests under way from this node to the leader; ``jobs`` is the node's job list, owned by the caller.

    A job is handed in again as long as it is queued or waits: a new leader has the record from the list, but not the
    spec.
    """

    def __init__(self, jobs: JobList) -> None:
        """Begin with no requests."""
        self._jobs = jobs
        self._specs: dict[JobId, JobSpec] = {}
        self._stops: dict[JobId, str] = {}
        self._pauses: set[JobId] = set()
        self._resumes: dict[JobId, bool] = {}
        self._repeat_at: float | None = None

    def submit(self, spec: JobSpec) -> None:
        """Ask for this job; sent with the next ``remind``."""
        self._specs[spec.job] = spec
        self._repeat_at = None

    def ask(self, event: StopAsked | PauseAsked | ResumeAsked) -> None:
        """Ask for what the user of this node wants."""
        match event:
            case StopAsked(job, reason):
                self.stop(job, reason)
            case PauseAsked(job):
                self.pause(job)
            case ResumeAsked(job):
                self.resume(job)

    def stop(self, job: JobId, reason: str) -> None:
        """Ask for the job's end; sent with the next ``remind``. A job that nobody lists needs no stop."""
        if job in self._jobs.records:
            self._stops[job] = reason
            self._repeat_at = None

    def pause(self, job: JobId) -> None:
        """Ask for the job to stand; sent with the next ``remind``."""
        if job in self._jobs.records:
            self._resumes.pop(job, None)
            self._pauses.add(job)
            self._repeat_at = None

    def resume(self, job: JobId) -> None:
        """Ask for the job to go on; sent with the next ``remind``, at least once: a pause may be on its way."""
        if job in self._jobs.records:
            self._pauses.discard(job)
            self._resumes[job] = False
            self._repeat_at = None

    def hasten(self) -> None:
        """Send everything again at once: the leader has changed."""
        self._repeat_at = None

    def remind(self, leader: NodeId | None, now: float) -> list[Effect]:
        """Send what is due to the leader, and forget what has been granted."""
        self._specs = {job: spec for job, spec in self._specs.items() if not self._jobs.ended(job)}
        self._stops = {job: why for job, why in self._stops.items() if not self._jobs.ended(job)}
        self._pauses = {job for job in self._pauses if self._pausable(job)}
        self._resumes = {job: sent for job, sent in self._resumes.items() if self._stands(job, sent=sent)}
        messages = self._messages()
        if leader is None or not messages:
            self._repeat_at = None
            return []
        if self._repeat_at is not None and now < self._repeat_at:
            return []
        self._repeat_at = now + REPEAT_SECONDS
        self._resumes = dict.fromkeys(self._resumes, True)
        return [SendMessage(leader, message) for message in messages]

    def deadline(self) -> float | None:
        """Return when to remind the leader."""
        return self._repeat_at

    def _messages(self) -> list[Message]:
        return [
            *(Submit(spec) for job, spec in self._specs.items() if self._waits(job)),
            *(StopRequest(job, reason) for job, reason in self._stops.items()),
            *(PauseRequest(job) for job in sorted(self._pauses)),
            *(ResumeRequest(job) for job in sorted(self._resumes)),
        ]

    def _state(self, job: JobId) -> JobState | None:
        record = self._jobs.records.get(job)
        return None if record is None else record.state

    def _waits(self, job: JobId) -> bool:
        return self._state(job) in {None, JobState.QUEUED, JobState.WAITING}

    def _stands(self, job: JobId, *, sent: bool) -> bool:
        return not self._jobs.ended(job) and (not sent or self._state(job) is JobState.PAUSED)

    def _pausable(self, job: JobId) -> bool:
        return self._state(job) is not JobState.PAUSED and not self._jobs.ended(job)
