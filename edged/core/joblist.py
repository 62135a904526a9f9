"""The list of jobs that every node keeps, so that whoever leads next goes on with it.

The leader's list is the word: followers take it over whole. Two things that the leader may have missed are kept against
it, and sent back to it as a correction (a ``Jobs`` message again): a job that has ended stays ended, and a job that
the leader does not list at all. So a leader that missed the last message of the one before catches up.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from edged.core.ids import JobId
from edged.core.job import JobSpec
from edged.core.messages import JobRecord, Jobs, JobState

ENDED = frozenset({JobState.FINISHED, JobState.FAILED, JobState.STOPPED})
"""The states that a job never leaves."""

KEPT = 50
"""How many jobs are listed at most; the oldest ended ones are forgotten first."""


class JobList:
    """Job records in the order of submission, numbered by (term, number); ``followed``: the last one taken over."""

    def __init__(self, written: Iterable[JobRecord] = ()) -> None:
        """Begin below every leader's first list, with what an earlier process has ``written`` (see ``unwritten``)."""
        self.term = 0
        self.number = 0
        self.leads = False
        self.followed: tuple[int, int] | None = None
        self.records: dict[JobId, JobRecord] = {record.job: record for record in written}
        self._written = self._lasting()

    def unwritten(self) -> tuple[JobRecord, ...] | None:
        """Return the list to be written if that has changed since the last call, else ``None``."""
        written, self._written = self._written, self._lasting()
        return None if self._written == written else self._written

    def lead(self, term: int) -> None:
        """This node begins to lead: the list goes on under its term, and ``put`` raises its number."""
        self.term, self.number, self.leads = term, 0, True

    def obey(self, term: int) -> None:
        """Somebody else leads now, or nobody: whatever list comes next is newer, also in a term as high, or lower.

        Two lineages may count the same terms; ``jobs.py`` lets through the lists of the leader that is followed alone.
        """
        self.term, self.number, self.leads = term, 0, False

    def put(self, record: JobRecord) -> bool:
        """Add or replace a record; return whether that is news (a step further is not)."""
        before = self.records.get(record.job)
        if before == record or (before is not None and before.state in ENDED):
            return False
        self.records[record.job] = record
        if before is not None and replace(before, step=record.step) == record:
            return False
        self.number += 1 if self.leads else 0
        self._forget()
        return True

    def advance(self, job: JobId, step: int) -> None:
        """Note how far a job has come; not worth a new number."""
        record = self.records.get(job)
        if record is not None and record.state not in ENDED and record.step != step:
            self.records[job] = replace(record, step=step)

    def follow(self, message: Jobs) -> bool:
        """Take over a leader's list unless it is older than ours; return whether the leader must be corrected."""
        if (message.term, message.number) < (self.term, self.number):
            return False
        self.term, self.number = self.followed = message.term, message.number
        listed = {theirs.job: self._joined(theirs) for theirs in message.jobs}
        full = len(message.jobs) >= KEPT
        ours = [r for r in self.records.values() if r.job not in listed and not (full and r.state in ENDED)]
        self.records = {r.job: r for r in ours if r.state in ENDED} | listed
        self.records |= {r.job: r for r in ours if r.state not in ENDED}
        missed = [j for j in message.jobs if j.state not in ENDED and self.records[j.job].state in ENDED]
        return bool(ours or missed)

    def correct(self, message: Jobs) -> bool:
        """The leader learns from a follower's correction; return whether anything changed."""
        changed = False
        for theirs in message.jobs:
            ours = self.records.get(theirs.job)
            if ours is None or theirs.state in ENDED:
                changed |= self.put(theirs)
        return changed

    def message(self) -> Jobs:
        """Return the list as it is sent."""
        return Jobs(self.term, self.number, tuple(self.records.values()))

    def unended(self) -> list[JobRecord]:
        """Return the jobs still to be done, oldest first."""
        return [r for r in self.records.values() if r.state not in ENDED]

    def ended(self, job: JobId) -> bool:
        """Whether this job is known to be over."""
        record = self.records.get(job)
        return record is not None and record.state in ENDED

    def _lasting(self) -> tuple[JobRecord, ...]:
        """Return what is worth writing: what is over and how, what stands; all the rest as it was handed in."""
        return tuple(
            record
            if record.state in {*ENDED, JobState.PAUSED}
            else replace(record, state=JobState.QUEUED, step=0, reason="")
            for record in self.records.values()
        )

    def _joined(self, theirs: JobRecord) -> JobRecord:
        ours = self.records.get(theirs.job)
        if ours is None or theirs.state in ENDED:
            return theirs
        if ours.state in ENDED:
            return ours
        return replace(theirs, step=max(ours.step, theirs.step)) if theirs.state is JobState.RUNNING else theirs

    def _forget(self) -> None:
        spare = len(self.records) - KEPT
        for job in [r.job for r in self.records.values() if r.state in ENDED][: max(spare, 0)]:
            del self.records[job]


def queued(spec: JobSpec) -> JobRecord:
    """Return the record of a job that has just been handed in."""
    return JobRecord(spec.job, spec.name, spec.source, JobState.QUEUED, 0, spec.steps, "")
