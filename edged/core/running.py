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
    ParcelLost,
    ParcelRefused,
    SampleDrawn,
    TimerFired,
    UpdateDone,
    WeightsWritten,
)
from edged.core.feeding import Feeding
from edged.core.ids import JobId, NodeId, Stamp
from edged.core.job import JobSpec
from edged.core.messages import (
    Activation,
    Gradient,
    Inputs,
    MemberRecord,
    MemberState,
    ProgramParcel,
    StateParcel,
    WantState,
)
from edged.core.plan import Plan
from edged.core.schedule import Schedule

MOST_ASKED = 16
"""Exports that wait for a job to be fed; the source hands in no more than that."""

BROKEN_SECONDS = 2.0
"""How long a broken connection waits for membership to say that a death was the cause, which is the better sentence."""

SUSPECT_SECONDS = 30.0
"""The same, while membership is in doubt about the node."""

_MOST_NAMED = 4


class Running:
    """At most one plan on ``node``. ``members`` gives the nodes to report to, ``record`` what is known of one."""

    def __init__(
        self,
        node: NodeId,
        members: Callable[[], tuple[NodeId, ...]],
        record: Callable[[NodeId], MemberRecord | None],
    ) -> None:
        """Begin with no plan."""
        self.node = node
        self.stamp: Stamp | None = None
        self.schedule: Schedule | None = None
        self.feeding: Feeding | None = None
        self.leader: NodeId | None = None
        self._members = members
        self._record = record
        self._asked: list[ExportAsked] = []
        self._broken: dict[NodeId, float] = {}
        self._broken_at: float | None = None

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
        self._broken, self._broken_at = {}, None

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
        effects += [] if self.feeding is None else self.feeding.handle(event, now)
        match event:
            case ParcelRefused(sender, parcel) if not isinstance(parcel, ProgramParcel) and self.expects(
                sender, parcel
            ):
                effects += self._fail(f"{_in_words(parcel)} from {self._name(sender)} cannot be taken", now)
            case ParcelLost(node, Inputs() | Activation() | Gradient()):
                self._breaks(node, now)
            case ParcelLost(node, StateParcel(version=version)) if version > 0:  # first weights are asked for again
                self._breaks(node, now)
            case _:
                pass
        return effects + self._judge_broken(now)

    def expects(self, sender: NodeId, parcel: Inputs | Activation | Gradient | StateParcel) -> bool:
        """Whether the plan in force waits for this parcel from this sender. Changes nothing."""
        if isinstance(parcel, StateParcel):
            return self.feeding is not None and self.feeding.expects(sender, parcel)
        return self.schedule is not None and self.schedule.expects(sender, parcel)

    def deadline(self) -> float | None:
        """Return the earlier of the machines' moments."""
        moments = [machine.deadline() for machine in (self.schedule, self.feeding) if machine is not None]
        return min((t for t in (*moments, self._broken_at) if t is not None), default=None)

    def check(self) -> None:
        """Assert the machines' invariants, and that there are none without a plan."""
        assert self.stamp is not None or (self.schedule is None and self.feeding is None), "machines without a plan"
        for machine in (self.schedule, self.feeding):
            if machine is not None:
                machine.check()

    def _breaks(self, node: NodeId, now: float) -> None:
        """Parcels are never sent twice, so a plan does not outlive a connection that held some."""
        if self._broken.setdefault(node, now) == now and self._broken_at is None:
            self._broken_at = now + BROKEN_SECONDS

    def _judge_broken(self, now: float) -> list[Effect]:
        """Fail, unless the node at the other end is about to be called dead."""
        if self._broken_at is None or now < self._broken_at:
            return []
        for node, since in self._broken.items():
            record = self._record(node)
            alive = record is not None and record.state is MemberState.ALIVE
            if alive or now - since >= SUSPECT_SECONDS:
                self._broken, self._broken_at = {}, None
                return self._fail(f"the connection between {self._name(self.node)} and {self._name(node)} broke", now)
        self._broken_at = now + BROKEN_SECONDS
        return []

    def _fail(self, reason: str, now: float) -> list[Effect]:
        effects = [] if self.schedule is None else self.schedule.fail(reason, now)
        return effects if self.feeding is None else effects + self.feeding.fail(reason, now)

    def _name(self, node: NodeId) -> str:
        record = self._record(node)
        return node if record is None else record.name

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
                | WeightsWritten(stamp=of)
            ):
                return of == stamp
            case SampleDrawn(job) | FeederFailed(job) | ExportAsked(job):
                return job == stamp.job
            case MessageReceived(message=WantState(version=0)):
                return False  # first weights are migration's to hand out
            case _:
                return True


def _in_words(parcel: Inputs | Activation | Gradient | StateParcel) -> str:
    if isinstance(parcel, StateParcel):
        return f"the weights of layers {parcel.first_layer}..{parcel.last_layer} at version {parcel.version}"
    what = {Inputs: "the inputs", Activation: "the activations", Gradient: "the gradients"}[type(parcel)]
    tensors = ", ".join(f"{tensor.name} {tensor.dtype} {list(tensor.shape)}" for tensor in parcel.tensors[:_MOST_NAMED])
    return f"{what} of {parcel.work.in_words()} ({tensors or 'no tensors'})"
