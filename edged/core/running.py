"""A node's part in the plan that is in force: the schedule of its hops and, on the source, the feeding.

The schedule begins as soon as the stages are built: work may come before this node's own ``Start``, because others have
had theirs. Feeding begins with ``Start``. Both end together: with ``End``, with the leader's ``Halt``, or when a
newer plan is prepared. Parcels are never sent twice, so a plan does not outlive a connection that held some: that is
told to the leader, who makes another plan. Nor does it outlive a shortage of memory: the shell has let go of all
that it ran, so both machines stand still until the leader has made a plan that gives this node less.
"""

from __future__ import annotations

from collections.abc import Callable

from edged.core.effects import Effect, SendMessage, TakeSnapshot
from edged.core.events import (
    BackwardDone,
    ComputeFailed,
    DataLost,
    Event,
    ExportAsked,
    FeederFailed,
    ForwardDone,
    LeaderChanged,
    MemoryRanOut,
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
    Parcel,
    Start,
    StateParcel,
    WorkFailed,
)
from edged.core.plan import Plan, layers_in_words
from edged.core.schedule import Schedule

MOST_ASKED = 16
"""Exports that wait for a job to be fed; the source hands in no more than that."""

BROKEN_SECONDS = 1.0
"""How long a broken connection waits for membership to say that a death was the cause, which is the better sentence.

Also the pause between two tellings that it broke, and while membership is in doubt about the node."""

REPEAT_SECONDS = 0.5
"""The leader is told this often that this node's part is over, until it halts the plan."""

SUSPECT_SECONDS = 30.0
"""How long membership may be in doubt before the connection is told all the same."""

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
        self._every = 0
        self._out_of_memory = ""
        self._tell_at: float | None = None
        self._fed: tuple[JobId, float] | None = None  # the job that was fed last, and since when

    def ready(self, plan: Plan, spec: JobSpec, version: int, now: float) -> list[Effect]:
        """The stages of this plan are built: work may come. The state that it begins with is copied at once."""
        self._take(plan.stamp)
        if self.schedule is not None:
            return []
        self.schedule = Schedule(plan, spec, self.node, version)
        self.schedule.snapshots.every = self._every
        return self.schedule.handle(TimerFired(), now)

    def start(self, plan: Plan, spec: JobSpec, start: Start, now: float) -> list[Effect]:
        """The leader has said ``Start``; again, with another interval perhaps, or for the first time."""
        self._take(plan.stamp)
        self._every = start.every
        if self.schedule is not None:
            self.schedule.snapshots.every = start.every
        if spec.source != self.node or self.feeding is not None:
            return []
        if self._fed is None or self._fed[0] != spec.job:
            self._fed = (spec.job, now)
        self.feeding = Feeding(plan, spec, self.node, start.version, self.leader, self._members, self._fed[1])
        effects = self.feeding.handle(TimerFired(), now)
        for asked in [asked for asked in self._asked if asked.job == spec.job]:
            effects += self.feeding.handle(asked, now)
        self.forget(spec.job)
        return effects

    def drop(self) -> None:
        """The plan is over. Exports that it still owed wait for the next one of the job."""
        if self.feeding is not None and self.stamp is not None:
            owed = [ExportAsked(self.stamp.job, token) for token in self.feeding.exports]
            self._asked = [*self._asked, *owed][-MOST_ASKED:]
        self.stamp = self.schedule = self.feeding = None
        self._broken, self._broken_at, self._every = {}, None, 0
        self._out_of_memory, self._tell_at = "", None

    def halt(self, stamp: Stamp) -> None:
        """All plans of the job that are older than ``stamp`` are over."""
        if self.stamp is not None and self.stamp.job == stamp.job and self.stamp < stamp:
            self.drop()

    def standing(self, stamp: Stamp) -> list[TakeSnapshot]:
        """What may be copied as it is, of a plan of the same job that is older than ``stamp``."""
        if self.stamp is None or self.stamp.job != stamp.job or self.stamp >= stamp or self.schedule is None:
            return []
        if self._out_of_memory:
            return []
        return self.schedule.standing()

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
            self.feeding is None or self._out_of_memory or self.stamp is None or self.stamp.job != event.job
        ):
            self._asked = [*self._asked[1 - MOST_ASKED :], event]
            return []
        if self.stamp is None or not self._concerns(event, self.stamp):
            return []
        if isinstance(event, MemoryRanOut) and not self._out_of_memory:
            self._out_of_memory, self._tell_at = event.reason, now
        if self._out_of_memory:
            return self._tell_of_memory(now)
        effects = [] if self.schedule is None else self.schedule.handle(event, now)
        effects += [] if self.feeding is None else self.feeding.handle(event, now)
        match event:
            case ParcelRefused(sender, Inputs() | Activation() | Gradient() | StateParcel() as parcel) if self.expects(
                sender, parcel
            ):
                effects += self._refuse(parcel, f"{_in_words(parcel)} from {self._name(sender)} cannot be taken", now)
            case ParcelLost(node, Inputs() | Activation() | Gradient()):
                self._breaks(node, now)
            case _:
                pass
        return effects + self._judge_broken(now)

    def expects(self, sender: NodeId, parcel: Parcel) -> bool:
        """Whether the plan in force waits for this parcel from this sender. Changes nothing."""
        match parcel:
            case _ if self._out_of_memory:
                return False
            case StateParcel():
                return self.feeding is not None and self.feeding.expects(sender, parcel)
            case Inputs() | Activation() | Gradient():
                return self.schedule is not None and self.schedule.expects(sender, parcel)
            case _:
                return False

    def deadline(self) -> float | None:
        """Return the earlier of the machines' moments."""
        if self._out_of_memory:
            return self._tell_at
        moments = [machine.deadline() for machine in (self.schedule, self.feeding) if machine is not None]
        return min((t for t in (*moments, self._broken_at) if t is not None), default=None)

    def check(self) -> None:
        """Assert the machines' invariants, and that there are none without a plan."""
        assert self.stamp is not None or (self.schedule is None and self.feeding is None), "machines without a plan"
        for machine in (self.schedule, self.feeding):
            if machine is not None:
                machine.check()

    def _breaks(self, node: NodeId, now: float) -> None:
        if self._broken.setdefault(node, now) == now and self._broken_at is None:
            self._broken_at = now + BROKEN_SECONDS

    def _judge_broken(self, now: float) -> list[Effect]:
        """Tell the leader, until it halts the plan, unless the node at the other end is about to be called dead."""
        if self._broken_at is None or self.stamp is None or now < self._broken_at:
            return []
        self._broken_at = now + BROKEN_SECONDS
        effects: list[Effect] = []
        for node, since in self._broken.items():
            record = self._record(node)
            alive = record is not None and record.state is MemberState.ALIVE
            if self.leader is not None and (alive or now - since >= SUSPECT_SECONDS):
                reason = f"the connection between {self._name(self.node)} and {self._name(node)} broke"
                effects.append(SendMessage(self.leader, WorkFailed(self.stamp, reason, final=False, peer=node)))
        return effects

    def _tell_of_memory(self, now: float) -> list[Effect]:
        """Nothing is computed here any more, under this plan: have the leader make one that gives this node less."""
        if self.stamp is None or self._tell_at is None or now < self._tell_at:
            return []
        self._tell_at = now + REPEAT_SECONDS
        if self.leader is None:
            return []
        failed = WorkFailed(self.stamp, self._out_of_memory, final=False, peer=self.node)
        return [SendMessage(self.leader, failed)]

    def _refuse(self, parcel: Parcel, reason: str, now: float) -> list[Effect]:
        if isinstance(parcel, StateParcel):
            return [] if self.feeding is None else self.feeding.cannot_take(reason, now)
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
            case SampleDrawn(job) | FeederFailed(job) | DataLost(job) | ExportAsked(job):
                return job == stamp.job
            case _:
                return True


def _in_words(parcel: Inputs | Activation | Gradient | StateParcel) -> str:
    if isinstance(parcel, StateParcel):
        return f"the weights of {layers_in_words(parcel.first_layer, parcel.last_layer)} at version {parcel.version}"
    what = {Inputs: "the inputs", Activation: "the activations", Gradient: "the gradients"}[type(parcel)]
    tensors = ", ".join(f"{tensor.name} {tensor.dtype} {list(tensor.shape)}" for tensor in parcel.tensors[:_MOST_NAMED])
    return f"{what} of {parcel.work.in_words()} ({tensors or 'no tensors'})"
