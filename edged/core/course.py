"""The way of one job through the stages of ``phases.py``: what is said at each, and said again until it is answered.

Why the way goes on is decided in ``procedure.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import combinations, pairwise
from typing import assert_never

from edged.core.conduct import Conduct
from edged.core.drift import Drift
from edged.core.effects import Effect, Log, MakePlan, SendMessage
from edged.core.figures import Levels
from edged.core.gathering import Gathering
from edged.core.ids import NodeId, Stamp
from edged.core.inventory import Inventories, Transfers, transfer_seconds
from edged.core.job import JobSpec
from edged.core.links import Pair, pair_of
from edged.core.messages import (
    Committed,
    Drain,
    End,
    JobRecord,
    JobState,
    MemberRecord,
    MemberState,
    PlanChosen,
    Prepare,
)
from edged.core.newcomers import Newcomers
from edged.core.phases import IN_FORCE, TABLE, Stage, Turn
from edged.core.plan import Plan
from edged.core.protection import Protection
from edged.core.recovery import Recovery
from edged.core.stock import Stock
from edged.core.surroundings import Surroundings
from edged.core.watch import Watch, named, present
from edged.errors import BrokenInvariantError

REPEAT_SECONDS = 1.0
"""Unanswered messages are sent again this often."""

ANSWER_SECONDS = 1.0
"""How long everyone has to say what it holds, when somebody is in trouble."""

SNAPSHOT_SECONDS = 10.0
"""How long everyone has to say it when nobody is: it copies what is live first, and nothing must be rolled back."""

ADOPT_SECONDS = 30.0
"""How long a new leader waits for a running job's source to tell the plan."""

ADOPTED_SECONDS = 15.0
"""How long an adopted plan may show no progress, besides ten usual steps: nodes may have been told of a newer one."""

DRAIN_SECONDS = 60.0
"""How long the last step before a change may take, besides ten usual ones."""

MEASURE_SECONDS = 5.0
"""How long a job that has not begun waits for members that have not measured their speed yet."""

IMPOSSIBLE_SECONDS = 60.0
"""How long a job that has not begun, and that nobody here could prepare, waits for members that may."""

STANDING: Mapping[Stage, JobState] = {
    Stage.FENCE: JobState.PREPARING,
    Stage.PLAN: JobState.PREPARING,
    Stage.WAIT: JobState.WAITING,
    Stage.ADOPT: JobState.RUNNING,
    Stage.TRANSFER: JobState.PREPARING,
    Stage.RESUME: JobState.RUNNING,
    Stage.RUN: JobState.RUNNING,
    Stage.DRAIN: JobState.RUNNING,
}
"""How a job's record reads at each stage, before it is over; one that waits is shown so until there is a plan again."""


class Course:
    """How one job stands, and what that makes the leader say.

    ``record`` is what everyone is told; ``version`` the highest plan version that this leadership has issued;
    ``protection`` what is known of copies while a plan is in force.
    """

    def __init__(self, record: JobRecord, lead: Surroundings, version: int, before: Plan | None = None) -> None:
        """Prepare to run ``record``'s job in this term; nothing happens yet. ``before``: the plan that ran last."""
        self.record = record
        self.version = version
        self.stage = Stage.FENCE
        self.spec: JobSpec | None = None
        self.plan: Plan | None = None
        self.protection: Protection | None = None
        self._lead = lead
        self._members = lead.members
        self._before = before
        self._begun = record.step > 0
        self._watch = Watch(lead.members)
        self._conduct = Conduct(lead.members)
        self._minded: frozenset[Pair] = frozenset()
        self._aside: dict[NodeId, str] = {}
        self._newcomers = Newcomers()
        self._drift = Drift()
        self._recovery: Recovery | None = None
        self._gathering: Gathering | None = None
        self._stock = Stock(0, record.source, record.source, 0.0)
        self._moves: Transfers = {}
        self._new_source: NodeId | None = None
        self._unanswered: set[NodeId] = set()
        self._needed: frozenset[NodeId] = frozenset()
        self._trial: Stamp | None = None
        self._sure: tuple[NodeId, ...] = ()
        self._told: Stamp | None = None
        self._halted: dict[NodeId, Stamp] = {}
        self._step_seconds: float | None = None
        self._pausing = self._adopted = self._welcoming = False
        self._committed = -1
        self._beyond, self._consulted = 0, frozenset[tuple[NodeId, int]]()
        self._since = self._calm_at = self._measured_by = self._possible_by = 0.0
        self._repeat_at: float | None = None
        self._overdue_at: float | None = None
        self._look_at, self._overlooked = -math.inf, False

    # ------------------------------------------------------------------------------------------- for reading

    @property
    def stamp(self) -> Stamp | None:
        """The stamp of the plan that has been told to others."""
        return None if self.plan is None else self.plan.stamp

    def spares(self, node: NodeId) -> bool:
        """Whether this node may leave: others run all layers, draw the samples, and hold the copies."""
        safe = self.protection is not None and self.protection.safe_without(node)
        return self.stage is Stage.RUN and safe and node not in self._participants()

    def deadline(self) -> float | None:
        """Return when to repeat, to give up, or to look whether a change is worth it."""
        if self.stage is Stage.OVER:
            return None
        moments = [self._repeat_at, self._overdue_at]
        if self._gathering is not None and self.stage is Stage.FENCE:
            moments.append(self._gathering.deadline)
        if self.protection is not None and self.stage in IN_FORCE:
            moments.append(self.protection.deadline())
        if self.stage is Stage.RUN and self.record.step < self._spec().steps:
            moments.append(self._look_at if self._overlooked else self._newcomers.deadline())
        return min((moment for moment in moments if moment is not None), default=None)

    def check(self) -> None:
        """Assert that the stage has what it needs."""
        if self.stage in {Stage.TRANSFER, *IN_FORCE}:
            assert self.plan is not None, f"{self.stage} without a plan"
            assert self.spec is not None, f"{self.stage} without a spec"
            assert self.protection is not None, f"{self.stage} without protection"
            assert set(self._participants()) <= set(self._watch.nodes), "a node of the plan is not watched"
        if self.stage is Stage.TRANSFER:
            assert self._unanswered, "nobody is waited for"
            assert self._overdue_at is not None, "a transfer must be bounded"
        if self.stage is Stage.WAIT:
            assert self.record.reason, "a job waits for nothing"
        if self.stage not in {Stage.PLAN, Stage.OVER}:
            assert self.deadline() is not None, f"{self.stage} waits for nothing"

    # ------------------------------------------------------------------------------------- the machinery

    def _turn(self, turn: Turn, now: float) -> list[Effect]:
        after = TABLE[self.stage].get(turn)
        if after is None:
            raise BrokenInvariantError(f"job {self.record.job}: {turn.value!r} cannot happen at {self.stage.value!r}")
        if after is self.stage:
            return []
        return self._enter(after, now, calm=turn is Turn.DRAINED)

    def _enter(self, stage: Stage, now: float, *, calm: bool = False) -> list[Effect]:
        self.stage = stage
        self._repeat_at = self._overdue_at = None
        self._stand(stage)
        match stage:
            case Stage.FENCE:
                return self._raise_fence(SNAPSHOT_SECONDS if calm else ANSWER_SECONDS, now)
            case Stage.PLAN:
                members = self._eligible(self._inventories)
                self._newcomers.planned(members)
                self._drift.planned(self._levels(members))
                self._minded, self._aside = self._lead.links.pairs, {}
                self._watch.follow(self._inventories)
                return [self._ask_planner(members)]
            case Stage.TRANSFER:
                self._unanswered = set(self._participants())
                self._overdue_at = now + transfer_seconds(self._spec())
                return self._repeat(now)
            case Stage.RESUME:
                self._drift.resumed(now)
                self._sure = ()
                self._watch.follow(self._participants())
                self._before = self._plan()
                self._overdue_at = now + self._patience(ADOPTED_SECONDS) if self._adopted else None
                return [Log("info", "jobs", f"job {self.record.name}: {self._plan().reason}"), *self._repeat(now)]
            case Stage.RUN:
                self._newcomers.running(now)
                self._drift.running(now, self._plan().nodes())
                return self._tell_recovery(now)
            case Stage.DRAIN:
                self._overdue_at = now + self._patience(DRAIN_SECONDS)
                return self._repeat(now)
            case Stage.WAIT:
                self._repeat_at = now + REPEAT_SECONDS
                return []
            case Stage.ADOPT | Stage.OVER:
                return []
        assert_never(stage)

    def _stand(self, stage: Stage) -> None:
        """Let the record say what the stage means; a job that waits is shown so until there is a plan again."""
        searching = stage in {Stage.FENCE, Stage.PLAN}
        if stage is Stage.OVER or (searching and self.record.state is JobState.WAITING):
            return
        if self._pausing and self.record.state is JobState.PAUSED:  # it stands; who leaves hands on what it holds
            return
        queued = searching and not self._begun
        doing = "" if stage in {Stage.RESUME, Stage.RUN, Stage.ADOPT} or not self._begun else self._headline()
        self.record = replace(self.record, state=JobState.QUEUED if queued else STANDING[stage], reason=doing)

    def _headline(self) -> str:
        if self._recovery is None:
            return ""
        doing = "going on" if self._recovery.planned else "recovering"
        return f"{doing}: {self._recovery.headline(self._members)}"

    def _raise_fence(self, patience_seconds: float, now: float) -> list[Effect]:
        """End all older plans of this job, and ask everyone what it holds."""
        if self.protection is not None:
            self._step_seconds = self._step_time()
            self._committed = max(self._committed, self.protection.committed)
        self.version += 1
        self.plan = self.protection = self._trial = None
        self._adopted = False
        if self._recovery is not None:
            self._since = self._recovery.since
        elif self.record.state is not JobState.WAITING:  # else it has waited from the first time on
            self._since = now
        self._watch.follow(())
        self._told = self._stamp_now()
        self._gathering = Gathering(self._told, self._members, self._conduct.doubted, patience_seconds, now)
        return self._gathering.ask(now)

    def _protect(self, version: int, told: Committed | None) -> None:
        lead = self._lead
        self.protection = Protection(
            self._plan(),
            self._spec(),
            version,
            lead.node,
            replicas=lead.replicas,
            interval=lead.interval,
            apart=lead.links.apart,
            members=self._members,
        )
        self.protection.inventory(node for node, its in self._inventories.items() if its.data)
        if told is not None:
            self.protection.remember(told)

    def _repeat(self, now: float) -> list[Effect]:
        """Say again what has not been answered."""
        self._repeat_at = now + REPEAT_SECONDS
        if self.stage is Stage.TRANSFER:
            return [SendMessage(to, self._prepare(to)) for to in self._participants() if to in self._unanswered]
        if self.stage is Stage.DRAIN:
            return [SendMessage(self.record.source, Drain(self._plan().stamp))]
        chosen = PlanChosen(self._plan(), self._spec())
        return [*(SendMessage(to, chosen) for to in self._participants()), *self._arrange(now, again=True)]

    def _arrange(self, now: float, *, again: bool = False) -> list[Effect]:
        if self.protection is None:
            return []
        there = present(self._members)
        out = {*self._lead.leavers, *self._conduct.doubted}
        staying = [node for node in there if node not in out]
        staying = staying or [node for node in there if node not in self._conduct.doubted]  # all leave: to the last
        return self.protection.arrange(there, staying, now, again=again)

    def _end(self, state: JobState, reason: str, now: float, step: int = 0) -> list[Effect]:
        """Tell everyone that the job is over."""
        effects = self._turn(Turn.ENDED, now)
        self.record = replace(self.record, state=state, reason=reason, step=max(step, self.record.step))
        level = "info" if state is JobState.FINISHED else "warning"
        effects.append(Log(level, "jobs", f"job {self.record.name} {state.name.lower()}" + (reason and f": {reason}")))
        if self._told is not None:
            effects += [SendMessage(to, End(self._told, state, reason)) for to in present(self._members)]
        return effects

    def _shelve(self, state: JobState, reason: str, now: float) -> list[Effect]:
        """Make room for other jobs without having ended."""
        effects = self._turn(Turn.SHELVED, now)
        self.record = replace(self.record, state=state, reason=reason)
        return effects

    # ----------------------------------------------------------------------------------------- small parts

    def _tell_recovery(self, now: float) -> list[Effect]:
        """Tell everyone how the job came to go on; nothing where it has just begun."""
        recovery, begun, source = self._recovery, self._begun, self._new_source
        self._recovery, self._begun, self._new_source = None, True, None
        if recovery is None or not begun:
            return []
        report = recovery.report(
            self._plan(), self._spec(), self._stock.version, self._moves, self._members, source, now
        )
        log = Log("info", "recovery", f"job {self.record.name}: {report.text}")
        return [log, *(SendMessage(to, report) for to in present(self._members))]

    def _ask_planner(self, members: tuple[MemberRecord, ...]) -> Effect:
        """Ask for a plan over these members."""
        gains = self._recovery is not None and self._recovery.cause in {"slow", "joined"}
        situation = self._lead.situation(self._spec(), members, self._sure if gains else ())
        return MakePlan(self._stamp_now(), situation)

    def _levels(self, members: Iterable[MemberRecord]) -> Levels:
        return self._lead.figures.levels(self._spec(), members)

    def _prepare(self, to: NodeId) -> Prepare:
        return Prepare(
            self._plan(), self._spec(), self._stock.version, self._program_holder(to), self._moves.get(to, ())
        )

    def _program_holder(self, to: NodeId) -> NodeId:
        """Return who gives the program to this node: the usual one, unless a link is cut."""
        usual, apart = self._stock.program_holder, self._lead.links.apart
        others = (node for node, its in self._inventories.items() if its.program and not apart(to, node))
        return next(others, usual) if apart(to, usual) else usual

    def _participants(self) -> tuple[NodeId, ...]:
        """Those who work by the plan: the source, where somebody draws the samples, and the plan's nodes."""
        source = () if self._stock.source is None else (self.record.source,)
        return tuple(dict.fromkeys((*source, *(() if self.plan is None else self.plan.nodes()))))

    def _alive(self) -> tuple[MemberRecord, ...]:
        return tuple(m for _, m in sorted(self._members.items()) if m.state is MemberState.ALIVE)

    def _eligible(self, nodes: Iterable[NodeId]) -> tuple[MemberRecord, ...]:
        """Return those of ``nodes`` that could run layers."""
        out = {*self._conduct.excluded, *self._conduct.doubted, *(set(self._lead.leavers) - self._needed)}
        out |= self._cut_off()
        wanted = set(nodes) - out
        return tuple(member for member in self._alive() if member.node in wanted and member.slowness > 0.0)

    def _dependences(self) -> set[Pair]:
        """Return the pairs of nodes that must reach each other as things stand."""
        nodes, source = self._plan().nodes(), self.record.source
        pairs = {pair_of(a.node, b.node) for route in self._plan().routes for a, b in pairwise(route.hops)}
        pairs |= {pair_of(node, other) for node in (source, *nodes) for other in (source, self._lead.node)}
        if self._spec().clips or self._spec().on_nan == "skip":
            pairs |= {pair_of(*pair) for pair in combinations(nodes, 2)}
        if self.stage is Stage.TRANSFER:
            pairs |= {pair_of(node, move.holder) for node, its in self._moves.items() for move in its}
        return {pair for pair in pairs if pair[0] != pair[1]}

    def _cut_off(self) -> set[NodeId]:
        """Return those that the leader itself cannot reach."""
        return {node for pair in self._lead.links.pairs if self._lead.node in pair for node in pair} - {self._lead.node}

    @property
    def _inventories(self) -> Inventories:
        return {} if self._gathering is None else self._gathering.inventories

    def _step_time(self) -> float | None:
        measured = None if self.protection is None else self.protection.step_seconds
        return self._step_seconds if measured is None else measured

    def _patience(self, seconds: float) -> float:
        """So long, and ten usual steps; before any was measured, as long as the plan's own are said to take."""
        measured = self._step_time()
        return seconds + 10 * (self._plan().predicted_step_seconds if measured is None else measured)

    def _stamp_now(self) -> Stamp:
        return Stamp(self.record.job, self._lead.term, self.version)

    def _present(self) -> tuple[NodeId, ...]:
        return present(self._members)

    def _names(self, nodes: Iterable[NodeId]) -> str:
        return named(nodes, self._members)

    def _plan(self) -> Plan:
        if self.plan is None:
            raise BrokenInvariantError(f"job {self.record.job} has no plan at {self.stage.value!r}")
        return self.plan

    def _spec(self) -> JobSpec:
        if self.spec is None:
            raise BrokenInvariantError(f"job {self.record.job} has no spec at {self.stage.value!r}")
        return self.spec
