"""A node's side of getting ready for a plan: what to ask for, what to hand out.

::

    Prepare --> WantProgram, WantSnapshot ... --> parcels --> BuildStages --> StagesBuilt --> Prepared
                     |  repeated, slower each time
                     +--> Refused --> WorkFailed, which blames the holder: another plan may find another

Parcels are large, so a question that is repeated because an answer takes its time must not be answered twice: the one
who is asked serves each question once for as long as the session lasts, the one who asks repeats it ever more slowly.
Programs are handed out here, by whoever has one; snapshots in ``keeping.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from edged.core.effects import BuildStages, DropStages, Effect, KeepArrived, SendMessage, SendProgram
from edged.core.events import (
    Event,
    HeldFound,
    JobSubmitted,
    LinkLost,
    MemberChanged,
    MemoryRanOut,
    MessageReceived,
    ParcelArrived,
    ParcelLost,
    ParcelRefused,
    ProgramLoaded,
    StagesBuilt,
)
from edged.core.ids import JobId, NodeId, Stamp
from edged.core.messages import (
    Learn,
    Learned,
    Parcel,
    Prepare,
    Prepared,
    ProgramParcel,
    Refused,
    StateParcel,
    Transfer,
    WantProgram,
    WantSnapshot,
    WorkFailed,
)
from edged.core.plan import layers_in_words
from edged.core.watch import GONE

REPEAT_SECONDS = 1.0
"""The first repetition of a question; each next one waits twice as long."""

SLOWEST_SECONDS = 30.0
"""The longest pause between two repetitions."""

PROGRAM = -1
"""Of which version a program is refused."""


@dataclass(slots=True)
class Preparation:
    """One plan on its way: what is still missing, and the verdict (``None``: open)."""

    prepare: Prepare
    leader: NodeId
    missing: set[Transfer]
    building: bool = False
    verdict: Prepared | WorkFailed | None = None
    repeat_at: float | None = None
    pause: float = field(default=REPEAT_SECONDS)

    @property
    def stamp(self) -> Stamp:
        """The plan's stamp."""
        return self.prepare.plan.stamp

    @property
    def version(self) -> int:
        """The weight version from which the plan goes on."""
        return self.prepare.version


class Migration:
    """Prepares plans on ``node``, one at a time, and serves the programs that it has."""

    def __init__(self, node: NodeId) -> None:
        """Begin with nothing held."""
        self.node = node
        self.preparation: Preparation | None = None
        self.programs: set[JobId] = set()
        self._loading: set[JobId] = set()  # those of ``programs`` that lie on the disk only
        self._asked: dict[JobId, NodeId] = {}  # whose program, of whom; a plan may be replaced while it is on its way
        self._sources: set[JobId] = set()
        self._served: set[tuple[NodeId, JobId]] = set()

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take in one fact, then ask for what is missing."""
        effects = self._take_in(event, now)
        return effects + self._go_on(now)

    def deadline(self) -> float | None:
        """Return when to ask again."""
        return None if self.preparation is None else self.preparation.repeat_at

    def check(self) -> None:
        """Assert that a preparation is either asking, building or judged."""
        assert self._loading <= self.programs, "only what was found is loaded"
        preparation = self.preparation
        if preparation is None:
            return
        open_ = preparation.verdict is None
        assert (preparation.repeat_at is not None) == (open_ and not preparation.building), "asking exactly while open"
        if preparation.building:
            assert not preparation.missing, "nothing is built before everything has come"

    def has_program(self, job: JobId) -> bool:
        """Whether others can have the job's program from here."""
        return job in self.programs or job in self._sources

    def expects(self, sender: NodeId, parcel: Parcel) -> bool:
        """Whether this parcel is what ``sender`` was asked for, and has not come. Changes nothing."""
        if isinstance(parcel, ProgramParcel):
            return parcel.job not in self.programs and self._asked.get(parcel.job) == sender
        preparation = self.preparation
        if not isinstance(parcel, StateParcel) or parcel.replica:
            return False
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

    def arrived(self, stamp: Stamp) -> list[KeepArrived]:
        """What came from others for a plan of the same job older than ``stamp``, and nothing runs that was made of it.

        Transfers go on from there under the next plan.
        """
        known = self.preparation
        if known is None or known.stamp.job != stamp.job or known.stamp >= stamp:
            return []
        if isinstance(known.verdict, Prepared):  # it was built, or could not be: then others may have what can
            return []
        came = [each for each in known.prepare.transfers if each not in known.missing and each.holder != self.node]
        return [KeepArrived(known.stamp, each.first_layer, each.last_layer, each.version) for each in came]

    def halt(self, stamp: Stamp) -> list[Effect]:
        """All plans of the job that are older than ``stamp`` are over; the program stays."""
        known = self.preparation
        return self._drop_plan() if known is not None and known.stamp.job == stamp.job and known.stamp < stamp else []

    def give_up(self) -> list[Effect]:
        """The plan is void: whoever named it leads no more, and never did for the others."""
        return self._drop_plan()

    def drop(self, job: JobId) -> list[Effect]:
        """Forget the job: its plan, its program, and that it came from here."""
        effects = self._drop_plan() if self.preparation is not None and self.preparation.stamp.job == job else []
        self.programs.discard(job)
        self._loading.discard(job)
        self._asked.pop(job, None)
        self._sources.discard(job)
        self._served = {(node, served) for node, served in self._served if served != job}
        return effects

    # --------------------------------------------------------------------------------------------- taking in

    def _take_in(self, event: Event, now: float) -> list[Effect]:
        match event:
            case MessageReceived(sender, Prepare() as prepare):
                return self._prepare(sender, prepare, now)
            case MessageReceived(sender, Learn(job, holder)):
                return self._learn(sender, job, holder)
            case MessageReceived(sender, WantProgram(job)):
                return self._serve(sender, job)
            case MessageReceived(sender, Refused(job) as refused):
                return self._refused(sender, job, refused)
            case ParcelArrived(sender, parcel):
                self._arrived(sender, parcel)
            case StagesBuilt() | MemoryRanOut():
                return self._built(event)
            case JobSubmitted(spec):
                self._sources.add(spec.job)
            case ParcelRefused(sender, ProgramParcel() | StateParcel() as parcel) if self.expects(sender, parcel):
                return self._find(_why_refused(parcel)) if self._prepares(parcel) else []
            case _:
                self._notice(event)
        return []

    def _notice(self, event: Event) -> None:
        """What lay on the disk; who is there no longer."""
        match event:
            case HeldFound(job, program=True):
                self.programs.add(job)
                self._loading.add(job)
            case ProgramLoaded(job):
                self._loading.discard(job)
            case LinkLost(node) | ParcelLost(node):
                self._parted(node)
            case MemberChanged(record) if record.state in GONE:
                self._parted(record.node)
            case _:
                pass

    def _prepare(self, sender: NodeId, prepare: Prepare, now: float) -> list[Effect]:
        effects: list[Effect] = []
        known = self.preparation
        if known is not None and known.stamp == prepare.plan.stamp:
            known.leader = sender
            return [] if known.verdict is None else self._judge(known.verdict)
        if known is not None:
            effects += self._drop_plan()
        self.preparation = Preparation(prepare, sender, set(prepare.transfers), repeat_at=now)
        if self._needs_program(prepare):
            self._asked[prepare.spec.job] = prepare.program_holder
        return effects

    def _learn(self, sender: NodeId, job: JobId, holder: NodeId) -> list[Effect]:
        """Have the program before a plan counts on this node; the leader asks until it is here, and checked."""
        if job in self._loading:
            return []
        if job in self.programs:
            return [SendMessage(sender, Learned(job))]
        if self.preparation is not None and self.preparation.stamp.job == job and self.preparation.verdict is None:
            return []  # it is on its way from whom the plan names
        self._asked[job] = holder
        return [SendMessage(holder, WantProgram(job))]

    def _arrived(self, sender: NodeId, parcel: Parcel) -> None:
        """Take what was asked for off the list."""
        match parcel:
            case ProgramParcel(job) if self.expects(sender, parcel):
                self.programs.add(job)
            case StateParcel(_, first, last, version) if self.preparation and self.expects(sender, parcel):
                self.preparation.missing.discard(Transfer(first, last, version, holder=sender))
            case _:
                pass

    def _built(self, event: StagesBuilt | MemoryRanOut) -> list[Effect]:
        """Tell how it went. What there is no memory for does not fit here; another plan gives this node less."""
        preparation = self.preparation
        if preparation is None or preparation.verdict is not None:
            return []
        if isinstance(event, MemoryRanOut):
            preparation.building = False
            return self._judge(WorkFailed(preparation.stamp, event.reason, final=False, peer=self.node))
        if preparation.stamp != event.stamp or not preparation.building:
            return []
        preparation.building = False
        return self._find(event.problem)

    def _parted(self, node: NodeId) -> None:
        """The session with this node is over: what was on its way to it is lost, and it may ask again."""
        self._served = {(other, job) for other, job in self._served if other != node}

    def _refused(self, sender: NodeId, job: JobId, refused: Refused) -> list[Effect]:
        preparation = self.preparation
        if preparation is None or preparation.stamp.job != job or preparation.repeat_at is None:
            return []
        asked = {(transfer.holder, transfer.version) for transfer in preparation.missing}
        if job not in self.programs:
            asked.add((preparation.prepare.program_holder, PROGRAM))
        if (sender, refused.version) not in asked:
            return []
        return self._judge(WorkFailed(preparation.stamp, refused.reason, final=False, peer=sender))

    def _serve(self, sender: NodeId, job: JobId) -> list[Effect]:
        if not self.has_program(job):
            return [SendMessage(sender, Refused(job, f"the program of job {job} is not on node {self.node}"))]
        if (sender, job) in self._served:
            return []
        self._served.add((sender, job))
        return [SendProgram(sender, job)]

    # ---------------------------------------------------------------------------------------------- going on

    def _go_on(self, now: float) -> list[Effect]:
        """Do the next thing: ask, build, or wait."""
        preparation = self.preparation
        if preparation is None or preparation.building or preparation.verdict is not None:
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
        """Return what is still to be asked; a node that only feeds what was handed in there needs nothing."""
        plan, job = preparation.prepare.plan, preparation.stamp.job
        effects: list[Effect] = []
        if job not in self.programs and self._needs_program(preparation.prepare):
            effects.append(SendMessage(preparation.prepare.program_holder, WantProgram(job)))
        missing = sorted(preparation.missing, key=lambda t: t.first_layer)
        wants = [(t.holder, WantSnapshot(plan.stamp, t.first_layer, t.last_layer, t.version)) for t in missing]
        return effects + [SendMessage(holder, want) for holder, want in wants]

    def _needs_program(self, prepare: Prepare) -> bool:
        """Whoever computes does, and a source, which writes the result: one that took the job over may lack it."""
        writes = prepare.spec.source == self.node and prepare.spec.job not in self._sources
        return writes or bool(prepare.plan.hops_of(self.node))

    def _build(self, preparation: Preparation) -> list[Effect]:
        plan, spec = preparation.prepare.plan, preparation.prepare.spec
        preparation.repeat_at = None
        if not plan.hops_of(self.node):
            return self._find("")
        preparation.building = True
        return [BuildStages(plan, spec, preparation.version)]

    def _prepares(self, parcel: ProgramParcel | StateParcel) -> bool:
        """Whether the plan at hand needs this, and not another job that is learned."""
        job = parcel.job if isinstance(parcel, ProgramParcel) else parcel.stamp.job
        return self.preparation is not None and self.preparation.stamp.job == job

    def _find(self, problem: str) -> list[Effect]:
        """This node is ready, or no other holder could help it."""
        return [] if self.preparation is None else self._judge(Prepared(self.preparation.stamp, problem))

    def _judge(self, verdict: Prepared | WorkFailed) -> list[Effect]:
        """Tell the leader, now and whenever it asks again."""
        if self.preparation is None:
            return []
        self.preparation.verdict = verdict
        self.preparation.repeat_at = None
        return [SendMessage(self.preparation.leader, verdict)]

    def _drop_plan(self) -> list[Effect]:
        if self.preparation is None:
            return []
        stamp, self.preparation = self.preparation.stamp, None
        return [DropStages(stamp)]


def _why_refused(parcel: ProgramParcel | StateParcel) -> str:
    if isinstance(parcel, ProgramParcel):
        return f"its program of {parcel.size_bytes} bytes is more than a node takes"
    layers = layers_in_words(parcel.first_layer, parcel.last_layer)
    return f"the state of {layers} is not that of the program, or more than its memory holds"
