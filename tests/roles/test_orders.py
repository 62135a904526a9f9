"""Orders to jobs and nodes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from edged.core.effects import TellMember
from edged.core.events import ExpelAsked, KeyRotateAsked, LeaveAsked, LeaveNodeAsked, PauseAsked, ResumeAsked
from edged.core.ids import NodeId
from edged.core.messages import JobState, MemberState
from edged.errors import ConfigError, JobError, JobFailedError, UserError
from edged.roles import orders
from edged.transport.security import parse_token
from tests.roles.conftest import record_of
from tests.roles.test_commands import OWN, SPEC, Desk

PEER, TWIN, GONE = NodeId("b" * 16), NodeId("bc" * 8), NodeId("d" * 16)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    for node, name, state in (
        (PEER, "pi", MemberState.ALIVE),
        (TWIN, "pi-2", MemberState.SUSPECT),
        (GONE, "old", MemberState.DEAD),
    ):
        desk.observer.table()[TellMember](TellMember(record_of(node, name, state), None, ""))
    return desk


async def test_pausing_waits_until_the_job_stands(desk: Desk) -> None:
    desk.job(JobState.RUNNING)
    asking = asyncio.ensure_future(desk.ask("pause", job="tiny"))
    await asyncio.sleep(0)
    assert not asking.done()
    desk.job(JobState.PAUSED)
    assert await asking == {"job": SPEC.job, "state": "paused", "step": 4}
    assert desk.posted == [PauseAsked(SPEC.job)]
    assert (await desk.ask("pause", job="tiny"))["state"] == "paused"
    assert len(desk.posted) == 1


async def test_resuming_waits_until_the_job_is_in_the_queue(desk: Desk) -> None:
    desk.job(JobState.PAUSED)
    asking = asyncio.ensure_future(desk.ask("resume", job="tiny"))
    await asyncio.sleep(0)
    desk.job(JobState.QUEUED)
    assert (await asking)["state"] == "queued"
    assert desk.posted == [ResumeAsked(SPEC.job)]


async def test_orders_that_nobody_hears_are_answered_with_what_is_known(desk: Desk, monkeypatch) -> None:
    monkeypatch.setattr(orders, "PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(orders, "RESUME_SECONDS", 0.02)
    desk.job(JobState.RUNNING)
    assert (await desk.ask("pause", job="tiny"))["state"] == "running"
    assert (await desk.ask("resume", job="tiny"))["state"] == "running"
    assert desk.posted == [PauseAsked(SPEC.job)], "a job that runs needs no resuming"
    desk.job(JobState.PAUSED)
    assert (await desk.ask("resume", job="tiny"))["state"] == "paused"


@pytest.mark.parametrize("command", ["pause", "resume"])
async def test_a_job_that_is_over_stays_over(desk: Desk, command: str) -> None:
    desk.job(JobState.FINISHED)
    with pytest.raises(JobError, match="is finished"):
        await desk.ask(command, job="tiny")


async def test_a_paused_job_can_be_stopped_and_a_stopped_one_is_left_alone(desk: Desk, monkeypatch) -> None:
    monkeypatch.setattr("edged.roles.commands.STOP_SECONDS", 0.02)
    desk.job(JobState.PAUSED)
    await desk.ask("stop", job="tiny")
    assert len(desk.posted) == 1
    desk.job(JobState.STOPPED)
    await desk.ask("stop", job="tiny")
    assert len(desk.posted) == 1


@pytest.mark.parametrize("wanted", ["pi", PEER])
async def test_another_node_leaves_by_name_or_id(desk: Desk, wanted: str) -> None:
    assert await desk.ask("leave", node=wanted) == {"node": PEER, "name": "pi"}
    assert desk.posted == [LeaveNodeAsked(PEER)]


async def test_naming_the_own_node_is_the_same_as_naming_none(desk: Desk) -> None:
    assert await desk.ask("leave", node="desk") == await desk.ask("leave") == {"node": OWN, "name": "desk"}
    assert desk.posted == [LeaveAsked()] * 2


async def test_expelling_takes_also_those_who_are_not_there_but_not_oneself(desk: Desk) -> None:
    asking = asyncio.ensure_future(desk.ask("expel", node="old"))
    await asyncio.sleep(0)
    assert desk.posted == [ExpelAsked(GONE)]
    marked = replace(record_of(GONE, "old", MemberState.DEAD), expelled=True)
    desk.observer.table()[TellMember](TellMember(marked, MemberState.DEAD, ""))
    assert await asking == {"node": GONE, "name": "old"}
    with pytest.raises(ConfigError, match="cannot expel itself"):
        await desk.ask("expel", node=OWN)


async def test_an_order_to_expel_that_nobody_hears_is_told(desk: Desk, monkeypatch) -> None:
    monkeypatch.setattr(orders, "EXPEL_SECONDS", 0.02)
    with pytest.raises(JobFailedError, match="pi could not be expelled"):
        await desk.ask("expel", node="pi")


async def test_a_new_key_is_made_here_and_told_to_nobody(desk: Desk) -> None:
    answers = [asyncio.ensure_future(desk.ask("rotate")) for _ in range(2)]
    await asyncio.sleep(0)
    one, other = desk.posted
    assert isinstance(one, KeyRotateAsked)
    assert parse_token(one.key.decode())
    assert one != other
    desk.taken |= {key: {PEER, TWIN} for key in (one.key, other.key)}
    assert await asyncio.gather(*answers) == [{"taken": ["desk", "pi", "pi-2"], "lacking": [], "absent": ["old"]}] * 2


async def test_a_new_key_is_waited_for_until_all_who_are_there_have_taken_it(desk: Desk) -> None:
    answer = asyncio.ensure_future(desk.ask("rotate"))
    await asyncio.sleep(0)
    (asked,) = desk.posted
    for taken in (set(), {PEER}):
        desk.taken[asked.key] = taken
        await asyncio.sleep(3 * orders.LOOK_SECONDS)
        assert not answer.done(), "a member that does not answer just now is there, too"
    desk.observer.table()[TellMember](TellMember(record_of(TWIN, "pi-2", MemberState.DEAD), MemberState.SUSPECT, ""))
    assert await answer == {"taken": ["desk", "pi"], "lacking": [], "absent": ["old", "pi-2"]}


async def test_who_is_there_and_has_not_taken_the_new_key_is_named(desk: Desk, monkeypatch) -> None:
    monkeypatch.setattr(orders, "ROTATE_SECONDS", 0.2)
    answer = asyncio.ensure_future(desk.ask("rotate"))
    await asyncio.sleep(0)
    desk.taken[desk.posted[0].key] = {PEER}
    assert await answer == {"taken": ["desk", "pi"], "lacking": ["pi-2"], "absent": ["old"]}


async def test_a_key_that_does_not_change_is_told(desk: Desk, monkeypatch) -> None:
    monkeypatch.setattr(orders, "ROTATE_SECONDS", 0.02)
    with pytest.raises(JobFailedError, match=r"no new key.*edged status"):
        await desk.ask("rotate")


@pytest.mark.parametrize(
    ("wanted", "words", "status"),
    [("bb", "type one of their ids|no node", 1), ("nobody", "known nodes: desk", 1), ("", "'node'", 2),
     (7, "'node'", 2)],
)  # fmt: skip
@pytest.mark.parametrize("command", ["leave", "expel"])
async def test_a_node_that_cannot_be_meant_is_told(
    desk: Desk, wanted: object, words: str, status: int, command: str
) -> None:
    if wanted == "bb":
        desk.observer.table()[TellMember](TellMember(record_of("bb" + "e" * 14, "x", MemberState.ALIVE), None, ""))
    with pytest.raises(UserError, match=words) as refused:
        await desk.ask(command, node=wanted)
    assert refused.value.exit_status == status, "like a job that is not known: the command failed"


async def test_who_has_gone_already_is_not_told_to_leave(desk: Desk) -> None:
    assert await desk.ask("leave", node="old") == {"node": GONE, "name": "old"}
    assert desk.posted == []


def test_a_name_that_a_dead_node_had_means_the_living_one(desk: Desk) -> None:
    desk.observer.table()[TellMember](TellMember(record_of("e" * 16, "pi", MemberState.DEAD), None, ""))
    assert orders.Orders(desk.observer, desk.posted.append, desk.taken.get).find("pi").node == PEER
