"""Which jobs this node hands in to whoever leads, and which its user wants to end. Repeated until the list shows it."""

from __future__ import annotations

from edged.core.effects import Effect, SendMessage
from edged.core.ids import JobId, NodeId
from edged.core.job import JobSpec
from edged.core.joblist import JobList
from edged.core.messages import JobState, Message, StopRequest, Submit

REPEAT_SECONDS = 1.0
"""A request that shows no effect is sent again this often."""


class Submissions:
    """Requests under way from this node to the leader; ``jobs`` is the node's job list, owned by the caller.

    A job is handed in again as long as it is queued, waits or stands: a new leader has the record from the list, but
    not the spec, without which it can neither begin the job nor let anybody hand on what it holds of it.
    """

    def __init__(self, jobs: JobList) -> None:
        """Begin with no requests."""
        self._jobs = jobs
        self._specs: dict[JobId, JobSpec] = {}
        self._stops: dict[JobId, str] = {}
        self._repeat_at: float | None = None

    def submit(self, spec: JobSpec) -> None:
        """Ask for this job; sent with the next ``remind``."""
        self._specs[spec.job] = spec
        self._repeat_at = None

    def stop(self, job: JobId, reason: str) -> None:
        """Ask for the job's end; sent with the next ``remind``. A job that nobody lists needs no stop."""
        if job in self._jobs.records:
            self._stops[job] = reason
            self._repeat_at = None

    def hasten(self) -> None:
        """Send everything again at once: the leader has changed."""
        self._repeat_at = None

    def remind(self, leader: NodeId | None, now: float) -> list[Effect]:
        """Send what is due to the leader, and forget what has been granted."""
        self._specs = {job: spec for job, spec in self._specs.items() if not self._jobs.ended(job)}
        self._stops = {job: why for job, why in self._stops.items() if not self._jobs.ended(job)}
        messages = self._messages()
        if leader is None or not messages:
            self._repeat_at = None
            return []
        if self._repeat_at is not None and now < self._repeat_at:
            return []
        self._repeat_at = now + REPEAT_SECONDS
        return [SendMessage(leader, message) for message in messages]

    def deadline(self) -> float | None:
        """Return when to remind the leader."""
        return self._repeat_at

    def _messages(self) -> list[Message]:
        return [
            *(Submit(spec) for job, spec in self._specs.items() if self._is_wanted(job)),
            *(StopRequest(job, reason) for job, reason in self._stops.items()),
        ]

    def _is_wanted(self, job: JobId) -> bool:
        record = self._jobs.records.get(job)
        return record is None or record.state in {JobState.QUEUED, JobState.WAITING, JobState.PAUSED}
