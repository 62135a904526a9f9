"""Jobs that the leader has on its list and cannot begin: nobody has handed them in to it.

That is so after everything was restarted, until the source is back. A job that its source does not hand in is taken, in
the end, from any other node that has its spec: whoever keeps copies of its layers or samples has it on the disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final

from edged.core.ids import JobId, NodeId
from edged.core.job import JobSpec
from edged.core.messages import JobRecord, JobState, MemberRecord
from edged.core.watch import GONE, fate, named

TELL_SECONDS: Final = 3.0
"""That a source has not handed in its job is told after this long: its message may be on the way."""

SOURCE_SECONDS: Final = 15.0
"""A job that its source has not handed in for this long is taken from others: devices seldom come back all at once."""


class Orphans:
    """Since when which jobs lack a spec; ``members`` and what ``spec_of`` tells are live, owned by the caller."""

    def __init__(self, members: Mapping[NodeId, MemberRecord], spec_of: Callable[[JobId], JobSpec | None]) -> None:
        """There are none."""
        self._members = members
        self._spec_of = spec_of
        self._since: dict[JobId, float] = {}

    def look(self, ready: Iterable[JobRecord], now: float) -> list[JobRecord]:
        """Look through the jobs that could begin now; return the records that say what some of them wait for."""
        orphans = [record for record in ready if self._spec_of(record.job) is None]
        self._since = {record.job: self._since.get(record.job, now) for record in orphans}
        reasons = ((record, self._reason(record, now)) for record in orphans)
        return [replace(record, state=JobState.WAITING, reason=reason) for record, reason in reasons if reason]

    def takes(self, job: JobId, now: float) -> bool:
        """Whether the job's source has had its time to hand it in."""
        return job in self._since and now >= self._since[job] + SOURCE_SECONDS

    def _reason(self, record: JobRecord, now: float) -> str:
        source = self._members.get(record.source)
        if source is not None and source.state in GONE:
            return f"node {source.name} {fate(source)}; it has the job's data; the job goes on when it is back"
        if now < self._since[record.job] + TELL_SECONDS:
            return record.reason if record.state is JobState.QUEUED else ""
        name = named([record.source], self._members)
        return f"node {name} has the job's data; waiting for it to hand the job in"
