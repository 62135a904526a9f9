"""The entrance: who was expelled stays out, also after a restart; an exchanged key shuts out the old one."""

import asyncio
import dataclasses
import json

import pytest

from edged.core.events import PeerMet
from edged.core.messages import Gossip, MemberState
from edged.errors import ConfigError
from edged.transport import banned, security, stubborn
from edged.transport.banned import is_shut_out, mark_shut_out, read_expelled, write_expelled
from edged.transport.identity import new_identity
from edged.transport.interface import Received
from edged.transport.security import is_retired, new_cluster_key, read_cluster_key, write_cluster_key
from tests.transport.nodes import KEY, build, door_of, exchange, met, next_of, running, until


def marked(node):
    return dataclasses.replace(node.own_record(), state=MemberState.DEAD, proven=True, expelled=True)


async def test_an_expelled_node_is_told_then_cut_off_and_then_refused_at_the_door_with_a_sentence():
    notices = []
    async with (
        running(build("keeper")) as (keeper,),
        running(build("bad", seeds=[door_of(keeper)], on_notice=notices.append)) as (bad,),
    ):
        await met(keeper, bad)
        await met(bad, keeper)
        await exchange(keeper, bad)
        mark = marked(bad)
        keeper.send(mark.node, Gossip((mark,)))
        keeper.expel(mark)
        assert (await next_of(bad, Received)).message == Gossip((mark,))
        await until(lambda: mark.node not in keeper._peers)
        keeper.admit(bad.own_record())
        assert mark.node not in keeper._peers

        async def keep_sending():
            while True:
                bad.send(keeper.own_record().node, Gossip(()))
                await asyncio.sleep(0.01)

        task = asyncio.create_task(keep_sending())
        await until(lambda: [notice for notice in notices if notice.kind == "expelled"])
        task.cancel()
        assert "this node was expelled" in notices[-1].text


async def test_an_expelled_identity_stays_out_after_a_restart_of_the_keeper(tmp_path):
    identity, notices = new_identity(), []
    async with running(build(identity=identity)) as (bad,):
        write_expelled(tmp_path, [marked(bad)])
    again = dataclasses.replace(identity, boot=9)
    async with running(build(home=tmp_path)) as (keeper,):
        assert [record.node for record in keeper.expelled()] == [identity.node]
        async with running(build(identity=again, seeds=[door_of(keeper)], on_notice=notices.append)):
            await until(lambda: notices)
        assert notices[0].kind == "expelled"
        assert not keeper._peers
        async with running(build("another", seeds=[door_of(keeper)])) as (other,):
            await met(keeper, other)


async def test_what_is_written_of_the_expelled_is_read_back_and_damage_is_told(tmp_path):
    assert read_expelled(tmp_path) == ()
    async with running(build()) as (bad,):
        write_expelled(tmp_path, [marked(bad)])
        assert read_expelled(tmp_path) == (marked(bad),)
    for damage in ("{", "7", "[[1, 2]]", json.dumps([["x"] * 18])):
        (tmp_path / "expelled.json").write_text(damage, encoding="utf-8")
        with pytest.raises(ConfigError, match="expelled"):
            read_expelled(tmp_path)


@pytest.mark.usefixtures("slow_machine")
async def test_members_go_on_with_an_exchanged_key_and_only_the_new_one_opens_the_door(tmp_path):
    write_cluster_key(tmp_path, KEY)
    new, notices = new_cluster_key(), []
    async with running(build("one", home=tmp_path)) as (one,), running(build("two", seeds=[door_of(one)])) as (two,):
        await met(one, two)
        await met(two, one)
        door = door_of(one)
        one.exchange_key(new)
        assert read_cluster_key(tmp_path) == new
        two.exchange_key(new)
        await exchange(one, two)
        async with running(build("late", key=new, seeds=[door])) as (late,):
            while (await next_of(one, PeerMet)).record.node != late.own_record().node:
                pass
        assert door_of(one) == door
        async with running(build("old", seeds=[door], on_notice=notices.append)) as (old,):
            await until(lambda: notices)
            assert notices[0].kind == "key"
            assert "edged key rotate" in notices[0].text
            assert not old._peers


async def test_what_is_no_key_is_refused_and_changes_nothing(tmp_path):
    write_cluster_key(tmp_path, KEY)
    async with running(build(home=tmp_path)) as (node,):
        with pytest.raises(ConfigError):
            node.exchange_key("abc")
        assert read_cluster_key(tmp_path) == KEY


def test_a_home_remembers_that_its_own_node_was_expelled(tmp_path):
    node = new_identity().node
    assert not is_shut_out(tmp_path, node)
    mark_shut_out(tmp_path, node)
    assert is_shut_out(tmp_path, node)
    assert not is_shut_out(tmp_path, new_identity().node)
    (tmp_path / "file").write_text("no folder")
    mark_shut_out(tmp_path / "file", node)  # its door tells, too


@pytest.fixture
def disk(monkeypatch):
    """A disk that takes nothing while ``full`` is set."""
    full, write = asyncio.Event(), security.write_private

    def write_private(path, data):
        if full.is_set():
            raise ConfigError(f"cannot write {path}: no space left on device")
        write(path, data)

    monkeypatch.setattr(security, "write_private", write_private)
    monkeypatch.setattr(banned, "write_private", write_private)
    monkeypatch.setattr(stubborn, "RETRY_SECONDS", 0.05)
    return full


async def test_a_key_that_a_full_disk_refuses_opens_the_door_and_is_written_when_there_is_room(tmp_path, disk):
    write_cluster_key(tmp_path, KEY)
    newer, newest, notices = new_cluster_key(), new_cluster_key(), []
    async with running(build(home=tmp_path, on_notice=notices.append)) as (node,):
        disk.set()
        node.exchange_key(newer)
        node.exchange_key(newest)
        async with running(build("late", key=newest, seeds=[door_of(node)])) as (late,):
            await met(node, late)
        assert read_cluster_key(tmp_path) == KEY
        assert "a restart of this node needs it" in notices[0].text
        disk.clear()
        await until(lambda: read_cluster_key(tmp_path) == newest)
        assert is_retired(tmp_path, KEY)
        assert notices[-1].text == "there is room again: the new cluster key is written"


async def test_an_expulsion_that_a_full_disk_refuses_is_written_when_there_is_room(tmp_path, disk):
    notices = []
    async with (
        running(build("bad")) as (bad,),
        running(build("worse")) as (worse,),
        running(build(home=tmp_path, on_notice=notices.append)) as (node,),
    ):
        disk.set()
        node.expel(marked(bad))
        node.expel(marked(worse))
        assert read_expelled(tmp_path) == ()
        assert "a restart of this node forgets bad" in notices[0].text
        disk.clear()
        await until(lambda: {record.name for record in read_expelled(tmp_path)} == {"bad", "worse"})


async def test_a_node_that_closes_does_not_wait_for_a_full_disk(tmp_path, disk):
    async with running(build("bad")) as (bad,), running(build(home=tmp_path)) as (node,):
        disk.set()
        node.expel(marked(bad))
    disk.clear()
    assert not node._entrance._stubborn._waiting
