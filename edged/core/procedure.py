"""The one procedure that puts a plan in force, seen from the leader: fence, plan, transfer, resume.

::

          not measured, not enough             all prepared       progress
    FENCE -> PLAN <-------> WAIT    TRANSFER -------------> RESUME -------> RUN
      ^        |  (by FENCE)           ^                       |             |
      +--------+-----------------------+   any trouble, a stop, a result     v
     plan lost a member    planned         ------------------------------> OVER

``TABLE`` is the truth of this picture: what is not listed cannot happen. A leader change is not a plan change: a new
leader that knows the plan adopts it at RESUME, one that knows only that a job runs waits at ADOPT for its source to
tell. The inventory phase and the triggers that mend a plan instead of ending it (died, left, joined, slow) are rows to
add: every phase is keyed by the stamp and repeats itself until answered, so that going back to FENCE is always safe.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import Enum
from typing import assert_never

from edged.core.effects import Effect, Log, MakePlan, SendMessage
from edged.core.events import Event, MemberChanged, MessageReceived, PlanMade
from edged.core.ids import NodeId, Stamp
from edged.core.job import JobSpec
from edged.core.messages import (
    End,
    EvalReport,
    FinishedReport,
    JobDone,
    JobRecord,
    JobState,
    MemberRecord,
    MemberState,
    Message,
    PlanChosen,
    Prepare,
    Prepared,
    Start,
    StepReport,
    StopRequest,
    Transfer,
    WorkFailed,
)
from edged.core.plan import Plan
from edged.core.watch import GONE, Watch
from edged.errors import BrokenInvariantError

REPEAT_SECONDS = 1.0
"""Unanswered messages are sent again this often."""

TRANSFER_SECONDS = 60.0
"""How long a transfer may take, besides the bytes."""

TRANSFER_BYTES_PER_SECOND = 125_000.0
"""The slowest link (1 Mbit/s) that a transfer is given time for."""

ADOPT_SECONDS = 30.0
"""How long a new leader waits for a running job's source to tell the plan."""


MEASURE_SECONDS = 5.0
"""How long a job waits for members that have not measured their speed yet."""

IMPOSSIBLE_SECONDS = 60.0
"""How long a job for which there is no plan waits for members that still measure, or are in doubt."""


class Stage(Enum):
    """Where the procedure stands."""

    FENCE = "fence"
    PLAN = "plan"
    WAIT = "wait"
    ADOPT = "adopt"
    TRANSFER = "transfer"
    RESUME = "resume"
    RUN = "run"
    OVER = "over"


class Turn(Enum):
    """What has happened, in the procedure's own words."""

    FENCED = "a new version has been raised"
    EARLY = "a member has not measured its speed yet"
    PLANNED = "there is a plan"
    STALE = "the plan lost a member before anyone was told of it"
    UNPLANNED = "no plan is possible now"
    RETRY = "it is worth asking for a plan again"
    TOLD = "the source has told the plan that runs"
    PREPARED = "every node of the plan is ready"
    PROGRESS = "a step or an evaluation is done"
    ENDED = "trouble, a stop or the result"


_ANYWHERE = {Turn.ENDED: Stage.OVER}

TABLE: Mapping[Stage, Mapping[Turn, Stage]] = {
    Stage.FENCE: {Turn.FENCED: Stage.PLAN, Turn.EARLY: Stage.WAIT, **_ANYWHERE},
    Stage.PLAN: {Turn.PLANNED: Stage.TRANSFER, Turn.STALE: Stage.FENCE, Turn.UNPLANNED: Stage.WAIT, **_ANYWHERE},
    Stage.WAIT: {Turn.RETRY: Stage.FENCE, **_ANYWHERE},
    Stage.ADOPT: {Turn.TOLD: Stage.RESUME, **_ANYWHERE},
    Stage.TRANSFER: {Turn.PREPARED: Stage.RESUME, **_ANYWHERE},
    Stage.RESUME: {Turn.PROGRESS: Stage.RUN, **_ANYWHERE},
    Stage.RUN: {Turn.PROGRESS: Stage.RUN, **_ANYWHERE},
    Stage.OVER: {},
}
"""Stage -> turn -> next stage; an unlisted pair is an error."""

STANDING: Mapping[Stage, JobState] = {
    Stage.FENCE: JobState.QUEUED,
    Stage.PLAN: JobState.QUEUED,
    Stage.WAIT: JobState.QUEUED,
    Stage.ADOPT: JobState.RUNNING,
    Stage.TRANSFER: JobState.PREPARING,
    Stage.RESUME: JobState.RUNNING,
    Stage.RUN: JobState.RUNNING,
}
"""How a job's record reads at each stage, before it is over."""


class Procedure:
    """The leader's side of one job, from the queue to its end.

    ``members`` is the live member list (its own record included), owned by the caller. ``record`` is how the job
    stands; ``version`` the highest plan version that this leadership has issued. Build it with ``begin`` or ``adopt``.
    """

    def __init__(self, record: JobRecord, term: int, version: int, members: Mapping[NodeId, MemberRecord]) -> None:
        """Prepare to run ``record``'s job in this term; nothing happens yet."""
        self.record = record
        self.version = version
        self.stage = Stage.FENCE
        self.spec: JobSpec | None = None
        self.plan: Plan | None = None
        self._term = term
        self._members = members
        self._watch = Watch(record.source, members)
        self._unanswered: set[NodeId] = set()
        self._repeat_at: float | None = None
        self._overdue_at: float | None = None

    # ---------------------------------------------------------------------------------------- beginnings

    def begin(self, spec: JobSpec, now: float) -> list[Effect]:
        """Take the job from the queue."""
        self.spec = spec
        self._measured_by = now + MEASURE_SECONDS
        self._possible_by = now + IMPOSSIBLE_SECONDS
        lost = self._watch.lost()
        return self._end(JobState.FAILED, lost, now) if lost else self._enter(Stage.FENCE, now)

    def adopt(self, known: PlanChosen | None, now: float) -> list[Effect]:
        """Go on with a job that an earlier leader has started; ``known`` is its plan if this node heard of it."""
        self.stage = Stage.ADOPT
        self._overdue_at = now + ADOPT_SECONDS
        if known is not None:
            return self._take_over(known, now)
        lost = self._watch.lost()
        return self._end(JobState.FAILED, lost, now) if lost else []

    def _take_over(self, known: PlanChosen, now: float) -> list[Effect]:
        self.plan, self.spec = known.plan, known.spec
        self._watch.follow(known.plan)
        lost = self._watch.lost()
        return self._end(JobState.FAILED, lost, now) if lost else self._turn(Turn.TOLD, now)

    # ------------------------------------------------------------------------------------------- contract

    def participants(self) -> tuple[NodeId, ...]:
        """Return the nodes that the job cannot do without: the source and the plan's nodes."""
        return self._watch.nodes

    @property
    def stamp(self) -> Stamp | None:
        """The stamp of the plan that has been told to others."""
        return None if self.plan is None else self.plan.stamp

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Go on by one fact; what does not concern this job is ignored."""
        if self.stage is Stage.OVER:
            return []
        match event:
            case MessageReceived(sender, message):
                effects = self._hear(sender, message, now)
            case PlanMade(job, plan, problem) if job == self.record.job and self.stage is Stage.PLAN:
                effects = self._planned(plan, problem, now)
            case MemberChanged(record):
                effects = self._member_changed(record, now)
            case _:
                effects = []
        return effects + self._timers(now)

    def overrule(self, record: JobRecord, now: float) -> list[Effect]:
        """An earlier leader had ended the job already, as ``record`` says: end it the same way."""
        return [] if self.stage is Stage.OVER else self._end(record.state, record.reason, now, record.step)

    def deadline(self) -> float | None:
        """Return when to repeat or to give up."""
        moments = [t for t in (self._repeat_at, self._overdue_at) if t is not None]
        return min(moments, default=None)

    def check(self) -> None:
        """Assert that the stage has what it needs."""
        if self.stage in {Stage.TRANSFER, Stage.RESUME, Stage.RUN}:
            assert self.plan is not None, f"{self.stage} without a plan"
            assert self.spec is not None, f"{self.stage} without a spec"
            assert set(self.plan.nodes()) <= set(self.participants()), "a node of the plan is not watched"
        if self.stage is Stage.TRANSFER:
            assert self._unanswered, "nobody is waited for"
            assert self._overdue_at is not None, "a transfer must be bounded"
        if self.stage is Stage.OVER:
            assert self.deadline() is None, "an ended job needs no time"
        elif self.stage is not Stage.PLAN:
            assert self.stage is Stage.RUN or self.deadline() is not None, f"{self.stage} waits for nothing"

    # ------------------------------------------------------------------------------------- the machinery

    def _turn(self, turn: Turn, now: float) -> list[Effect]:
        after = TABLE[self.stage].get(turn)
        if after is None:
            raise BrokenInvariantError(f"job {self.record.job}: {turn.value!r} cannot happen at {self.stage.value!r}")
        return [] if after is self.stage else self._enter(after, now)

    def _enter(self, stage: Stage, now: float) -> list[Effect]:
        self.stage = stage
        self._repeat_at = self._overdue_at = None
        if stage is Stage.OVER:
            return []
        self.record = replace(self.record, state=STANDING[stage], reason="")
        match stage:
            case Stage.FENCE:
                self.version += 1
                self.plan = None
                self._watch.follow(None)
                return self._begin_plan(now)
            case Stage.PLAN:
                measured = tuple(member for member in self._alive() if member.slowness > 0.0)
                return [MakePlan(self._spec(), self._next_stamp(), measured)]
            case Stage.WAIT:
                self._repeat_at = now + REPEAT_SECONDS
                return []
            case Stage.TRANSFER:
                self._unanswered = set(self.participants())
                moved = sum(layer.state_bytes for layer in self._spec().layers) * (2 + self._spec().optimizer_copies)
                self._overdue_at = now + TRANSFER_SECONDS + moved / TRANSFER_BYTES_PER_SECOND
                return self._repeat(now)
            case Stage.RESUME:
                return [Log("info", "jobs", f"job {self.record.name}: {self._plan().reason}"), *self._repeat(now)]
            case Stage.RUN | Stage.ADOPT:
                return []
        assert_never(stage)

    def _begin_plan(self, now: float) -> list[Effect]:
        """Plan, unless a member's speed is about to be known: it would be left out of the whole job."""
        early = [m.name for m in self._alive() if m.slowness == 0.0]
        if not early or now >= self._measured_by:
            return self._turn(Turn.FENCED, now)
        effects = self._turn(Turn.EARLY, now)
        self.record = replace(self.record, reason=f"waiting for the speed of {', '.join(early)}")
        return effects

    def _repeat(self, now: float) -> list[Effect]:
        """Say again what has not been answered."""
        self._repeat_at = now + REPEAT_SECONDS
        if self.stage is Stage.TRANSFER:
            return [SendMessage(to, self._prepare(to)) for to in self.participants() if to in self._unanswered]
        plan, spec = self._plan(), self._spec()
        messages: tuple[Message, ...] = (PlanChosen(plan, spec), Start(plan.stamp, 0))
        return [SendMessage(to, message) for to in self.participants() for message in messages]

    def _timers(self, now: float) -> list[Effect]:
        if self._overdue_at is not None and now >= self._overdue_at:
            return self._end(JobState.FAILED, self._overdue(), now)
        if self._repeat_at is None or now < self._repeat_at:
            return []
        return self._turn(Turn.RETRY, now) if self.stage is Stage.WAIT else self._repeat(now)

    def _end(self, state: JobState, reason: str, now: float, step: int = 0) -> list[Effect]:
        """Tell everyone that the plan is over."""
        effects = self._turn(Turn.ENDED, now)
        self.record = replace(self.record, state=state, reason=reason, step=max(step, self.record.step))
        level = "info" if state is JobState.FINISHED else "warning"
        effects.append(Log(level, "jobs", f"job {self.record.name} {state.name.lower()}" + (reason and f": {reason}")))
        if self.stamp is not None:
            end = End(self.stamp, state, reason)
            effects += [SendMessage(to, end) for to, m in self._members.items() if m.state not in GONE]
        return effects

    # ------------------------------------------------------------------------------------------- messages

    def _hear(self, sender: NodeId, message: Message, now: float) -> list[Effect]:
        match message:
            case Prepared(stamp, problem) if stamp == self.stamp and self.stage is Stage.TRANSFER:
                return self._prepared(sender, problem, now)
            case StepReport(stamp, step) | EvalReport(stamp, step) if stamp == self.stamp:
                return self._progress(step, now)
            case FinishedReport(stamp, steps) if stamp == self.stamp:
                return self._progress(steps, now)
            case JobDone(stamp, step, problem) if stamp == self.stamp and sender == self.record.source:
                state = JobState.FAILED if problem else JobState.FINISHED
                return self._end(state, problem, now, step)
            case WorkFailed(stamp, reason) if stamp == self.stamp and sender in self.participants():
                return self._end(JobState.FAILED, reason, now)
            case StopRequest(job, reason) if job == self.record.job:
                return self._end(JobState.STOPPED, reason, now)
            case PlanChosen(plan) if plan.stamp.job == self.record.job and self.stage is Stage.ADOPT:
                return self._take_over(message, now) if sender == self.record.source else []
            case _:
                return []

    def _progress(self, step: int, now: float) -> list[Effect]:
        if self.stage not in {Stage.RESUME, Stage.RUN}:
            return []
        self.record = replace(self.record, step=step)
        return self._turn(Turn.PROGRESS, now)

    def _prepared(self, sender: NodeId, problem: str, now: float) -> list[Effect]:
        if sender not in self._unanswered:
            return []
        if problem:
            return self._end(JobState.FAILED, f"{self._watch.names([sender])} could not prepare: {problem}", now)
        self._unanswered.discard(sender)
        return [] if self._unanswered else self._turn(Turn.PREPARED, now)

    def _planned(self, plan: Plan | None, problem: str, now: float) -> list[Effect]:
        if plan is not None and plan.stamp != self._next_stamp():
            return []
        if plan is None and (now >= self._possible_by or not self._more_may_come()):
            return self._end(JobState.FAILED, problem, now)
        if plan is None:
            effects = self._turn(Turn.UNPLANNED, now)
            self.record = replace(self.record, reason=problem)
            return effects
        self.plan = plan
        self._watch.follow(plan)
        return self._turn(Turn.STALE if self._watch.lost() else Turn.PLANNED, now)

    # -------------------------------------------------------------------------------------------- members

    def _member_changed(self, record: MemberRecord, now: float) -> list[Effect]:
        lost = self._watch.lost_by(record)
        if lost:
            return self._end(JobState.FAILED, lost, now)
        return self._turn(Turn.RETRY, now) if self.stage is Stage.WAIT else []

    def _overdue(self) -> str:
        if self.stage is Stage.ADOPT:
            return "the plan was lost with the leader, and the source did not tell it"
        return f"not ready in time: {self._watch.names(self._unanswered)}"

    def _more_may_come(self) -> bool:
        """Whether a member that still measures, or does not answer just now, may yet make a plan possible."""
        present = [member for member in self._members.values() if member.state not in GONE]
        return any(member.slowness == 0.0 or member.state is not MemberState.ALIVE for member in present)

    def _alive(self) -> tuple[MemberRecord, ...]:
        return tuple(m for _, m in sorted(self._members.items()) if m.state is MemberState.ALIVE)

    # ----------------------------------------------------------------------------------------- small parts

    def _prepare(self, to: NodeId) -> Prepare:
        plan, source = self._plan(), self.record.source
        transfers = tuple(Transfer(hop.first_layer, hop.last_layer, 0, source) for _, _, hop in plan.hops_of(to))
        return Prepare(plan, self._spec(), transfers)

    def _next_stamp(self) -> Stamp:
        return Stamp(self.record.job, self._term, self.version)

    def _plan(self) -> Plan:
        if self.plan is None:
            raise BrokenInvariantError(f"job {self.record.job} has no plan at {self.stage.value!r}")
        return self.plan

    def _spec(self) -> JobSpec:
        if self.spec is None:
            raise BrokenInvariantError(f"job {self.record.job} has no spec at {self.stage.value!r}")
        return self.spec
