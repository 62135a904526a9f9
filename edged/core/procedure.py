"""The leader's side of one job: the stages of ``phases.py``, gone through as facts come in.

Every stage repeats itself until answered and is keyed by the stamp, so that going back to FENCE is always safe, and
every stage either has an end in time or waits for a fact that the job's record names:

========  ==========================================================================================================
FENCE     1 s for all who are present (10 s where nobody is in trouble), then for whoever is missing, by name
PLAN      the planner answers always
WAIT      tries again each second, and whenever a member changes
ADOPT     30 s for the source to tell the plan; then the job goes back to the queue, or to FENCE if its spec is known
TRANSFER  60 s and the bytes on a slow link; who is not ready by then has failed once
RESUME    the source tells who does not answer (``Stuck``); an adopted plan has 15 s and ten steps: others may know a
          newer one, or have been halted for one, and say so
DRAIN     60 s and ten steps since the last progress; then FENCE all the same
========  ==========================================================================================================
"""

from __future__ import annotations

from dataclasses import replace

from edged.core.course import (
    ADOPT_SECONDS,
    DRAIN_SECONDS,
    IMPOSSIBLE_SECONDS,
    MEASURE_SECONDS,
    REPEAT_SECONDS,
)
from edged.core.effects import Effect, Log
from edged.core.events import Event, MemberChanged, MembersCame, MessageReceived, PlanMade, PortProbed
from edged.core.ids import NodeId
from edged.core.inventory import transfer_seconds
from edged.core.job import JobSpec
from edged.core.messages import (
    Committed,
    Drained,
    EvalReport,
    FinishedReport,
    Inventory,
    JobDone,
    JobRecord,
    JobState,
    Learned,
    Message,
    PauseRequest,
    PlanChosen,
    Prepared,
    ResumeRequest,
    StepReport,
    StopRequest,
    Stuck,
    Unwritten,
    WorkFailed,
)
from edged.core.phases import IN_FORCE, Stage, Turn
from edged.core.recovery import Recovery, cause_of
from edged.core.replanning import Replanning
from edged.core.watch import GONE, fate


class Procedure(Replanning):
    """The leader's side of one job, from the queue to its end or pause. Build it, then ``begin`` or ``adopt``."""

    # ---------------------------------------------------------------------------------------- beginnings

    def begin(self, spec: JobSpec, told: Committed | None, now: float, cause: str = "") -> list[Effect]:
        """Take the job from the queue; one that is paused, only to hand on what leaving nodes hold of it.

        ``told`` is what an earlier leader has told of copies; ``cause`` says why a job that has run before does not run
        now (see ``Recovery``).
        """
        self._pausing = self.record.state is JobState.PAUSED
        cause = "paused" if self._pausing else cause
        self.spec = replace(spec, source=self.record.source)
        self._since, self._measured_by, self._possible_by = now, now + MEASURE_SECONDS, now + IMPOSSIBLE_SECONDS
        self._committed = max(self._committed, -1 if told is None else told.version)
        if cause:
            self._recovery = Recovery(cause, {}, self._before, self.record.step, now)
        return self._enter(Stage.FENCE, now, calm=self._pausing)

    def adopt(
        self, known: PlanChosen | None, version: int, told: Committed | None, spec: JobSpec | None, now: float
    ) -> list[Effect]:
        """Go on with a job that an earlier leader has started.

        ``known`` is its plan, if this node heard of it, and ``version`` where that began; ``told`` is what it said of
        copies; ``spec`` the job as its source handed it in, if it did.
        """
        self.stage, self.spec = Stage.ADOPT, spec
        if known is None:
            self._overdue_at = now + ADOPT_SECONDS
            return []
        return self._take_over(known, version, told, now)

    def _take_over(self, known: PlanChosen, version: int, told: Committed | None, now: float) -> list[Effect]:
        self.plan, self.spec, self._told = known.plan, known.spec, known.plan.stamp
        self.record = replace(self.record, source=known.spec.source)
        self._adopted = self._begun = True
        self._before = known.plan
        self._protect(version, told)
        self._drift.planned(self._levels(self._eligible(self._present())))
        self._watch.follow(self._participants())
        return self._lost(now) or self._overtaken(now) or self._turn(Turn.TOLD, now)

    # ------------------------------------------------------------------------------------------- contract

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Go on by one fact; what does not concern this job is ignored."""
        if self.stage is Stage.OVER:
            return []
        match event:
            case MessageReceived(sender, message):
                effects = self._hear(sender, message, now)
            case PlanMade(stamp) if stamp.job == self.record.job:
                effects = self._planned(event, now)
            case MemberChanged(record, before):
                self._conduct.changed(record, before)
                effects = self._look_around(now)
            case MembersCame(records):
                for record in records:
                    self._conduct.changed(record, None)
                effects = self._look_around(now)
            case PortProbed(node, refused=True):
                self._conduct.refused(node, now)
                self._newcomers.doubt(node)
                effects = self._look_around(now)
            case _:
                effects = []
        return effects + self._timers(now)

    def overrule(self, record: JobRecord, now: float) -> list[Effect]:
        """An earlier leader had ended the job already, as ``record`` says: end it the same way."""
        return [] if self.stage is Stage.OVER else self._end(record.state, record.reason, now, record.step)

    def _timers(self, now: float) -> list[Effect]:
        """Do what is due: at most one step of the procedure, and what it says again."""
        effects: list[Effect] = []
        if self.stage is Stage.FENCE and self._gathering is not None:
            effects += self._gathering.ask(now) + self._gathered(self._gathering, now)
        elif self._overdue_at is not None and now >= self._overdue_at:
            effects += self._overdue(now)
        elif self._pausing and self.stage is Stage.WAIT:
            effects += self._pause(now)
        elif self.stage in {Stage.PLAN, Stage.TRANSFER} and self._is_in_vain():
            effects += self._turn(Turn.TROUBLE, now)
        elif self._lead.links.pairs and self.stage in {Stage.TRANSFER, *IN_FORCE} and (torn := self._tear(now)):
            effects += torn
        elif self.stage is Stage.RUN:
            effects += self._change(now)
        if self._repeat_at is not None and now >= self._repeat_at:
            effects += self._turn(Turn.RETRY, now) if self.stage is Stage.WAIT else self._repeat(now)
        return effects + (self._arrange(now) if self.stage in IN_FORCE else [])

    # ------------------------------------------------------------------------------------------- messages

    def _hear(self, sender: NodeId, message: Message, now: float) -> list[Effect]:
        self._conduct.heard(sender, now)
        if self.protection is not None:
            self.protection.hear(sender, message, now)
        match message:
            case StopRequest(job, reason) if job == self.record.job:
                return self._end(JobState.STOPPED, reason, now)
            case PauseRequest(job) | ResumeRequest(job) if job == self.record.job:
                self._want(stands=isinstance(message, PauseRequest))
            case Learned(job) if job == self.record.job and sender not in self._conduct.doubted:
                self._newcomers.learned(sender, self._members)
            case Inventory() if self.stage is Stage.FENCE and self._gathering is not None:
                if self._gathering.hear(sender, message):
                    self._conduct.heard(sender)
            case PlanChosen(plan) if plan.stamp.job == self.record.job and self._may_tell(sender):
                if self.stage is Stage.ADOPT:
                    return self._take_over(message, self.record.step, None, now)
                if self._adopted and self.stage is Stage.RESUME and plan.stamp > self._plan().stamp:
                    return self._trouble("leader", {}, now)
            case _:
                return self._hear_of_plan(sender, message, now)
        return []

    def _overtaken(self, now: float) -> list[Effect]:
        """Begin again if an earlier leader has halted the adopted plan for a newer one, and this came to nothing.

        It is enough that a node of the plan stands, or that this one reads no more what the others say.
        """
        stand = {stamp for node, stamp in self._halted.items() if node in {self._lead.node, *self._watch.nodes}}
        return self._trouble("leader", {}, now) if any(stamp > self._plan().stamp for stamp in stand) else []

    def _may_tell(self, node: NodeId) -> bool:
        """Whether a new leader learns the plan from this node: from the source; from anybody if that is gone."""
        source = self._members.get(self.record.source)
        return node == self.record.source or source is None or source.state in GONE

    def _hear_of_plan(self, sender: NodeId, message: Message, now: float) -> list[Effect]:
        """Take in what concerns the plan that others have been told of, and nothing of older ones."""
        match message:
            case Prepared(stamp, problem) if stamp == self.stamp and self.stage is Stage.TRANSFER:
                return self._prepared(sender, problem, now)
            case StepReport(stamp, step) | EvalReport(stamp, step) | FinishedReport(stamp, step) if stamp == self.stamp:
                return self._progress(step, now)
            case JobDone(stamp, step, problem) if stamp == self.stamp and sender == self.record.source:
                state = JobState.FAILED if problem else JobState.FINISHED
                return self._end(state, problem, now, step)
            case Unwritten(stamp, step, problem) if stamp == self.stamp and sender == self.record.source:
                return self._held_up(step, problem, now)
            case WorkFailed(stamp, reason, False, peer) if stamp == self.stamp and sender in self._watch.nodes:
                node = peer if peer in self._watch.nodes else sender
                verb = "could not go on" if node == sender else "cannot be reached"
                return self._blame(sender, node, verb, f": {reason}", now)
            case Stuck(stamp, node) if stamp == self.stamp and sender == self.record.source and self.stage in IN_FORCE:
                return self._blame(sender, node, "does not answer", "", now)
            case Drained(stamp, version) if stamp == self.stamp and sender == self.record.source:
                return self._drained(version, now)
            case Inventory(stamp) if stamp.job == self.record.job:
                self._halted[sender] = stamp
                return self._overtaken(now) if self._adopted else []
            case _:
                return []

    def _want(self, *, stands: bool) -> None:
        """Somebody wants the job to stand, or to go on; one that was taken up while it stood is shown to go on now."""
        self._pausing = stands
        if self.record.state is JobState.PAUSED:
            self._stand(self.stage)

    def _progress(self, step: int, now: float) -> list[Effect]:
        if self.stage not in IN_FORCE:
            return []
        self.record = replace(self.record, step=step)
        if self.stage is Stage.DRAIN:
            self._overdue_at = now + self._patience(DRAIN_SECONDS)
        return self._turn(Turn.PROGRESS, now)

    def _held_up(self, step: int, problem: str, now: float) -> list[Effect]:
        """All steps are done, or the job fails: nothing is given up before its weights are on a disk.

        Only a drain goes on when its time is over: what stands then is copied at the fence.
        """
        if self.stage not in IN_FORCE - {Stage.DRAIN}:
            return []
        effects = self._progress(step, now)
        self.record = replace(self.record, reason=problem)
        return effects

    def _prepared(self, sender: NodeId, problem: str, now: float) -> list[Effect]:
        if sender not in self._unanswered:
            return []
        if problem:
            return self._unready([sender], "could not prepare", f": {problem}", now)
        self._unanswered.discard(sender)
        ready = Turn.DRAINED if self._pausing else Turn.PREPARED  # what was handed on is copied at the fence
        return [] if self._unanswered else self._turn(ready, now)

    def _drained(self, version: int, now: float) -> list[Effect]:
        """All stand: for this leader's change of plan, or for an earlier one's, of which nothing else is known."""
        effects: list[Effect] = []
        if self.stage is Stage.RESUME:
            effects += self._turn(Turn.PROGRESS, now)
        if self.stage is Stage.RUN:
            effects += self._drain(None if self._pausing else Recovery("leader", {}, self._plan(), version, now), now)
        return [*effects, *self._stands(version, now)] if self.stage is Stage.DRAIN else []

    def _stands(self, version: int, now: float) -> list[Effect]:
        """No node works: the plan may be changed, unless nothing is left to be done by another one."""
        if version >= self._spec().steps:
            self._recovery = None
            self.record = replace(self.record, step=version)
            return self._turn(Turn.LAST, now)
        if self._recovery is not None:
            self._recovery.since = now
        return self._turn(Turn.DRAINED, now)

    def _planned(self, made: PlanMade, now: float) -> list[Effect]:
        """The planner has answered the question of this stamp; planners run side by side, so it may be an old one."""
        if self.stage is Stage.PLAN and made.stamp == self._stamp_now():
            return self._chosen(made.plan, made.problem, now)
        if self.stage is Stage.RUN and made.stamp == self._trial:
            return self._tried(made, now)
        return []

    # ------------------------------------------------------------------------------------------- trouble

    def _look_around(self, now: float) -> list[Effect]:
        """A member has changed: see who is missed."""
        if self.stage is Stage.WAIT:
            return self._turn(Turn.RETRY, now)
        if self.stage is Stage.FENCE and self._recovery is not None and self._before is not None:
            nodes = {self.record.source, *self._before.nodes()}
            gone = {n: fate(m) for n in sorted(nodes) if (m := self._members.get(n)) is not None and m.state in GONE}
            if gone:
                cause = cause_of(gone.values())
                self._recovery.also("died" if cause == "left" else cause, gone, self.record.step)
                self._stand(Stage.FENCE)
            return []
        return [] if self.stage in {Stage.FENCE, Stage.ADOPT} else self._lost(now)

    def _lost(self, now: float) -> list[Effect]:
        """Begin again if a process is missed that this stage depends on."""
        doubted = [node for node in self._watch.nodes if node in self._conduct.doubted]
        verbs = dict.fromkeys(doubted, "died")
        verbs |= {n: fate(m) for n in self._watch.lost() if (m := self._members.get(n)) is not None}
        if not (verbs or self._watch.lost()):
            return []
        return self._trouble(cause_of(verbs.values()), verbs, now)

    def _trouble(self, cause: str, verbs: dict[NodeId, str], now: float, detail: str = "") -> list[Effect]:
        """This plan cannot go on: find another."""
        if self._recovery is None:
            self._recovery = Recovery(cause, verbs, self._before, self.record.step, now)
        else:
            self._recovery.since = now if self.stage is Stage.DRAIN else self._recovery.since
            self._recovery.also(cause, verbs, self.record.step)
        text = f"job {self.record.name}: {self._recovery.headline(self._members)}{detail}"
        return [Log("warning", "recovery", text), *self._turn(Turn.TROUBLE, now)]

    def _blame(self, by: NodeId, node: NodeId, verb: str, detail: str, now: float) -> list[Effect]:
        """Somebody cannot work with this node: once may be an accident; who is excluded already is given a rest."""
        if node in self._conduct.excluded:
            self._calm_at = now + REPEAT_SECONDS
        self._conduct.lost(node, by, f"{self._names([node])} {verb}{detail}", now)
        effects = [] if by == node else self._lead.links.broke(by, node, now)
        return effects + self._trouble("link", {node: verb}, now, detail)

    def _tear(self, now: float) -> list[Effect]:
        """Begin again if two nodes that must reach each other are known not to since this plan was made."""
        torn = sorted(self._dependences() & (self._lead.links.pairs - self._minded))
        verbs = dict.fromkeys((node for pair in torn for node in pair), "cannot reach each other")
        return self._trouble("link", verbs, now) if torn else []

    def _unready(self, nodes: list[NodeId], verb: str, detail: str, now: float) -> list[Effect]:
        """These nodes did not prepare; the source, which a job cannot begin without, ends it if it never will."""
        plan = self._plan()
        for node in nodes:
            if node in self._conduct.excluded:
                self._calm_at = now + REPEAT_SECONDS
            why = f"{self._names([node])} {verb}{detail}"
            excluded = self._conduct.unready(node, why, now, transfer_seconds(self._spec()))
            if excluded and not self._begun and node not in plan.nodes() and node == self.record.source:
                return self._end(JobState.FAILED, why, now)
        return self._trouble("link", dict.fromkeys(nodes, verb), now, detail)

    def _overdue(self, now: float) -> list[Effect]:
        """This stage has taken too long."""
        if self.stage is Stage.TRANSFER:
            return self._unready(sorted(self._unanswered), "was not ready in time", "", now)
        if self.stage is Stage.ADOPT and self.spec is None:
            reason = "the plan was lost with the leader; waiting for the source to hand the job in again"
            return self._shelve(JobState.QUEUED, reason, now)
        if self.stage is Stage.DRAIN:
            if self._recovery is not None:
                self._recovery.since = now
            return self._turn(Turn.TROUBLE, now)
        return self._trouble("leader", {}, now)
