"""A node's part in the plan that is in force: the schedule of its hops and, on the source, the feeding.

The schedule begins as soon as the stages are built: work may come before this node's own ``Start``, because others have
had theirs. Feeding begins with ``Start``. Both end together, with ``End`` or when a newer plan is prepared.
"""

from __future__ import annotations

from collections.abc import Callable

from edged.core.effects import Effect
from edged.core.events import (
    BackwardDone,
    ComputeFailed,
    Event,
    ExportAsked,
    FeederFailed,
    ForwardDone,
    LeaderChanged,
    MessageReceived,
    NormsTaken,
    SampleDrawn,
    StateCollected,
    TimerFired,
    UpdateDone,
    WeightsWritten,
)
from edged.core.feeding import Feeding
from edged.core.ids import JobId, NodeId, Stamp
from edged.core.job import JobSpec
from edged.core.messages import Activation, Gradient, Inputs, StateParcel, WantState
from edged.core.plan import Plan
from edged.core.schedule import Schedule

MOST_ASKED = 16
"""Exports that wait for a job to be fed; older ones are forgotten."""


class Running:
    """At most one plan on ``node``. ``members`` gives the nodes to report to."""

    def __init__(self, node: NodeId, members: Callable[[], tuple[NodeId, ...]]) -> None:
        """Begin with no plan."""
        self.node = node
        self.stamp: Stamp | None = None
        self.schedule: Schedule | None = None
        self.feeding: Feeding | None = None
        self.leader: NodeId | None = None
        self._members = members
        self._asked: list[ExportAsked] = []

    def ready(self, plan: Plan, spec: JobSpec, version: int) -> None:
        """The stages of this plan are built: work may come."""
        self._take(plan.stamp)
        if self.schedule is None:
            self.schedule = Schedule(plan, spec, self.node, version, self.leader)

    def start(self, plan: Plan, spec: JobSpec, version: int, now: float) -> list[Effect]:
        """The leader has said ``Start``; again or for the first time."""
        self._take(plan.stamp)
        if spec.source != self.node or self.feeding is not None:
            return []
        self.feeding = Feeding(plan, spec, self.node, version, self.leader, self._members)
        effects = self.feeding.handle(TimerFired(), now)
        for asked in [asked for asked in self._asked if asked.job == spec.job]:
            effects += self.feeding.handle(asked, now)
        self.forget(spec.job)
        return effects

    def drop(self) -> None:
        """The plan is over."""
        self.stamp = self.schedule = self.feeding = None

    def forget(self, job: JobId) -> None:
        """What was asked of this job has been passed on, or the job is over."""
        self._asked = [asked for asked in self._asked if asked.job != job]

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Hand a fact on to the machines of the plan; an answer meant for an older plan is dropped.

        An export that is asked for before the job is fed waits for that.
        """
        if isinstance(event, LeaderChanged):
            self.leader = event.leader
        if isinstance(event, ExportAsked) and (
            self.feeding is None or self.stamp is None or self.stamp.job != event.job
        ):
            self._asked = [*self._asked[1 - MOST_ASKED :], event]
            return []
        if self.stamp is None or not self._concerns(event, self.stamp):
            return []
        effects = [] if self.schedule is None else self.schedule.handle(event, now)
        return effects if self.feeding is None else effects + self.feeding.handle(event, now)

    def expects(self, sender: NodeId, parcel: Inputs | Activation | Gradient | StateParcel) -> bool:
        """Whether the plan in force waits for this parcel from this sender. Changes nothing."""
        if isinstance(parcel, StateParcel):
            return self.feeding is not None and self.feeding.expects(sender, parcel)
        return self.schedule is not None and self.schedule.expects(sender, parcel)

    def deadline(self) -> float | None:
        """Return the earlier of the machines' moments."""
        moments = [machine.deadline() for machine in (self.schedule, self.feeding) if machine is not None]
        return min((t for t in moments if t is not None), default=None)

    def check(self) -> None:
        """Assert the machines' invariants, and that there are none without a plan."""
        assert self.stamp is not None or (self.schedule is None and self.feeding is None), "machines without a plan"
        for machine in (self.schedule, self.feeding):
            if machine is not None:
                machine.check()

    def _take(self, stamp: Stamp) -> None:
        if self.stamp != stamp:
            self.drop()
            self.stamp = stamp

    @staticmethod
    def _concerns(event: Event, stamp: Stamp) -> bool:
        """Whether an answer of the shell belongs to the plan in force; messages have passed the fence."""
        match event:
            case (
                ForwardDone(stamp=of)
                | BackwardDone(stamp=of)
                | NormsTaken(stamp=of)
                | UpdateDone(stamp=of)
                | ComputeFailed(stamp=of)
                | StateCollected(stamp=of)
                | WeightsWritten(stamp=of)
            ):
                return of == stamp
            case SampleDrawn(job) | FeederFailed(job) | ExportAsked(job):
                return job == stamp.job
            case MessageReceived(message=WantState(version=0)):
                return False  # first weights are migration's to hand out
            case _:
                return True
