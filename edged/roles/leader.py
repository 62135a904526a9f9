"""The leader's own work: planning, in a thread of its own: a plan may take a second, and the loop must not wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

from edged.core.effects import MakePlan
from edged.core.events import PlanMade
from edged.core.ids import Stamp
from edged.core.plan import Plan
from edged.core.situation import Situation
from edged.errors import UserError
from edged.roles.engine import sentence
from edged.roles.pump import Post, Table
from edged.strategies.deciding import Decision, decide
from edged.telemetry.logs import topic_logger

Planner = Callable[[Situation, Stamp], Plan]


class Leader:
    """Runs planners. Any node can, as any node may come to lead."""

    def __init__(self, planners: Mapping[str, Planner], post: Post) -> None:
        """``planners``: by the name that a job gives as its strategy."""
        self._planners = planners
        self._post = post
        self._running: set[asyncio.Task[Decision]] = set()
        self._logged = ""

    def table(self) -> Table:
        """Planning."""
        return {MakePlan: self._make_plan}

    def _make_plan(self, effect: MakePlan) -> None:
        strategy = effect.situation.spec.strategy
        planner = self._planners.get(strategy)
        if planner is None:
            known = ", ".join(sorted(self._planners))
            problem = f"no strategy is called {strategy!r}; there are {known}"
            self._post(PlanMade(effect.stamp, None, problem))
            return
        planning = asyncio.to_thread(partial(decide, planner, effect.situation, effect.stamp))
        task = asyncio.get_running_loop().create_task(planning)
        self._running.add(task)
        task.add_done_callback(partial(self._made, effect.stamp))

    def _made(self, stamp: Stamp, task: asyncio.Task[Decision]) -> None:
        """Hand the answer on, or why there is none: whatever a planner raises is an answer too, and the job waits."""
        self._running.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            decision = task.result()
            self._post(PlanMade(stamp, decision.plan, "", decision.verdict, decision.step_seconds))
            return
        problem = sentence(error)
        if not isinstance(error, UserError) and problem != self._logged:  # the job tries again each second
            topic_logger("planning").error("%s", problem, exc_info=error)
            self._logged = problem
        self._post(PlanMade(stamp, None, problem))
