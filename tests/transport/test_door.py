import asyncio
import dataclasses
import secrets
import socket

import pytest

from edged.core.events import PeerMet
from edged.core.ids import PROTOCOL_VERSION
from edged.core.messages import MemberState
from edged.errors import MalformedError
from edged.transport.contacts import Reason
from edged.transport.door import (
    Answer,
    Knock,
    OtherVersionError,
    Verdict,
    judge,
    pack_door,
    sound_record,
    unpack_answer,
    unpack_knock,
)
from edged.transport.identity import new_identity
from edged.transport.security import new_cluster_key
from tests.transport.doors import free_door
from tests.transport.nodes import admit_stranger, build, door_of, exchange, message, met, next_of, running, until


async def test_both_sides_learn_the_others_record():
    async with running(build("keeper")) as (keeper,), running(build("joiner", seeds=[door_of(keeper)])) as (joiner,):
        assert (await next_of(keeper, PeerMet)).record == joiner.own_record()
        assert (await next_of(joiner, PeerMet)).record == keeper.own_record()
        await exchange(keeper, joiner)


async def refusal(keeper, **options):
    notices = []
    async with running(build("joiner", seeds=[door_of(keeper)], on_notice=notices.append, **options)) as (joiner,):
        await until(lambda: notices)
        assert not joiner._peers
    assert not keeper._peers
    return notices[0]


async def test_another_protocol_is_refused_with_both_numbers():
    async with running(build()) as (keeper,):
        notice = await refusal(keeper, protocol=9)
        assert notice.kind == "version"
        assert f"protocol {PROTOCOL_VERSION}, this node 9" in notice.text


async def test_another_cluster_of_the_same_key_is_refused():
    async with running(build(cluster="lab")) as (keeper,):
        notice = await refusal(keeper, cluster="home")
        assert notice.kind == "refused"
        assert "the cluster 'lab', not 'home'" in notice.text


async def test_a_copied_home_is_refused_and_told_what_to_do():
    identity = new_identity()
    async with running(build(identity=identity)) as (keeper,):
        notice = await refusal(keeper, identity=identity)
        assert notice.kind == "twin"
        assert "delete identity.json" in notice.text


async def test_a_copied_home_is_refused_by_a_third_node():
    identity = new_identity(boot=4)
    async with (
        running(build()) as (keeper,),
        running(build(identity=identity, seeds=[door_of(keeper)])) as (first,),
    ):
        await met(keeper, first)
        notices = []
        async with running(build(identity=identity, seeds=[door_of(keeper)], on_notice=notices.append)):
            await until(lambda: notices)
        assert notices[0].kind == "twin"


@pytest.mark.usefixtures("slow_machine")
async def test_a_copied_home_is_refused_by_a_third_node_that_still_reaches_the_original():
    """A copy's counter is that of the home, one higher: a restart looks the same, but for who answers."""
    identity = new_identity(boot=4)
    copy = dataclasses.replace(identity, boot=5)
    async with (
        running(build()) as (keeper,),
        running(build(identity=identity, seeds=[door_of(keeper)])) as (first,),
    ):
        await met(keeper, first)
        await met(first, keeper)
        await exchange(first, keeper)
        notices = []
        async with running(build(identity=copy, seeds=[door_of(keeper)], on_notice=notices.append)) as (second,):
            await until(lambda: notices)
            assert not second._peers
        assert (notices[0].kind, door_of(first)[1]) == (
            "twin",
            int(notices[0].text.split(" runs at 127.0.0.1:")[1][:5]),
        )
        assert keeper._peers[identity.node].record == first.own_record()
        await exchange(keeper, first)


@pytest.mark.usefixtures("slow_machine")
async def test_a_copied_home_that_is_dialled_is_not_met_and_named():
    identity = new_identity(boot=4)
    copy = dataclasses.replace(identity, boot=5)
    notices = []
    async with (
        running(build("first", identity=identity), build("copy", identity=copy)) as (first, second),
        running(build(seeds=[door_of(second)], on_notice=notices.append)) as (keeper,),
    ):
        keeper.admit(first.own_record())
        await until(lambda: notices)
        assert notices[0].kind == "copy"
        assert "the identity of copy runs at" in notices[0].text
        assert keeper._peers[identity.node].record == first.own_record()
        assert (
            not second._peers
        )  # who dialled it has proved nothing there: the copy tells nobody that it has met a member


@pytest.mark.parametrize("backlog", [0, 8], ids=["gone", "hung"])
async def test_a_process_that_does_not_answer_is_followed_by_the_next(monkeypatch, backlog):
    """Nothing listens where it was; or the system still accepts connections for a process that was stopped."""
    monkeypatch.setattr("edged.transport.succession.ANSWER_SECONDS", 1.0)
    identity = new_identity(boot=4)
    async with running(build()) as (keeper,):
        record = await admit_stranger(keeper, identity)
        with socket.socket() as old:
            if backlog:
                old.bind(free_door())
                old.listen(backlog)
                keeper.admit(dataclasses.replace(record, door_port=old.getsockname()[1]))
            again = dataclasses.replace(identity, boot=5)
            async with running(build(identity=again, seeds=[door_of(keeper)])) as (second,):
                await met(second, keeper)
                await exchange(second, keeper)


async def test_a_copy_that_was_dialled_is_dialled_again_and_not_spoken_of_when_it_is_gone():
    identity = new_identity(boot=4)
    async with (
        running(build("first", identity=identity)) as (first,),
        running(build("copy", identity=dataclasses.replace(identity, boot=5))) as (copy,),
        running(build(seeds=[door_of(copy)])) as (keeper,),
    ):
        keeper.admit(first.own_record())

        def unmet():
            return [each.reason for each in keeper.contacts.unmet(alone=False)]

        await until(lambda: unmet() == [Reason.TWIN])
        copy._entrance.shut()
        await until(lambda: unmet() == [Reason.UNREACHABLE])


@pytest.fixture
async def asked():
    """A keeper that asks a hung process about the one that says to follow it, until ``end`` is called."""
    identity = new_identity(boot=4)
    async with running(build("keeper")) as (keeper,):
        record = await admit_stranger(keeper, identity)
        with socket.socket() as old:
            old.bind(free_door())
            old.listen(8)
            keeper.admit(dataclasses.replace(record, door_port=old.getsockname()[1]))
            notices = []
            again = dataclasses.replace(identity, boot=5)
            async with running(build(identity=again, seeds=[door_of(keeper)], on_notice=notices.append)) as (joiner,):
                questions = keeper._entrance._succession._questions
                await until(lambda: questions)

                def end():
                    for question in list(questions.values()):
                        question._end(there=False)

                yield keeper, joiner, notices, end


async def test_who_is_expelled_while_its_forerunner_is_asked_stays_outside(asked):
    keeper, joiner, notices, end = asked
    mark = dataclasses.replace(joiner.own_record(), state=MemberState.DEAD, proven=True, expelled=True)
    keeper.expel(mark)
    end()
    await until(lambda: notices)
    assert notices[0].kind == "expelled"
    assert not joiner._peers


async def test_who_waits_at_a_door_that_is_shut_for_another_key_is_not_let_in_with_the_old_one(asked):
    keeper, joiner, notices, end = asked
    keeper.exchange_key(new_cluster_key())
    await until(lambda: not keeper._entrance._succession._questions)
    end()
    await until(lambda: notices)
    assert notices[0].kind in {"key", "unreachable"}
    assert not joiner._peers
    assert keeper._peers[joiner.own_record().node].record.boot == 4


async def test_of_two_copies_of_a_node_that_is_gone_one_gets_in():
    identity = new_identity(boot=4)
    copy = dataclasses.replace(identity, boot=5)
    async with running(build()) as (keeper,):
        await admit_stranger(keeper, identity)
        notices = []
        both = [build(identity=copy, seeds=[door_of(keeper)], on_notice=notices.append) for _ in range(2)]
        async with running(*both):
            await until(lambda: notices and sum(bool(node._peers) for node in both) == 1)
            assert {notice.kind for notice in notices} == {"twin"}


async def test_a_restart_is_not_taken_for_a_twin():
    identity = new_identity()
    async with running(build()) as (keeper,):
        async with running(build(identity=identity, seeds=[door_of(keeper)])) as (first,):
            await met(keeper, first)
        again = dataclasses.replace(identity, boot=identity.boot + 1)
        async with running(build(identity=again, seeds=[door_of(keeper)])) as (second,):
            await met(second, keeper)
            await exchange(second, keeper)


async def test_a_dismissed_node_knocks_again():
    async with (
        running(build()) as (keeper,),
        running(build(seeds=[door_of(keeper)])) as (joiner,),
    ):
        await met(joiner, keeper)
        await met(keeper, joiner)
        await exchange(joiner, keeper)
        keeper.dismiss(joiner.own_record().node)

        async def keep_sending():
            while True:
                joiner.send(keeper.own_record().node, message())
                await asyncio.sleep(0.01)

        task = asyncio.create_task(keep_sending())
        await met(keeper, joiner)
        task.cancel()


async def knock(**changes):
    async with running(build()) as (node,):
        record = dataclasses.replace(node.own_record(), **changes)
    return Knock("test", secrets.token_bytes(32), b"", record)


async def test_door_messages_survive_the_wire():
    asked = await knock()
    assert unpack_knock(pack_door(asked, 1), 1) == asked
    answer = Answer(Verdict.WELCOME, "", b"n", b"p", asked.record)
    assert unpack_answer(pack_door(answer, 1), 1) == answer
    with pytest.raises(OtherVersionError) as other:
        unpack_knock(pack_door(asked, 7), 1)
    assert other.value.number == 7
    for wrong in (b"", b"x" * 40, pack_door(asked, 1)[:-1], pack_door(answer, 1)):
        with pytest.raises(MalformedError):
            unpack_knock(wrong, 1)


async def test_a_record_must_belong_to_its_key_and_be_reachable():
    assert sound_record((await knock()).record)
    for changes in ({"node": "a" * 16}, {"public_key": "k" * 40}, {"addresses": ()}, {"bulk_port": 0}):
        assert not sound_record((await knock(**changes)).record)


async def test_the_verdict_on_every_kind_of_joiner():
    asked, own = await knock(boot=3), (await knock()).record
    joiner = asked.record
    moved = dataclasses.replace(joiner, control_port=joiner.control_port + 10)

    def verdict(known, own=own, nonces=()):
        return judge(asked, own, nonces, known)[0]

    assert verdict(None) is Verdict.WELCOME
    assert verdict(joiner) is Verdict.WELCOME
    assert verdict(dataclasses.replace(moved, boot=2)) is Verdict.WELCOME
    assert verdict(moved) is Verdict.TWIN
    assert verdict(dataclasses.replace(joiner, boot=4)) is Verdict.TWIN
    assert verdict(None, own=joiner) is Verdict.TWIN
    assert verdict(None, own=joiner, nonces=(asked.nonce,)) is Verdict.YOURSELF
