"""The samples' second home: the source copies them to one other node, which can draw them if the source dies.

::

    source  Start names a holder ──CopyData──> the first rows ──> holder
    holder  DataWanted (the first row that is missing) ──SendRows──> the rows ──> holder ... until all are there
    holder  DataCopied ──DataHeld──> leader, repeated until Committed names who has them

A copy outlives plans: it begins once, and again only when some of it was lost on its way, or when the holder is another
process now. Nothing is drawn any more on a node that another has taken the job over from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from edged.core.effects import CopyData, Effect, Log, SendMessage, SendRows, StopFeeder
from edged.core.events import (
    DataCopied,
    DataLost,
    DataNotCopied,
    Event,
    HeldFound,
    JobSubmitted,
    LeaderChanged,
    MemberChanged,
    MembersCame,
    MessageReceived,
    ParcelLost,
)
from edged.core.ids import JobId, NodeId
from edged.core.job import JobSpec, Phase
from edged.core.messages import (
    Committed,
    DataHeld,
    DataParcel,
    DataWanted,
    MemberRecord,
    Message,
    Parcel,
    PlanChosen,
    Prepare,
    Start,
)
from edged.core.watch import GONE

REPEAT_SECONDS: Final = 2.0
"""What the leader has not shown to know is told again this often."""


@dataclass(slots=True)
class Shared:
    """One job's samples. ``home``: they are drawn here; ``copied``: all are here; ``known``: the leader knows of it.

    ``elsewhere``: another node draws them, though they are here.
    """

    home: bool = False
    copied: bool = False
    known: bool = False
    sent_to: str = ""
    elsewhere: bool = False


class Sharing:
    """Which jobs' samples ``node`` can draw, and to whom it copies them."""

    def __init__(self, node: NodeId, plan_of: Callable[[JobId], PlanChosen | None]) -> None:
        """Know of none; ``plan_of`` gives the newest known plan of a job, and its spec."""
        self.node = node
        self._plan_of = plan_of
        self._jobs: dict[JobId, Shared] = {}
        self._leader: NodeId | None = None
        self._boots: dict[NodeId, int] = {}
        self._tell_at: float | None = None

    # ------------------------------------------------------------------------------------------- contract

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take in one fact, then tell what is due."""
        return [*self._take_in(event, now), *self._tell(now)]

    def deadline(self) -> float | None:
        """Return when to tell the leader again."""
        return self._tell_at

    def check(self) -> None:
        """Assert that nobody copies samples to itself."""
        assert all(shared.sent_to != self.node for shared in self._jobs.values()), "samples copied to where they are"

    def jobs(self) -> set[JobId]:
        """Return the jobs of whose samples anything is known here."""
        return set(self._jobs)

    def has(self, job: JobId) -> bool:
        """Whether this node can draw the job's samples."""
        shared = self._jobs.get(job)
        return shared is not None and (shared.home or shared.copied)

    def expects(self, sender: NodeId, parcel: Parcel) -> bool:
        """Whether these samples come from the job's source, fit the job, and are not all here. Changes nothing."""
        if not isinstance(parcel, DataParcel):
            return False
        chosen = self._plan_of(parcel.job)
        if chosen is None or chosen.spec.source != sender or sender == self.node or self.has(parcel.job):
            return False
        total = chosen.spec.samples if parcel.phase is Phase.TRAIN else chosen.spec.eval_samples
        return parcel.first_row + parcel.rows <= total

    def drop(self, job: JobId) -> None:
        """Forget the job, which is over."""
        self._jobs.pop(job, None)

    # --------------------------------------------------------------------------------------------- taking in

    def _take_in(self, event: Event, now: float) -> list[Effect]:
        match event:
            case MessageReceived(sender, message):
                return self._hear(sender, message, now)
            case JobSubmitted(spec):
                self._job(spec.job).home = True
            case DataCopied(job) | HeldFound(job, data=True):
                self._job(job).copied = True
                self._tell_at = now
            case DataNotCopied(job, reason):
                return self._not_copied(job, reason)
            case DataLost(job, reason):
                self._job(job).home = self._job(job).copied = False
                return [Log("warning", "sharing", reason)]
            case LeaderChanged(leader):
                self._leader, self._tell_at = leader, now
                for shared in self._jobs.values():
                    shared.known = False
            case _:
                self._notice(event)
        return []

    def _notice(self, event: Event) -> None:
        """Who is there, and what was lost."""
        match event:
            case ParcelLost(node, DataParcel(job)) if job in self._jobs and self._jobs[job].sent_to == node:
                self._jobs[job].sent_to = ""
            case MemberChanged() | MembersCame():
                for record in event.records:
                    self._member_changed(record)
            case _:
                pass

    def _hear(self, sender: NodeId, message: Message, now: float) -> list[Effect]:
        match message:
            case Start():
                return self._started(message)
            case Prepare(_, spec) | PlanChosen(_, spec) if self.has(spec.job):
                return self._drawn_by(spec)
            case DataWanted():
                return self._wanted(sender, message)
            case Committed(stamp, data_holder=holder) if stamp.job in self._jobs:
                self._jobs[stamp.job].known = holder != ""
                self._tell_at = now if self._tell_at is None else self._tell_at
            case _:
                pass
        return []

    def _started(self, start: Start) -> list[Effect]:
        """Begin to copy; what was lost meanwhile begins again with the leader's next ``Start``."""
        job, to = start.stamp.job, NodeId(start.data_holder)
        chosen = self._plan_of(job)
        if to in {"", self.node} or chosen is None or chosen.spec.source != self.node:
            return []
        shared = self._job(job)
        if shared.sent_to == to:
            return []
        shared.sent_to = to
        return [CopyData(chosen.spec, to)]

    def _drawn_by(self, spec: JobSpec) -> list[Effect]:
        """The leader has named the source; if that was this node until now, it need not draw any more."""
        shared = self._jobs[spec.job]
        was, shared.elsewhere = shared.elsewhere, spec.source != self.node
        return [StopFeeder(spec.job)] if shared.elsewhere and not was else []

    def _wanted(self, sender: NodeId, wanted: DataWanted) -> list[Effect]:
        """Go on where the holder says; one that keeps no copy is told about, once."""
        shared = self._jobs.get(wanted.job)
        if shared is None or shared.sent_to != sender:
            return []
        if wanted.problem:
            return self._not_copied(wanted.job, wanted.problem)
        return [SendRows(sender, wanted.job, wanted.phase, wanted.first_row)]

    def _not_copied(self, job: JobId, reason: str) -> list[Effect]:
        chosen = self._plan_of(job)
        name = job if chosen is None else chosen.spec.name
        return [Log("warning", "sharing", f"the samples of job {name} are not copied: {reason}")]

    def _member_changed(self, record: MemberRecord) -> None:
        """Whoever is gone, or another process now, has no copy."""
        changed = self._boots.get(record.node, record.boot) != record.boot
        self._boots[record.node] = record.boot
        for shared in self._jobs.values():
            if shared.sent_to == record.node and (changed or record.state in GONE):
                shared.sent_to = ""

    def _tell(self, now: float) -> list[Effect]:
        if self._tell_at is None or now < self._tell_at:
            return []
        untold = [job for job, shared in self._jobs.items() if shared.copied and not shared.known]
        self._tell_at = now + REPEAT_SECONDS if untold and self._leader is not None else None
        return [] if self._leader is None else [SendMessage(self._leader, DataHeld(job)) for job in untold]

    def _job(self, job: JobId) -> Shared:
        return self._jobs.setdefault(job, Shared())
