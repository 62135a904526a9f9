"""A node's side of getting ready for a plan: what to ask for, what to hand out.

::

    Prepare --> WantProgram, WantState ... --> parcels --> BuildStages --> StagesBuilt --> Prepared
                     |  repeated, slower each time                             ^
                     +--> Refused ---------------------------------------------+ (with the problem)

Parcels are large, so a question that is repeated because an answer takes its time must not be answered twice: the one
who is asked serves each question once for as long as the session lasts, the one who asks repeats it ever more slowly.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from edged.core.effects import BuildStages, DropStages, Effect, SendFirstState, SendMessage, SendProgram
from edged.core.events import (
    Event,
    JobSubmitted,
    LinkLost,
    MemberChanged,
    MessageReceived,
    ParcelArrived,
    ParcelLost,
    ParcelRefused,
    StagesBuilt,
)
from edged.core.ids import JobId, NodeId, Stamp
from edged.core.messages import (
    Parcel,
    Prepare,
    Prepared,
    ProgramParcel,
    Refused,
    StateParcel,
    Transfer,
    WantProgram,
    WantState,
)
from edged.core.watch import GONE

REPEAT_SECONDS = 1.0
"""The first repetition of a question; each next one waits twice as long."""

SLOWEST_SECONDS = 30.0
"""The longest pause between two repetitions."""


@dataclass(slots=True)
class Preparation:
    """One plan on its way: what is still missing, and the verdict (``None``: open, empty: ready)."""

    prepare: Prepare
    leader: NodeId
    missing: set[Transfer]
    building: bool = False
    problem: str | None = None
    repeat_at: float | None = None
    pause: float = field(default=REPEAT_SECONDS)

    @property
    def stamp(self) -> Stamp:
        """The plan's stamp."""
        return self.prepare.plan.stamp

    @property
    def version(self) -> int:
        """The weight version from which the plan goes on."""
        return self.prepare.transfers[0].version if self.prepare.transfers else 0


class Migration:
    """Prepares plans on ``node``, one at a time, and serves programs and first weights of the jobs handed in here."""

    def __init__(self, node: NodeId) -> None:
        """Begin with nothing held."""
        self.node = node
        self.preparation: Preparation | None = None
        self.programs: set[JobId] = set()
        self._asked: dict[JobId, NodeId] = {}  # whose program, of whom; a plan may be replaced while it is on its way
        self._sources: set[JobId] = set()
        self._served: set[tuple[NodeId, WantProgram | WantState]] = set()

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take in one fact, then ask for what is missing."""
        effects = self._take_in(event, now)
        return effects + self._go_on(now)

    def deadline(self) -> float | None:
        """Return when to ask again."""
        return None if self.preparation is None else self.preparation.repeat_at

    def check(self) -> None:
        """Assert that a preparation is either asking, building or judged."""
        preparation = self.preparation
        if preparation is None:
            return
        open_ = preparation.problem is None
        assert (preparation.repeat_at is not None) == (open_ and not preparation.building), "asking exactly while open"
        if preparation.building:
            assert not preparation.missing, "nothing is built before everything has come"

    def expects(self, sender: NodeId, parcel: ProgramParcel | StateParcel) -> bool:
        """Whether this parcel is what ``sender`` was asked for, and has not come. Changes nothing."""
        if isinstance(parcel, ProgramParcel):
            return parcel.job not in self.programs and self._asked.get(parcel.job) == sender
        preparation = self.preparation
        if preparation is None or preparation.repeat_at is None or preparation.stamp != parcel.stamp:
            return False
        return Transfer(parcel.first_layer, parcel.last_layer, parcel.version, holder=sender) in preparation.missing

    def holds(self, stamp: Stamp) -> Prepare | None:
        """Return what was asked for under this stamp, if it is the plan at hand."""
        at_hand = self.preparation is not None and self.preparation.stamp == stamp
        return self.preparation.prepare if self.preparation is not None and at_hand else None

    def jobs(self) -> set[JobId]:
        """Return the jobs of which this node holds anything."""
        plan = set() if self.preparation is None else {self.preparation.stamp.job}
        return plan | self.programs | self._sources | self._asked.keys()

    def drop(self, job: JobId) -> list[Effect]:
        """Forget the job: its plan, its program, and that it came from here."""
        effects = self._drop_plan() if self.preparation is not None and self.preparation.stamp.job == job else []
        self.programs.discard(job)
        self._asked.pop(job, None)
        self._sources.discard(job)
        self._served = {(n, q) for n, q in self._served if _job_of(q) != job}
        return effects

    # --------------------------------------------------------------------------------------------- taking in

    def _take_in(self, event: Event, now: float) -> list[Effect]:
        match event:
            case MessageReceived(sender, Prepare() as prepare):
                return self._prepare(sender, prepare, now)
            case MessageReceived(sender, WantProgram() | WantState(version=0) as question):
                return self._serve(sender, question)
            case MessageReceived(sender, Refused(job, reason)):
                return self._refused(sender, job, reason)
            case ParcelArrived(sender, parcel):
                self._arrived(sender, parcel)
            case StagesBuilt(stamp, problem):
                return self._built(stamp, problem)
            case JobSubmitted(spec):
                self._sources.add(spec.job)
            case ParcelRefused(sender, ProgramParcel() | StateParcel() as parcel) if self.expects(sender, parcel):
                return self._judge(_why_refused(parcel))
            case LinkLost(node) | ParcelLost(node):
                self._parted(node)
            case MemberChanged(record) if record.state in GONE:
                self._parted(record.node)
            case _:
                pass
        return []

    def _prepare(self, sender: NodeId, prepare: Prepare, now: float) -> list[Effect]:
        effects: list[Effect] = []
        known = self.preparation
        if known is not None and known.stamp == prepare.plan.stamp:
            known.leader = sender
            return [] if known.problem is None else self._judge(known.problem)
        if known is not None:
            effects += self._drop_plan()
        self.preparation = Preparation(prepare, sender, set(prepare.transfers), repeat_at=now)
        if prepare.plan.hops_of(self.node):
            self._asked[prepare.spec.job] = prepare.spec.source
        return effects

    def _arrived(self, sender: NodeId, parcel: Parcel) -> None:
        """Take what was asked for off the list."""
        match parcel:
            case ProgramParcel(job) if self.expects(sender, parcel):
                self.programs.add(job)
            case StateParcel(_, first, last, version) if self.preparation and self.expects(sender, parcel):
                self.preparation.missing.discard(Transfer(first, last, version, holder=sender))
            case _:
                pass

    def _built(self, stamp: Stamp, problem: str) -> list[Effect]:
        if self.preparation is None or self.preparation.stamp != stamp or not self.preparation.building:
            return []
        self.preparation.building = False
        return self._judge(problem)

    def _parted(self, node: NodeId) -> None:
        """The session with this node is over: what was on its way to it is lost, and it may ask again."""
        self._served = {(n, q) for n, q in self._served if n != node}

    def _refused(self, sender: NodeId, job: JobId, reason: str) -> list[Effect]:
        preparation = self.preparation
        if preparation is None or preparation.stamp.job != job or preparation.repeat_at is None:
            return []
        asked = {t.holder for t in preparation.missing}
        if sender in asked or (sender == self._source() and job not in self.programs):
            return self._judge(reason)
        return []

    def _serve(self, sender: NodeId, question: WantProgram | WantState) -> list[Effect]:
        job = _job_of(question)
        if job not in self._sources:
            return [SendMessage(sender, Refused(job, f"node {self.node} is not the source of job {job}"))]
        if (sender, question) in self._served:
            return []
        self._served.add((sender, question))
        if isinstance(question, WantProgram):
            return [SendProgram(sender, job)]
        return [SendFirstState(sender, question.stamp, question.first_layer, question.last_layer)]

    # ---------------------------------------------------------------------------------------------- going on

    def _go_on(self, now: float) -> list[Effect]:
        """Do the next thing: ask, build, or wait."""
        preparation = self.preparation
        if preparation is None or preparation.building or preparation.problem is not None:
            return []
        questions = self._questions(preparation)
        if not questions:
            return self._build(preparation)
        if preparation.repeat_at is not None and now >= preparation.repeat_at:
            preparation.repeat_at = now + preparation.pause
            preparation.pause = min(2 * preparation.pause, SLOWEST_SECONDS)
            return questions
        return []

    def _questions(self, preparation: Preparation) -> list[Effect]:
        """Return what is still to be asked; a node that only feeds needs nothing."""
        plan, job = preparation.prepare.plan, preparation.stamp.job
        effects: list[Effect] = []
        if job not in self.programs and plan.hops_of(self.node):
            effects.append(SendMessage(preparation.prepare.spec.source, WantProgram(job)))
        missing = sorted(preparation.missing, key=lambda t: t.first_layer)
        wants = [(t.holder, WantState(plan.stamp, t.first_layer, t.last_layer, t.version)) for t in missing]
        return effects + [SendMessage(holder, want) for holder, want in wants]

    def _build(self, preparation: Preparation) -> list[Effect]:
        plan, spec = preparation.prepare.plan, preparation.prepare.spec
        preparation.repeat_at = None
        if not plan.hops_of(self.node):
            return self._judge("")
        preparation.building = True
        return [BuildStages(plan, spec, preparation.version)]

    def _judge(self, problem: str) -> list[Effect]:
        """Tell the leader, now and whenever it asks again."""
        if self.preparation is None:
            return []
        self.preparation.problem = problem
        self.preparation.repeat_at = None
        return [SendMessage(self.preparation.leader, Prepared(self.preparation.stamp, problem))]

    def _drop_plan(self) -> list[Effect]:
        if self.preparation is None:
            return []
        stamp, self.preparation = self.preparation.stamp, None
        return [DropStages(stamp)]

    def _source(self) -> NodeId | None:
        return None if self.preparation is None else self.preparation.prepare.spec.source


def _job_of(question: WantProgram | WantState) -> JobId:
    return question.job if isinstance(question, WantProgram) else question.stamp.job


def _why_refused(parcel: ProgramParcel | StateParcel) -> str:
    if isinstance(parcel, ProgramParcel):
        return f"its program of {parcel.size_bytes} bytes is more than a node takes"
    layers = f"layers {parcel.first_layer}..{parcel.last_layer}"
    return f"the state of {layers} is not that of the program, or more than its memory holds"
