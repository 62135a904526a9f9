"""Whose turn it is: the oldest job that can begin; one that waits for something lets the others try."""

from __future__ import annotations

from collections.abc import Callable

from edged.core.ids import JobId
from edged.core.job import JobSpec
from edged.core.joblist import JobList
from edged.core.messages import JobRecord, JobState

YIELD_SECONDS = 10.0
"""A job that waits for something lets the next one have a turn after this long."""

READY = frozenset({JobState.QUEUED, JobState.WAITING})
"""The states of jobs that may be taken up."""


class Queue:
    """The order in which the leader takes up jobs; ``jobs`` is the list, owned by the caller.

    ``spec_of`` tells the spec of a job, as far as this node knows it.
    """

    def __init__(self, jobs: JobList, spec_of: Callable[[JobId], JobSpec | None]) -> None:
        """No job has been in hand."""
        self._jobs = jobs
        self._spec_of = spec_of
        self._yielded: JobId | None = None
        self._yield_at: float | None = None

    def next(self) -> JobRecord | None:
        """Take the job whose turn it is: one that an earlier leader started, else the oldest that can begin.

        After a job that waited in vain it is the turn of those behind it.
        """
        running = next((r for r in self._jobs.unended() if r.state is JobState.RUNNING), None)
        if running is not None:
            return running
        ready = self._ready()
        jobs = [record.job for record in ready]
        behind = jobs.index(self._yielded) + 1 if self._yielded in jobs else 0
        self._yielded = None
        return next(iter([*ready[behind:], *ready[:behind]]), None)

    def yields(self, in_hand: JobRecord, now: float) -> bool:
        """Whether the job in hand has waited long enough while others could be tried; they are next then."""
        others = [record for record in self._ready() if record.job != in_hand.job]
        if in_hand.state is not JobState.WAITING or not others:
            self._yield_at = None
        elif self._yield_at is None:
            self._yield_at = now + YIELD_SECONDS
        elif now >= self._yield_at:
            self._yield_at, self._yielded = None, in_hand.job
            return True
        return False

    def deadline(self) -> float | None:
        """Return when the job in hand makes way."""
        return self._yield_at

    def _ready(self) -> list[JobRecord]:
        return [r for r in self._jobs.unended() if r.state in READY and self._spec_of(r.job) is not None]
