"""Doors of real nodes on loopback are tried, the named first, and nobody is joined."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from testbed import free_ports

from edged.core.ids import PROTOCOL_VERSION
from edged.doctor import doors
from edged.doctor.doors import MOST_TRIED, Other, Source, gathered, measure_others
from edged.transport import trial
from edged.transport.contacts import Reach
from edged.transport.discovery import Announcement
from edged.transport.identity import load_identity
from edged.transport.search import CUTS_OF_ANOTHER_KEY, Address
from edged.transport.security import new_cluster_key, parse_token, write_cluster_key
from edged.transport.sockets import new_context
from edged.transport.trial import Trial, try_door
from tests.transport.nodes import KEY, build, door_of, met, running

TAG = parse_token(KEY).tag("test")


def listen_for(wanted: Callable[[Announcement], bool]) -> Callable[..., Awaitable[None]]:
    """Listen until this is heard, however long it takes."""

    async def listen(addresses: list[str], _seconds: float, heard: Callable[[Announcement], None]) -> None:
        came = asyncio.Event()

        def hear(said: Announcement) -> None:
            heard(said)
            if wanted(said):
                came.set()

        listening = asyncio.create_task(trial.listen(addresses, 60.0, hear))
        async with asyncio.timeout(60.0):
            await came.wait()
        listening.cancel()
        with suppress(asyncio.CancelledError):
            await listening

    return listen


async def test_doors_are_tried_and_nobody_is_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One is heard and named, one only named, one has another key, one ended since it was met."""
    monkeypatch.setattr(doors, "listen", listen_for(lambda said: said.door_port == door_of(heard)[1]))
    load_identity(tmp_path)
    write_cluster_key(tmp_path, KEY)
    heard, named, strange = build("heard", discovery=True), build("named"), build("strange", key=new_cluster_key())
    async with running(heard, named, strange):
        async with (
            running(build(home=tmp_path)) as (before,),
            running(build("gone", seeds=[door_of(before)])) as (gone,),
        ):
            await met(before, gone)
            record = gone.own_record()
        nowhere = ("127.0.0.1", free_ports())
        seeds = [door_of(heard), door_of(named), door_of(strange), nowhere]
        facts = await measure_others(tmp_path, "", "test", ["127.0.0.1"], seeds, discovery=True)
        assert not heard._peers
        assert not named._peers
    assert facts.tag == parse_token(KEY).tag("test")
    seen = {other.places[0]: other for other in facts.others}  # tests beside this one announce nodes, too
    expected = {
        door_of(heard): (Source.NAMED, Reach.OPEN, True),
        door_of(named): (Source.NAMED, Reach.OPEN, True),
        door_of(strange): (Source.NAMED, Reach.OPEN, False),
        nowhere: (Source.NAMED, Reach.CLOSED, None),
        ("127.0.0.1", record.door_port): (Source.REMEMBERED, Reach.CLOSED, None),
    }
    assert {
        place: (seen[place].source, seen[place].best.reach, seen[place].best.opens) for place in expected
    } == expected
    assert [place for place in expected if seen[place].said is not None] == [door_of(heard)]


def remember(home: Path, nodes: int) -> None:
    entries = [{"node": f"{number:016x}", "host": f"10.0.0.{number}", "port": 7077} for number in range(nodes)]
    (home / "peers.json").write_text(json.dumps(entries))
    (home / "peers.json").chmod(0o600)


def announcement(node: str, *hosts: str, tag: str = TAG) -> Announcement:
    return Announcement(tag, PROTOCOL_VERSION, node, hosts, 7077)


async def test_those_that_are_remembered_take_no_room_from_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A home that has met many hears a new node, and tries the one that its user names."""
    remember(tmp_path, 40)
    said = [announcement("a" * 16, "10.1.0.1"), announcement("b" * 16, "10.1.0.2", "10.1.0.3")]

    async def heard(_addresses: list[str], _seconds: float, tell: Callable[[Announcement], None]) -> None:
        for each in (*said, *said):
            tell(each)

    async def tried(_context: object, _key: object, place: Address) -> Trial:
        return Trial(place, Reach.OPEN, 0.001, None, (place,))

    monkeypatch.setattr(doors, "listen", heard)
    monkeypatch.setattr(doors, "try_door", tried)
    facts = await measure_others(tmp_path, KEY, "test", [], [("10.2.0.1", 7077)], discovery=True)
    sources = [other.source for other in facts.others]
    assert sources == [Source.NAMED] + [Source.HEARD] * 2 + [Source.REMEMBERED] * (MOST_TRIED - 4)
    assert facts.left_out == 40 - (MOST_TRIED - 4)


@pytest.mark.parametrize("token", ["", "nonsense"])
async def test_an_invalid_key_is_not_a_missing_one(tmp_path: Path, token: str) -> None:
    facts = await measure_others(tmp_path, token, "test", [], [], discovery=False)
    assert (facts.tag, facts.invalid) == ("", bool(token))


def test_a_node_is_one_however_often_and_wherever_it_is_known() -> None:
    def other(source: Source, node: str, *hosts: str, said: Announcement | None = None, behind: str = "") -> Other:
        places = tuple((host, 7077) for host in hosts)
        trials = (Trial(places[0], Reach.OPEN, 0.1, None, ((behind, 7077),) if behind else places),)
        return Other(source, "", node, places, said, trials)

    false = announcement("a", "10.0.0.1", tag="other")
    seen = gathered(
        [
            other(Source.NAMED, "", "laptop.local", behind="10.0.0.1"),
            other(Source.NAMED, "", "10.0.0.7"),
            other(Source.HEARD, "b", "10.0.0.1", said=replace(false, node="b")),
            other(Source.HEARD, "a", "10.0.0.1", "10.0.1.1", said=announcement("a", "10.0.0.1")),
            other(Source.HEARD, "a", "10.0.0.1", said=false),
            other(Source.REMEMBERED, "a", "10.0.2.1"),
        ],
        TAG,
    )
    assert [(each.source, each.node) for each in seen] == [
        (Source.NAMED, "a"),
        (Source.NAMED, ""),
        (Source.HEARD, "b"),
    ]
    assert {host for host, _ in seen[0].places} == {"laptop.local", "10.0.0.1", "10.0.1.1", "10.0.2.1"}
    assert seen[0].says(TAG)


async def test_a_name_is_resolved_as_by_whoever_joins() -> None:
    async with running(build()) as (node,):
        context = new_context()
        there = await try_door(context, parse_token(KEY), ("localhost", door_of(node)[1]))
        nowhere = await try_door(context, parse_token(KEY), ("nobody.invalid", 7077))
        context.destroy(linger=0)
    assert (there.address[0], there.reach, there.opens) == ("localhost", Reach.OPEN, True)
    assert door_of(node) in there.places
    assert (nowhere.reach, nowhere.opens) == (Reach.UNKNOWN_NAME, None)


@asynccontextmanager
async def cutting(door: Address, times: int) -> AsyncIterator[Address]:
    """A way to a door that cuts the first handshakes."""
    begun = 0

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(1 << 12):
                writer.write(data)
        writer.close()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal begun
        first = await reader.read(1)
        begun += bool(first)
        if not first or begun <= times:
            writer.close()
            return
        there, onwards = await asyncio.open_connection(*door)
        onwards.write(first)
        await asyncio.gather(forward(reader, onwards), forward(there, writer))

    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()
    finally:
        server.close()


@pytest.mark.parametrize(("cuts", "opens"), [(0, True), (CUTS_OF_ANOTHER_KEY - 1, True), (CUTS_OF_ANOTHER_KEY, False)])
async def test_a_door_that_cuts_once_is_none_of_another_key(cuts: int, opens: bool) -> None:
    async with running(build()) as (node,), cutting(door_of(node), cuts) as place:
        context = new_context()
        shown = await try_door(context, parse_token(KEY), place)
        context.destroy(linger=0)
    assert shown.opens is opens
