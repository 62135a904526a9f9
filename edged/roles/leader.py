"""The leader's own work: planning, in a thread of its own: a plan may take a second, and the loop must not wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

from edged.core.effects import MakePlan
from edged.core.events import PlanMade
from edged.core.ids import NodeId, Stamp
from edged.core.job import JobSpec
from edged.core.messages import MemberRecord
from edged.core.plan import Plan
from edged.errors import UserError
from edged.roles.engine import sentence
from edged.roles.pump import Post, Table

Planner = Callable[[JobSpec, tuple[MemberRecord, ...], Stamp, tuple[tuple[NodeId, NodeId], ...]], Plan]


class Leader:
    """Runs planners. Any node can, as any node may come to lead."""

    def __init__(self, planners: Mapping[str, Planner], post: Post) -> None:
        """``planners``: by the name that a job gives as its strategy."""
        self._planners = planners
        self._post = post
        self._running: set[asyncio.Task[None]] = set()

    def table(self) -> Table:
        """Planning."""
        return {MakePlan: self._make_plan}

    def _make_plan(self, effect: MakePlan) -> None:
        task = asyncio.get_running_loop().create_task(self._plan(effect))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _plan(self, effect: MakePlan) -> None:
        planner = self._planners.get(effect.spec.strategy)
        if planner is None:
            known = ", ".join(sorted(self._planners))
            self._post(PlanMade(effect.stamp, None, f"no strategy is called {effect.spec.strategy!r}; there are {known}"))
            return
        try:
            plan = await asyncio.to_thread(partial(planner, effect.spec, effect.members, effect.stamp, effect.apart))
        except (UserError, ValueError) as error:
            self._post(PlanMade(effect.stamp, None, sentence(error)))
        else:
            self._post(PlanMade(effect.stamp, plan, ""))
