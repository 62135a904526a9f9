"""From the fence to a plan: whether those who answered hold all that is needed, and who takes part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from edged.core.course import Course
from edged.core.effects import Effect, Log
from edged.core.gathering import Gathering
from edged.core.ids import NodeId
from edged.core.inventory import (
    newest_complete,
    newest_stored,
    newly_started,
    out_of_reach,
    ranges,
    ranges_in_words,
    transfers,
)
from edged.core.messages import JobState, MemberState
from edged.core.origins import origin_at
from edged.core.phases import Stage, Turn
from edged.core.plan import Plan, PlanError
from edged.core.recovery import Recovery
from edged.core.stashing import check_plan
from edged.core.stock import Stock, lost_layers, take_stock

_NOBODY = "nobody is left"
_LESSER = frozenset({"paused", "leader"})
"""Causes that say less than that all nodes were restarted meanwhile."""


class Founding(Course):
    """The stages FENCE, PLAN and WAIT of a job: what they need, and what they say while it is not there."""

    def _gathered(self, gathering: Gathering, now: float) -> list[Effect]:
        """Go on once everyone has had time to answer and those who did hold all that is needed."""
        if now < self._calm_at or not gathering.due(now):
            return []
        deserted = set(self._present()) <= {*self._lead.leavers, *self._conduct.doubted}
        if self._pausing and (deserted or not self._hands_on()):
            return self._pause(now)
        if deserted:
            return self._shelve(JobState.QUEUED, "all nodes leave; the job goes on when they are back", now)
        stock = take_stock(
            self._spec(),
            gathering.inventories,
            self._members,
            leaving=self._lead.leavers,
            doubted={*self._conduct.doubted, *self._cut_off()},
            before=self._before,
            committed=self._committed,
            step_seconds=self._step_seconds,
            stands=self._pausing,
        )
        self._begun |= newest_stored(gathering.inventories) > 0
        lack = stock if isinstance(stock, str) else self._lack(stock, now)
        if lack == _NOBODY:
            lack = "; ".join(self._conduct.excluded.values())
            if self._hopeless(now):
                return self._end(JobState.FAILED, lack, now)
            self._conduct.forgive(now)
        if self._pausing and lack:
            return self._pause(now)
        if isinstance(stock, str) or lack:
            silent = gathering.silent()
            return self._wait(
                lack + (f" (waiting for {self._names(silent)} to answer)" if silent else ""), now, stay=bool(silent)
            )
        self._go_on_from(stock)
        return self._draw_from(stock.source) + self._turn(Turn.GATHERED, now)

    def _go_on_from(self, stock: Stock) -> None:
        """Remember what was decided on, and who has had a say in it."""
        inventories, record = self._inventories, self.record
        self._stock = stock
        self._beyond = max(self._committed, newest_stored(inventories))
        self._consulted = frozenset((member.node, member.boot) for member in self._alive())
        if stock.version > record.step:
            self.record = replace(record, step=stock.version)
        lesser = self._recovery is None or not record.step or self._recovery.cause in _LESSER
        if stock.version > 0 and lesser and newly_started(inventories):
            self._recovery = Recovery("restarted", {}, None, stock.version, self._since)

    def _late(self) -> list[NodeId]:
        """Return who came since everyone was asked, while the job does again what they may hold."""
        there = self._alive() if self.record.step < self._beyond else ()
        return [member.node for member in there if (member.node, member.boot) not in self._consulted]

    def _lack(self, stock: Stock, now: float) -> str:
        """Say why it is too early to plan, or that nobody is left to plan for; nothing if it is time."""
        early = [member.name for member in self._alive() if member.slowness == 0.0]
        if early and not self._begun and now < self._measured_by:
            return f"waiting for the speed of {', '.join(early)}"
        if now < self._since + stock.patience_seconds:
            lost = lost_layers(self._spec(), self._inventories, self._members, self._before, above=stock.version)
            return f"{lost}; if that takes long, it begins anew"
        if not self._eligible(self._inventories):
            self._needed = frozenset(self._lead.leavers)
        if self._eligible(self._inventories):
            return ""
        hopeful = [node for node in self._present() if node not in self._conduct.excluded]
        return "no device that answers has measured its speed yet" if hopeful else _NOBODY

    def _pause(self, now: float) -> list[Effect]:
        """Let the job stand at the newest version that those who answered hold: they write that to disk."""
        version = newest_complete(len(self._spec().layers), self._inventories)
        if version is not None and self.record.state is not JobState.PAUSED:
            self.record = replace(self.record, step=version)
        return self._shelve(JobState.PAUSED, "", now)

    def _hands_on(self) -> bool:
        """Whether those who leave hold a part of the newest version that nobody who stays does, and can be relieved."""
        leaving = set(self._lead.leavers) - self._needed
        staying = {node: its for node, its in self._inventories.items() if node not in leaving}
        layers = len(self._spec().layers)
        return newest_complete(layers, staying) != newest_complete(layers, self._inventories)

    def _is_in_vain(self) -> bool:
        """Whether the layers that move now need not: nobody is relieved, or the job is to go on and has no source."""
        return not self._hands_on() if self._pausing else self._stock.source is None

    def _draw_from(self, source: NodeId | None) -> list[Effect]:
        """Let this node be the source from now on."""
        if source is None or source == self.record.source:
            return []
        text = f"job {self.record.name}: {self._names([source])} goes on with the data"
        self._new_source = source
        self.spec, self.record = replace(self._spec(), source=source), replace(self.record, source=source)
        return [Log("warning", "recovery", text)]

    def _wait(self, reason: str, now: float, *, stay: bool = False) -> list[Effect]:
        """Let the record say what is missing; ``stay``: somebody may answer yet."""
        news = (self.record.state, self.record.reason) != (JobState.WAITING, reason)
        effects: list[Effect] = [Log("warning", "jobs", f"job {self.record.name} waits: {reason}")] if news else []
        if not stay:
            effects += self._lead.links.retry(now)
            effects += self._turn(Turn.LACKING if self.stage is Stage.FENCE else Turn.UNPLANNED, now)
        self.record = replace(self.record, state=JobState.WAITING, reason=reason)
        return effects

    def _chosen(self, plan: Plan | None, problem: str, now: float) -> list[Effect]:
        """The planner has answered the question of this stage."""
        if plan is None:
            return self._unplanned(problem, now)
        version, apart = self._stock.version, self._lead.links.apart
        if self._spec().asynchronous:
            try:
                check_plan(plan)
            except PlanError as error:
                return self._unplanned(str(error), now)
            plan = replace(plan, start=version, origin=origin_at(self._inventories, version))
        if beyond := out_of_reach(plan, version, self._inventories, apart):
            return self._plan_without(beyond, now)
        self.plan = plan
        rates = {(link.sender, link.receiver): link.bytes_per_second for link in self._lead.figures.links()}
        self._moves = transfers(plan, self._spec(), version, self._inventories, apart, rates)
        holders = [move.holder for its in self._moves.values() for move in its]
        self._watch.follow((*self._participants(), self._stock.program_holder, *holders))
        self._protect(self._stock.version, None)
        return self._turn(Turn.PLANNED, now)

    def _plan_without(self, beyond: Mapping[NodeId, frozenset[int]], now: float) -> list[Effect]:
        """These nodes cannot reach who has their layers: plan with the others, who may get other layers, or none."""
        for node, layers in beyond.items():
            held = ranges_in_words(ranges(layers))
            self._aside[node] = f"node {self._names([node])} cannot reach the nodes that hold {held}"
        members = tuple(m for m in self._eligible(self._inventories) if m.node not in self._aside)
        return [self._ask_planner(members)] if members else self._wait("; ".join(self._aside.values()), now)

    def _unplanned(self, problem: str, now: float) -> list[Effect]:
        """Do without those who leave only if it can be done; else the job waits for other devices."""
        if set(self._lead.leavers) - self._needed:
            self._needed = frozenset(self._lead.leavers)
            return self._turn(Turn.TROUBLE, now)
        reason = "; ".join([problem, *self._conduct.excluded.values(), *self._aside.values()])
        self._conduct.forgive(now)
        return self._wait(reason, now)

    def _hopeless(self, now: float) -> bool:
        """Whether a job that none of these devices could prepare never ran, and others are not to be expected soon."""
        belong = [member for member in self._members.values() if member.state is not MemberState.LEFT]
        may_come = [m for m in belong if not m.expelled and (m.slowness == 0.0 or m.state is not MemberState.ALIVE)]
        return not self._begun and (now >= self._possible_by or not may_come)
