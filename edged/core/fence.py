"""The fence: which traffic of which plan may pass. The only place where a stamp is judged.

::

                         lower     equal     higher    over      a job never heard of
    the plan's own       drop      admit     drop      drop      drop
    questions, verdicts  drop      admit     admit     drop      admit
    reports              drop      admit     admit     admit     admit

A node learns a plan from the leader's ``Halt``, ``Prepare``, ``Start`` or ``PlanChosen``, and that it is over from
``End``; these are judged by the machines that read them and only *raise* the fence. The plan's own traffic may be
dropped when it is ahead of what this node knows, because no node works before every node of the plan has said
``Prepared``: what comes early has no honest sender. Reports are for people, and may come after the leader's ``End`` by
another road.

A replica of an older plan would hold the right bits, and is dropped all the same: the leader has counted who holds what
when it halted that plan, the next plan copies what it starts from anew, and one rule for all is easier to trust.
"""

from __future__ import annotations

from edged.core.ids import JobId, Stamp
from edged.core.messages import (
    Activation,
    Boundary,
    Committed,
    Decided,
    Drain,
    Drained,
    EvalReport,
    FinishedReport,
    Gradient,
    GradientNorms,
    Held,
    Inputs,
    Inventory,
    JobDone,
    Message,
    Parcel,
    Prepared,
    RecoveryReport,
    Result,
    StateParcel,
    StepReport,
    Stored,
    Stuck,
    Taken,
    Unwritten,
    Updated,
    WantProgress,
    WantSnapshot,
    WantState,
    WorkFailed,
)
from edged.errors import BrokenInvariantError

MOST_JOBS = 200
"""Jobs that are remembered; four times as many as the list of jobs keeps."""


class Fence:
    """Remembers, for every job, the highest stamp that the leader has named, and whether that plan is over."""

    def __init__(self) -> None:
        """No plan is known yet."""
        self._highest: dict[JobId, Stamp] = {}
        self._over: set[Stamp] = set()

    def learn(self, stamp: Stamp) -> bool:
        """The leader has named this plan; false if it is an older one, or over."""
        if stamp in self._over or stamp < self._highest.get(stamp.job, stamp):
            return False
        if stamp != self._highest.get(stamp.job):
            self._over = {other for other in self._over if other.job != stamp.job}
        self._highest[stamp.job] = stamp
        if len(self._highest) > MOST_JOBS:
            self._over.discard(self._highest.pop(next(iter(self._highest))))
        return True

    def close(self, stamp: Stamp) -> None:
        """The leader has ended this plan (``End``), and with it every older one of the job."""
        if self.learn(stamp):
            self._over.add(stamp)

    def forget(self) -> None:
        """The lineage that named all these plans was given up; those of the other may be of lower terms."""
        self._highest, self._over = {}, set()

    def refusal(self, subject: Message | Parcel) -> str:
        """Why this message or parcel must be dropped, in one sentence; empty if it may pass.

        What carries no stamp always passes, and so do the leader's ``Halt``, ``Prepare``, ``Start``, ``PlanChosen`` and
        ``End``.
        """
        match subject:
            case (
                Inputs(stamp=stamp)
                | Activation(stamp=stamp)
                | Gradient(stamp=stamp)
                | StateParcel(stamp=stamp)
                | Taken(stamp=stamp)
                | Result(stamp=stamp)
                | Updated(stamp=stamp)
                | GradientNorms(stamp=stamp)
                | WantProgress(stamp=stamp)
                | Boundary(stamp=stamp)
            ):
                return self._judge(stamp, type(subject).__name__, ahead=False, after=False)
            case (
                WantState(stamp=stamp)
                | WantSnapshot(stamp=stamp)
                | Prepared(stamp=stamp)
                | Inventory(stamp=stamp)
                | Held(stamp=stamp)
                | Stored(stamp=stamp)
                | Committed(stamp=stamp)
                | Drain(stamp=stamp)
                | Drained(stamp=stamp)
                | Stuck(stamp=stamp)
                | WorkFailed(stamp=stamp)
                | JobDone(stamp=stamp)
                | Unwritten(stamp=stamp)
            ):
                return self._judge(stamp, type(subject).__name__, ahead=True, after=False)
            case (
                StepReport(stamp=stamp)
                | EvalReport(stamp=stamp)
                | FinishedReport(stamp=stamp)
                | RecoveryReport(stamp=stamp)
                | Decided(stamp=stamp)
            ):
                return self._judge(stamp, type(subject).__name__, ahead=True, after=True)
            case _:
                return ""

    def check(self) -> None:
        """Every closed plan is the highest of its job."""
        for stamp in self._over:
            if self._highest.get(stamp.job) != stamp:
                raise BrokenInvariantError(f"{stamp} is over but {self._highest.get(stamp.job)} is the highest")

    def _judge(self, stamp: Stamp, what: str, *, ahead: bool, after: bool) -> str:
        named = f"{what} of plan ({stamp.term}, {stamp.version}) of job {stamp.job}"
        highest = self._highest.get(stamp.job)
        if highest is None:
            return "" if ahead else f"{named} dropped: the leader has named no plan of this job"
        if stamp in self._over and not after:
            return f"{named} dropped: this plan is over"
        if stamp < highest:
            return f"{named} dropped: plan ({highest.term}, {highest.version}) has replaced it"
        if stamp > highest and not ahead:
            return f"{named} dropped: the newest known is ({highest.term}, {highest.version})"
        return ""
