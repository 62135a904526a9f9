"""While a plan runs and could go on: whether another is wanted, and what becomes of the planner's answer.

Someone leaves, pauses the job or has come too late: then another plan is made in any case. A newcomer and figures that
have drifted only make the leader ask (``newcomers.py``, ``drift.py``): the planner weighs what a change gains against
what it costs, and everyone hears its verdict. A change drains first, so nothing is done again.
"""

from __future__ import annotations

from dataclasses import replace

from edged.core.effects import Effect, Log, MakePlan, SendMessage
from edged.core.events import PlanMade
from edged.core.founding import Founding
from edged.core.messages import Decided, Learn
from edged.core.phases import Turn
from edged.core.recovery import LEAVES, Recovery
from edged.core.watch import present

LOOK_SECONDS = 0.1
"""Whether another plan is wanted is looked at so often at most: the leader of a thousand hears of somebody always."""


class Replanning(Founding):
    """The stage RUN of a job, as far as no trouble makes it end."""

    def _change(self, now: float) -> list[Effect]:
        """Look whether another plan is wanted while this one could go on, as long as a step is left to be done."""
        plan, source, leavers = self._plan(), self.record.source, self._lead.leavers
        if self.record.step >= self._spec().steps:
            return []
        if self._pausing:
            return self._drain(None, now)
        leaving = {node: LEAVES for node in plan.nodes() if node in leavers and node not in self._needed}
        if source in leavers and self.protection is not None and self.protection.data_held(source):
            leaving[source] = LEAVES
        if late := self._late():
            return self._drain(Recovery("joined", dict.fromkeys(late, "joined"), plan, self.record.step, now), now)
        if leaving:
            return self._drain(Recovery("left", leaving, plan, self.record.step, now), now)
        return self._consider(now)

    def _consider(self, now: float) -> list[Effect]:
        """Let those without layers learn the program, and ask the planner where its answer may be another by now."""
        self._overlooked = now < self._look_at
        if self._overlooked:
            return []
        self._look_at = now + LOOK_SECONDS
        plan = self._plan()
        mended = self._minded - self._lead.links.pairs
        if mended:
            self._minded -= mended
            self._newcomers.reconsider({node for pair in mended for node in pair} - {*plan.nodes()})
        members, working = self._eligible(self._present()), frozenset(plan.nodes())
        aside = [member for member in members if member.node not in working]
        learn = Learn(self.record.job, self.record.source)
        doubtful = [m for m in self._alive() if m.node in self._conduct.doubted and m.node not in working]
        teach = self._newcomers.to_teach([*aside, *doubtful], now)
        effects: list[Effect] = [SendMessage(to, learn) for to in teach]
        able = tuple(member for member in members if member.node in working or self._newcomers.ready(member))
        self._newcomers.settle(now)
        if self._trial is not None:
            return effects
        drifted = self._drift.is_due(now) and self._drift.is_worth_asking(self._levels(able), now)
        self._welcoming = self._newcomers.worth_asking(able)
        if not (self._welcoming or drifted):
            return effects
        sure = self._drift.asked(self._levels(able), now)
        self._sure = plan.nodes() if sure else ()
        self.version += 1
        self._trial = self._stamp_now()
        situation = replace(
            self._lead.situation(self._spec(), able, self._sure),
            plan=plan,
            steps_left=self._spec().steps - self.record.step,
            holders=tuple((hop.node, hop.first_layer, hop.last_layer) for route in plan.routes for hop in route.hops),
            least_gain=self._drift.least_gain(now, sure=sure),
        )
        return [*effects, MakePlan(self._trial, situation)]

    def _tried(self, made: PlanMade, now: float) -> list[Effect]:
        """The planner has been asked what it would do now: its plan is put in force, unless it is the one that runs."""
        plan, self._trial = self._plan(), None
        if self.record.step >= self._spec().steps:
            return []
        if made.plan is None or made.plan.routes == plan.routes:
            self._drift.kept(now)
            return self._tell(made, made.verdict or made.problem or "kept: the plan in force is the best known")
        news = dict.fromkeys((node for node in made.plan.nodes() if node not in plan.nodes()), "joined")
        cause, verbs = ("joined", news) if news else ("slow", self._drift.verbs())
        recovery = Recovery(cause, verbs, plan, self.record.step, now)
        if not (news and self._welcoming):
            self._drift.changed(now)
        told = self._tell(made, made.verdict or f"changed: {recovery.headline(self._members)}", changes=True)
        return [*told, *self._drain(recovery, now)]

    def _tell(self, made: PlanMade, text: str, *, changes: bool = False) -> list[Effect]:
        """Tell everyone what was decided, and why."""
        decided = Decided(self._plan().stamp, made.stamp, changes, text, made.step_seconds)
        log = Log("info", "planning", f"job {self.record.name}: {text}")
        return [log, *(SendMessage(to, decided) for to in present(self._members))]

    def _drain(self, recovery: Recovery | None, now: float) -> list[Effect]:
        """Let the step under way be the last of this plan."""
        self._recovery = recovery
        effects = self._turn(Turn.CHANGE, now)
        doing = "pausing" if recovery is None else recovery.headline(self._members)
        self.record = replace(self.record, reason=f"{doing}; the step under way is finished first")
        return effects
