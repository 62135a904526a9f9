"""Plans are made beside the loop, and a plan that is impossible is an answer, not an error."""

import asyncio
import threading
from dataclasses import replace

import pytest

from edged.core.effects import MakePlan
from edged.core.events import Event, PlanMade
from edged.core.ids import NodeId, Stamp
from edged.core.plan import Hop, Plan, PlanError, Route
from edged.core.situation import Situation
from edged.errors import JobFailedError
from edged.roles.leader import Leader
from tests.roles.conftest import record_of, spec_of

STAMP = Stamp(spec_of().job, 1, 1)


def plan_it(situation, stamp) -> Plan:
    assert threading.current_thread() is not threading.main_thread()
    route = Route((Hop(situation.members[0].node, 0, 1, 2),), (0, 1))
    return Plan(stamp, "test", "because", 2, 2, (route,), 0.0)


def impossible(*_: object) -> Plan:
    raise JobFailedError("needs 3 GB, the largest device has 1 GB")


def wrong(*_: object) -> Plan:
    raise PlanError("layers must follow each other")


def broken(*_: object) -> Plan:
    raise IndexError("list index out of range")


async def made(strategy: str, **changes: object) -> PlanMade:
    events: asyncio.Queue[Event] = asyncio.Queue()
    planners = {"auto": plan_it, "impossible": impossible, "wrong": wrong, "broken": broken}
    leader = Leader(planners, events.put_nowait)
    situation = Situation(spec_of(strategy=strategy), (record_of("a" * 16, "desk"),))
    effect = MakePlan(STAMP, replace(situation, **changes))
    leader.table()[MakePlan](effect)
    async with asyncio.timeout(60):
        event = await events.get()
    assert isinstance(event, PlanMade)
    return event


async def test_a_plan_is_made_in_another_thread() -> None:
    event = await made("auto")
    assert event.problem == ""
    assert event.plan is not None
    assert event.plan.nodes() == (NodeId("a" * 16),)


async def test_a_plan_in_force_that_is_the_best_is_kept_with_the_reason() -> None:
    current = (await made("auto")).plan
    kept = await made("auto", plan=current, steps_left=9)
    assert (kept.plan, kept.problem, kept.verdict) == (None, "", "kept: it is still the best plan")
    assert kept.step_seconds > 0.0


async def test_an_impossible_plan_says_why() -> None:
    assert (await made("impossible")) == PlanMade(STAMP, None, "needs 3 GB, the largest device has 1 GB")


@pytest.mark.parametrize(
    ("strategy", "problem"),
    [
        ("wrong", "PlanError: layers must follow each other"),
        ("broken", "IndexError: list index out of range"),
    ],
)
async def test_a_planners_mistake_is_an_answer_too_and_is_logged(
    strategy: str, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert await made(strategy) == PlanMade(STAMP, None, problem)
    [record] = [record for record in caplog.records if record.name == "edged.planning"]
    assert record.message == problem
    assert record.exc_info is not None


async def test_an_unknown_strategy_lists_the_known_ones() -> None:
    assert "auto, broken, impossible, wrong" in (await made("magic")).problem
