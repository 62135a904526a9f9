"""Why others are not seen: the sentences, their order, and that each real reason ends in the right one."""

import asyncio
import random
import socket
from dataclasses import replace

import pytest

from edged.core.ids import PROTOCOL_VERSION
from edged.transport import contacts, entrance
from edged.transport.contacts import MOST_CONTACTS, ONLY_ALONE, Contacts, Reach, Reason, Unmet
from edged.transport.identity import new_identity
from edged.transport.probe import reach, refuses
from edged.transport.security import new_cluster_key
from tests.transport.doors import free_door
from tests.transport.nodes import build, door_of, met, running, until

WHERE = "192.0.2.7:7077"
SENTENCES = {
    "version": (contacts.other_version(WHERE, 9, 1), ["protocol 9", "this node 1", "pip install --upgrade"]),
    "key": (contacts.other_key(WHERE), ["edged key show", "edged join --key"]),
    "cluster": (contacts.other_cluster(WHERE), ["another cluster or has another key", "edged key join-command"]),
    "twin": (contacts.knocking_twin(WHERE), ["copy", "delete identity.json"]),
    "announced": (contacts.announced_twice(), ["copy", "delete identity.json"]),
    "closed": (contacts.unreachable(WHERE, Reach.CLOSED, "x"), ["nobody listens", "edged join", "Still trying"]),
    "silent": (contacts.unreachable(WHERE, Reach.SILENT, "x"), ["does not answer", "firewall", "client isolation"]),
    "name": (contacts.unreachable("pi:7077", Reach.UNKNOWN_NAME, "x"), ["pi:7077", "unknown", "number"]),
    "route": (contacts.unreachable(WHERE, Reach.NO_ROUTE, "x"), ["no route", "one network"]),
    "open": (contacts.unreachable(WHERE, Reach.OPEN, "it sends nonsense"), ["it sends nonsense", "three ports"]),
    "deaf": (contacts.deaf(), ["multicast is blocked", "5353", "edged doctor", "--seed"]),
    "refused": (contacts.deaf("No such device"), ["No such device", "--seed"]),
    "off": (contacts.nobody(discovery=False, remembered=0), ["--no-discovery", "--seed"]),
    "nobody": (contacts.nobody(discovery=True, remembered=3), ["multicast works", "3 tried", "client isolation"]),
}


@pytest.mark.parametrize("name", SENTENCES)
def test_each_reason_says_what_it_is_and_what_to_do(name):
    text, words = SENTENCES[name]
    assert all(word in text for word in words), text
    assert "\n" not in text


def test_the_most_telling_comes_first_and_the_latest_of_an_address_counts():
    rng = random.Random(5)
    for _ in range(200):
        found, latest = Contacts(), {}
        for number in range(rng.randrange(30)):
            address = "" if rng.random() < 0.1 else f"192.0.2.{rng.randrange(9)}:7077"
            if rng.random() < 0.3:
                found.settle(address)
                latest.pop(address, None)
            else:
                latest[address] = Unmet(rng.choice(list(Reason)), address, str(number))
                found.add(latest[address])
        told = found.unmet(alone=True)
        others = {unmet for unmet in latest.values() if unmet.reason is not Reason.NOBODY}
        if len(latest) == 1:
            assert told == tuple(latest.values())
        else:  # who hears of anybody at all is not without anybody
            assert set(told) == others
        ranks = [list(Reason).index(unmet.reason) for unmet in told]
        assert ranks == sorted(ranks)
        assert set(found.unmet(alone=False)) == {unmet for unmet in latest.values() if unmet.reason not in ONLY_ALONE}


def test_what_strangers_can_cause_is_bounded():
    found = Contacts()
    for number in range(3 * MOST_CONTACTS):
        found.add(Unmet(Reason.CLUSTER, f"192.0.2.7:{number + 1}", ""))
    assert len(found.unmet(alone=True)) == MOST_CONTACTS
    assert f"192.0.2.7:{3 * MOST_CONTACTS}" in {unmet.address for unmet in found.unmet(alone=True)}


async def told_by(node):
    """The first reason that a real node has for seeing nobody."""
    await until(lambda: node.contacts.unmet(alone=True))
    return node.contacts.unmet(alone=True)[0]


@pytest.mark.usefixtures("slow_machine")
async def test_a_wrong_key_is_told_and_settled_when_the_door_lets_the_node_in():
    door = free_door()
    async with running(build(listen=door)), running(build(key=new_cluster_key(), seeds=[door])) as (joiner,):
        unmet = await told_by(joiner)
        assert (unmet.reason, unmet.address) == (Reason.KEY, f"127.0.0.1:{door[1]}")
        assert "edged key show" in unmet.text
        assert joiner.contacts.unmet(alone=False) == (unmet,)
    async with running(build()) as (joiner,):
        joiner._entrance.contacts.add(replace(unmet))
        async with running(build(listen=door)) as (keeper,):
            joiner._entrance.search.add(door)
            await met(joiner, keeper)
            assert not joiner.contacts.unmet(alone=True)


async def test_another_protocol_is_told_with_both_numbers():
    async with running(build()) as (keeper,), running(build(protocol=9, seeds=[door_of(keeper)])) as (joiner,):
        unmet = await told_by(joiner)
        assert unmet.reason is Reason.VERSION
        assert f"protocol {PROTOCOL_VERSION}, this node 9" in unmet.text


async def test_a_copied_home_is_told_on_both_sides(monkeypatch):
    identity, notices = new_identity(), []
    async with running(build(identity=identity, on_notice=notices.append)) as (first,):
        async with running(build(identity=replace(identity, boot=2), seeds=[door_of(first)])) as (copy,):
            here, there = await told_by(copy), await told_by(first)
            assert (here.reason, there.reason) == (Reason.TWIN, Reason.TWIN)
            assert "already runs" in here.text
            assert there.address == f"127.0.0.1:{door_of(copy)[1]}"
            await until(lambda: notices)
        assert [notice.kind for notice in notices] == ["copy"]
        monkeypatch.setattr(entrance, "TWIN_SECONDS", 0.01)
        async with running(build(identity=replace(identity, boot=3), seeds=[door_of(first)])) as (again,):
            await told_by(again)
        await until(lambda: len(first.contacts.unmet(alone=True)) < 2)  # the second is gone, and forgotten


async def test_a_seed_at_a_closed_port_is_told_and_settled_when_a_node_opens_there():
    door = free_door()
    async with running(build(seeds=[door])) as (joiner,):
        unmet = await told_by(joiner)
        assert (unmet.reason, unmet.address) == (Reason.UNREACHABLE, f"127.0.0.1:{door[1]}")
        assert "nobody listens" in unmet.text
        async with running(build(listen=door)) as (keeper,):
            await met(joiner, keeper)
            assert not joiner.contacts.unmet(alone=True)


async def test_a_door_that_opens_while_it_is_looked_at_is_not_called_unreachable(monkeypatch):
    looked = asyncio.Event()

    async def slow_reach(_address):
        await looked.wait()
        return Reach.CLOSED

    monkeypatch.setattr(entrance, "reach", slow_reach)
    door = free_door()
    async with running(build(seeds=[door])) as (joiner,):
        await until(lambda: joiner._entrance._unexplained)
        async with running(build(listen=door)) as (keeper,):
            await met(joiner, keeper)
            looked.set()
            await until(lambda: not [task for task in joiner._entrance._tasks if "_explain" in repr(task)])
            assert not joiner.contacts.unmet(alone=True)


async def test_a_seed_whose_name_nobody_knows_is_told_by_that_name(monkeypatch):
    known = socket.getaddrinfo

    def look_up(host, *rest, **named):
        if host == "nowhere.invalid":  # some resolvers think about it for long
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return known(host, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    async with running(build(seeds=[("nowhere.invalid", 7077)])) as (joiner,):
        unmet = await told_by(joiner)
    assert (unmet.reason, unmet.address) == (Reason.UNREACHABLE, "nowhere.invalid:7077")
    assert "the name of nowhere.invalid:7077 is unknown" in unmet.text


async def test_what_a_plain_connect_shows():
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    place = server.sockets[0].getsockname()[:2]
    assert await reach(place) is Reach.OPEN
    assert not await refuses(place)
    server.close()
    await server.wait_closed()
    assert await reach(place) is Reach.CLOSED
    assert await refuses(place)
