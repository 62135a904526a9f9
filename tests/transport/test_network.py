import asyncio
import ctypes
import gc
import random
import socket
import sys
import threading
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from edged.core.events import LinkLost, ParcelLost, ParcelRefused, PeerMet, PortProbed
from edged.core.ids import NodeId
from edged.errors import BrokenInvariantError, ConfigError
from edged.transport import pieces
from edged.transport.credit import LARGEST_BYTES
from edged.transport.inbox import MOST_BYTES
from edged.transport.interface import Received, ReceivedParcel
from edged.transport.ports import read_ports
from edged.transport.search import resolve
from tests.transport.doors import free_door
from tests.transport.nodes import (
    KEY,
    PATIENCE_SECONDS,
    activation,
    build,
    door_of,
    exchange,
    message,
    met,
    next_of,
    pair,
    program,
    replica,
    running,
    until,
)


def address(view):
    return ctypes.addressof(ctypes.c_char.from_buffer(view))


async def test_messages_cross_both_ways():
    async with pair() as (left, right):
        await exchange(left, right)


async def test_messages_keep_their_order():
    async with pair() as (left, right):
        for number in range(200):
            left.send(right.own_record().node, message(number))
        got = [(await next_of(right, Received)).message for _ in range(200)]
        assert got == [message(number) for number in range(200)]


async def test_a_message_to_itself_comes_back():
    async with running(build()) as (node,):
        own = node.own_record().node
        node.send(own, message(3))
        assert await node.receive() == Received(own, message(3))


async def test_small_parcels_arrive_with_equal_bytes_aligned_and_in_order():
    async with pair() as (left, right):
        rng = random.Random(1)
        sent = []
        for number in range(50):
            sizes = [rng.choice([0, 1, 7, 64, 4000]) for _ in range(rng.randrange(5))]
            header = activation(*sizes, micro_batch=number)
            buffers = [memoryview(rng.randbytes(size)) for size in sizes]
            left.send_parcel(right.own_record().node, header, buffers)
            sent.append((header, buffers))
        for header, buffers in sent:
            got = await next_of(right, ReceivedParcel)
            assert (got.sender, got.header) == (left.own_record().node, header)
            assert [bytes(view) for view in got.buffers] == [bytes(view) for view in buffers]
            assert all(address(view) % 64 == 0 for view in got.buffers if len(view))
            assert not any(view.readonly for view in got.buffers)


async def test_a_large_parcel_arrives_with_equal_bytes():
    async with pair() as (left, right):
        sizes = (40 << 20, 5, 0, 3 << 20)
        buffers = [memoryview(random.Random(size).randbytes(size)) for size in sizes]
        left.send_parcel(right.own_record().node, activation(*sizes), buffers)
        got = await next_of(right, ReceivedParcel)
        assert [view == buffer for view, buffer in zip(got.buffers, buffers, strict=True)] == [True] * 4
        assert all(address(view) % 64 == 0 for view in got.buffers if len(view))


async def test_parcels_to_itself_are_copied():
    async with running(build()) as (node,):
        node.expect(lambda _sender, _header: True)
        data = memoryview(bytearray(b"abc"))
        node.send_parcel(node.own_record().node, activation(3), [data])
        data[0] = 0
        assert bytes((await next_of(node, ReceivedParcel)).buffers[0]) == b"abc"


async def test_parcels_are_refused_before_memory_is_taken_and_the_next_arrive():
    async with pair() as (left, right):
        right.expect(lambda _sender, header: header.work.micro_batch == 1)
        for number in range(2):
            big = memoryview(bytes(3 << 20))
            left.send_parcel(right.own_record().node, activation(len(big), micro_batch=number), [big])
        assert (await next_of(right, ParcelRefused)).parcel.work.micro_batch == 0
        assert (await next_of(right, ReceivedParcel)).header.work.micro_batch == 1
        assert right.malformed == 0


async def test_a_slow_consumer_bounds_memory_at_both_ends():
    async with pair() as (left, right):
        size, count = 8 << 20, 40
        before = psutil.Process().memory_info().rss
        shared = memoryview(bytes(size))
        for number in range(count):
            left.send_parcel(right.own_record().node, activation(size, micro_batch=number), [shared])
        # control messages pass while parcels pile up; nothing is taken from the inbox of the right node meanwhile
        await until(lambda: right._inbox._bytes > MOST_BYTES)
        for number in range(20):
            right.send(left.own_record().node, message(number))
            await next_of(left, Received)
            assert right._inbox._bytes <= MOST_BYTES + 2 * size
        assert psutil.Process().memory_info().rss - before < 300 << 20
        got = [(await next_of(right, ReceivedParcel)).header.work.micro_batch for _ in range(count)]
        assert got == list(range(count))


async def test_dropped_parcels_do_not_arrive_and_the_rest_does():
    async with pair() as (left, right):
        size = 8 << 20
        for number in range(20):
            left.send_parcel(right.own_record().node, activation(size, micro_batch=number), [memoryview(bytes(size))])
        left.drop_parcels(lambda header: header.work.micro_batch % 2 == 0)
        got = [(await next_of(right, ReceivedParcel)).header.work.micro_batch for _ in range(10)]
        left.send_parcel(right.own_record().node, activation(1, micro_batch=99), [memoryview(b"x")])
        assert (await next_of(right, ReceivedParcel)).header.work.micro_batch == 99
        assert got == list(range(1, 20, 2))
        assert right.malformed == 0


async def test_a_half_sent_parcel_can_be_dropped():
    async with pair() as (left, right):
        size = 200 << 20
        begun = asyncio.Event()

        def accept(_sender, _header):
            begun.set()
            return True

        right.expect(accept)
        left.send_parcel(right.own_record().node, program(size), [memoryview(bytearray(size))])
        async with asyncio.timeout(PATIENCE_SECONDS):
            await begun.wait()
        left.drop_parcels(lambda _header: True)
        left.send_parcel(right.own_record().node, program(3), [memoryview(b"abc")])
        assert bytes((await next_of(right, ReceivedParcel)).buffers[0]) == b"abc"
        assert right.malformed == 0


async def test_an_activation_overtakes_a_replica_that_is_half_sent():
    async with pair() as (left, right):
        size, begun = 100 << 20, asyncio.Event()

        def accept(_sender, _header):
            begun.set()
            return True

        right.expect(accept)
        data = memoryview(bytearray(size))
        data[-3:] = b"end"
        left.send_parcel(right.own_record().node, replica(size), [data])
        async with asyncio.timeout(PATIENCE_SECONDS):
            await begun.wait()
        left.send_parcel(right.own_record().node, activation(3), [memoryview(b"abc")])
        got = [await next_of(right, ReceivedParcel) for _ in range(2)]
        assert [parcel.header for parcel in got] == [activation(3), replica(size)]
        assert bytes(got[1].buffers[0][-3:]) == b"end"


async def test_only_parcels_to_one_peer_of_which_nothing_was_sent_can_be_given_up():
    async with pair() as (left, right), running(build()) as (third,):
        left.admit(third.own_record())
        third.admit(left.own_record())
        third.expect(lambda _sender, _header: True)
        big = memoryview(bytes(8 << 20))
        for version in range(3):
            for node in (right, third):
                left.send_parcel(node.own_record().node, replica(len(big), version=version), [big])
        await until(lambda: left._peers[right.own_record().node].bulk.road.up)
        left.drop_parcels(lambda header: header.version < 2, to=right.own_record().node, begun=False)
        assert [(await next_of(right, ReceivedParcel)).header.version for _ in range(2)] == [0, 2]
        assert [(await next_of(third, ReceivedParcel)).header.version for _ in range(3)] == [0, 1, 2]


async def test_a_receiver_is_told_of_what_was_half_received_when_its_sender_begins_anew():
    async with pair() as (left, right):
        node = right.own_record().node
        right.expect(lambda _sender, header: right._stop_receiving() or True)
        size = LARGEST_BYTES + 1  # it cannot all have come in before anything of it is acknowledged
        sent = [replica(size), activation(size)]
        for header in sent:
            right._go_on_receiving()
            left.send_parcel(node, header, [memoryview(bytes(size))])
            await until(lambda: right._bulk.pump._paused)
        right._bulk.sessions.cut(left.own_record().node)
        assert {(await next_of(left, ParcelLost)).parcel for _ in sent} == set(sent)
        right.expect(lambda _sender, _header: True)
        right._go_on_receiving()
        left.send_parcel(node, activation(1), [memoryview(b"x")])
        lost = [await next_of(right, ParcelLost) for _ in sent]
        assert lost == [ParcelLost(left.own_record().node, header) for header in sent]
        while (await next_of(right, ReceivedParcel)).header != activation(1):
            pass


async def test_a_parcel_that_contradicts_its_header_is_this_nodes_fault():
    async with pair() as (left, right):
        with pytest.raises(BrokenInvariantError, match="sizes"):
            left.send_parcel(right.own_record().node, activation(3), [memoryview(b"four")])
        await exchange(left, right)


KILLED = """
import asyncio, sys
from edged.transport.interface import Received
from tests.transport.nodes import build
async def main():
    node = build(key=sys.argv[1], seeds=[("127.0.0.1", int(sys.argv[2]))])
    await node.open()
    while True:
        item = await node.receive()
        if isinstance(item, Received):
            node.send(item.sender, item.message)
asyncio.run(main())
"""


async def test_a_killed_process_is_reported_lost_and_its_port_refuses():
    async with running(build()) as (left,):
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", KILLED, KEY, str(left.own_record().door_port), cwd=Path(__file__).parents[2]
        )
        record = (await next_of(left, PeerMet, seconds=120.0)).record
        left.send(record.node, message(4))
        assert (await next_of(left, Received)).message == message(4)
        child.kill()
        assert await next_of(left, LinkLost) == LinkLost(record.node)
        await child.wait()
        left.probe(record)
        assert await next_of(left, PortProbed) == PortProbed(record.node, refused=True)


async def test_a_closed_peer_is_reported_lost():
    left, right = build(), build()
    async with running(left):
        await right.open()
        left.admit(right.own_record())
        right.admit(left.own_record())
        await exchange(left, right)
        await right.close()
        assert await next_of(left, LinkLost) == LinkLost(right.own_record().node)


async def test_parcels_to_nobody_end_in_a_lost_link(monkeypatch):
    monkeypatch.setattr("edged.transport.bulk.WAIT_SECONDS", 0.1)
    gone = build()
    await gone.open()
    record = gone.own_record()
    await gone.close()
    async with running(build()) as (left,):
        left.admit(record)
        left.send_parcel(record.node, activation(1), [memoryview(b"x")])
        assert await next_of(left, LinkLost) == LinkLost(record.node)
        left.send_parcel(NodeId("f" * 16), activation(1), [memoryview(b"x")])
        assert await next_of(left, LinkLost) == LinkLost(NodeId("f" * 16))


async def test_a_bulk_connection_that_breaks_tells_which_parcels_may_not_have_arrived():
    async with pair() as (left, right):
        node = right.own_record().node
        left.send_parcel(node, activation(1, micro_batch=0), [memoryview(b"x")])
        await next_of(right, ReceivedParcel)
        lane = left._peers[node].bulk
        await until(lambda: lane.queued_bytes == 0)
        right._stop_receiving()
        for number in (1, 2):
            big = memoryview(bytes(3 << 20))
            left.send_parcel(node, activation(len(big), micro_batch=number), [big])
        await until(lambda: lane.queued_bytes > 3 << 20)
        right._bulk.sessions.cut(left.own_record().node)
        lost = [(await next_of(left, ParcelLost)) for _ in range(2)]
        assert [(each.node, each.parcel.work.micro_batch) for each in lost] == [(node, 1), (node, 2)]
        right._go_on_receiving()
        left.send_parcel(node, activation(1, micro_batch=3), [memoryview(b"x")])
        while (await next_of(right, ReceivedParcel)).header.work.micro_batch != 3:
            pass


@pytest.mark.parametrize("broken", [1, 2, 3], ids=["first", "middle", "last"])
async def test_a_parcel_with_a_broken_piece_is_reported_lost_and_the_next_one_arrives(broken, monkeypatch):
    def cut_wrongly(number, parcel):
        messages = list(cut(number, parcel))
        if parcel.header.work.micro_batch == 0:
            messages[broken][0] = pieces.Prefix(pieces.PIECE, number, 5).pack()
        return iter(messages)

    cut = pieces.cut
    monkeypatch.setattr(pieces, "cut", cut_wrongly)
    async with pair() as (left, right):
        node = right.own_record().node
        big = memoryview(bytes(3 << 20))
        for number in (0, 1):
            left.send_parcel(node, activation(len(big), micro_batch=number), [big])
        lost = await next_of(left, ParcelLost)
        assert (lost.node, lost.parcel.work.micro_batch) == (node, 0)
        assert await next_of(right, ParcelLost) == ParcelLost(left.own_record().node, lost.parcel)
        assert right.malformed == 1
        left.send_parcel(node, activation(len(big), micro_batch=2), [big])
        while (await next_of(right, ReceivedParcel)).header.work.micro_batch != 2:
            pass


async def test_an_idle_bulk_connection_that_breaks_loses_nothing_and_is_dialled_again():
    async with pair() as (left, right):
        node = right.own_record().node
        left.send_parcel(node, activation(1, micro_batch=0), [memoryview(b"x")])
        await next_of(right, ReceivedParcel)
        lane = left._peers[node].bulk
        await until(lambda: lane.queued_bytes == 0)
        right._bulk.sessions.cut(left.own_record().node)
        await until(lambda: not lane.road.up)
        left.send_parcel(node, activation(1, micro_batch=1), [memoryview(b"x")])
        assert (await next_of(right, ReceivedParcel)).header.work.micro_batch == 1
        assert not [item for item, _ in left._inbox._items if isinstance(item, ParcelLost)]


async def test_a_restarted_peer_gets_nothing_that_was_meant_for_the_dead_one():
    async with running(build()) as (left,):
        right = build()
        await right.open()
        for _ in range(2):
            left.admit(right.own_record())
            right.admit(left.own_record())
            await exchange(left, right)
            await right.close()
            await next_of(left, LinkLost)
            left.send(right.own_record().node, message(66))
            right = build(identity=right._identity)
            await right.open()
        await right.close()


async def test_a_peer_that_is_admitted_later_can_be_reached():
    async with running(build(), build()) as (left, right):
        left.admit(right.own_record())
        left.send(right.own_record().node, message(1))
        await until(lambda: right._gate.refused)
        right.admit(left.own_record())
        assert (await next_of(right, Received)).message == message(1)


@pytest.mark.parametrize("key", ["x" * 40, " " * 40, "", "é" * 40, "#" * 40, "another's"])
async def test_a_key_that_is_not_the_members_own_is_not_believed(key):
    """Members tell of each other. One could shut another out, or have this node dial with what is no key at all."""
    notices = []
    async with running(build(on_notice=notices.append), build(), build()) as (left, right, third):
        true = right.own_record()
        false = replace(true, public_key=third.own_record().public_key if key == "another's" else key, boot=99)
        left.admit(true)
        left.admit(false)
        assert [notice.kind for notice in notices] == ["peer"]
        assert true.node in notices[0].text
        right.admit(left.own_record())
        await exchange(left, right)


async def test_an_address_that_is_none_is_no_more_than_unreachable():
    """Whatever stands in a record: an empty label is no name, and the system's resolver raises what is no OSError."""
    async with running(build()) as (left,):
        for host in ("a..b", ".", "x" * 300, "\x00", "é..é", ""):
            odd = replace(build().own_record(), addresses=(host,), control_port=1)
            left.probe(odd)
            assert await next_of(left, PortProbed) == PortProbed(odd.node, refused=False)
            assert await resolve((host, 1)) == [] or host == ""


async def test_a_dismissed_peer_is_cut_off_and_can_be_admitted_again():
    async with pair() as (left, right):
        await exchange(left, right)
        right.dismiss(left.own_record().node)
        await next_of(left, LinkLost)
        left.send(right.own_record().node, message(2))
        await until(lambda: right._gate.refused)
        right.admit(left.own_record())
        assert (await next_of(right, Received)).message == message(2)


@pytest.mark.parametrize("rounds", [1, 3])
async def test_a_peer_that_was_dismissed_and_admitted_again_is_reported_lost_when_it_dies(rounds):
    left, right = build(), build()
    async with running(left):
        await right.open()
        right.admit(left.own_record())
        node = right.own_record().node
        left.admit(right.own_record())
        await exchange(left, right)
        for number in range(rounds):
            left.dismiss(node)
            left.admit(right.own_record())
            await until_exchanged(left, right, 10 + number)
        while left._inbox._items:
            await left.receive()
        await right.close()
        assert await next_of(left, LinkLost) == LinkLost(node)


async def until_exchanged(left, right, number):
    """A message each way, asked for again as the core does: what was sent on a lost connection is lost."""
    for sender, receiver in ((left, right), (right, left)):
        got = asyncio.create_task(next_of(receiver, Received))
        while not got.done():
            sender.send(receiver.own_record().node, message(number))
            await asyncio.wait({got}, timeout=0.2)


async def test_the_port_of_a_dead_peer_is_looked_for_where_it_answered():
    right = build(listen=free_door())
    async with running(build()) as (left,):
        await right.open()
        record = replace(right.own_record(), addresses=("192.0.2.1", "127.0.0.1"))
        left.admit(record)
        right.admit(left.own_record())
        await exchange(left, right)
        await right.close()
        await next_of(left, LinkLost)
        left.probe(record)
        assert await next_of(left, PortProbed) == PortProbed(record.node, refused=True)


async def test_a_peer_with_a_wrong_address_among_its_own_is_found():
    async with running(build(), build()) as (left, right):
        left.admit(replace(right.own_record(), addresses=("127.0.0.9", "127.0.0.1")))
        right.admit(left.own_record())
        left.send(right.own_record().node, message(1))
        assert (await next_of(right, Received)).message == message(1)


async def test_a_probe_tells_an_open_port_from_a_closed_one():
    gone = build(listen=free_door())
    await gone.open()
    async with running(build()) as (left,):
        left.probe(gone.own_record())
        assert await next_of(left, PortProbed) == PortProbed(gone.own_record().node, refused=False)
        await gone.close()
        left.probe(gone.own_record())
        assert await next_of(left, PortProbed) == PortProbed(gone.own_record().node, refused=True)


async def test_statistics_count_bytes():
    async with pair() as (left, right):
        left.send_parcel(right.own_record().node, activation(1 << 20), [memoryview(bytes(1 << 20))])
        await next_of(right, ReceivedParcel)
        (there,) = left.statistics()
        (here,) = right.statistics()
        assert there.node == right.own_record().node
        assert there.sent_bytes_per_second > 100_000
        assert here.received_bytes_per_second > 100_000


async def test_closing_leaves_no_descriptor_and_no_thread():
    async def once():
        async with pair() as (left, right):
            await exchange(left, right)
            left.send_parcel(right.own_record().node, activation(1 << 20), [memoryview(bytes(1 << 20))])
            await next_of(right, ReceivedParcel)

    def taken():
        gc.collect()  # of tests before this one
        return psutil.Process().num_fds(), threading.active_count(), psutil.Process().num_threads()

    await once()  # pyzmq keeps one thread per process for buffers that are being sent
    before = taken()
    while (now := taken()) != before:  # a thread that has been waited for may be counted for a moment
        before = now
    await once()
    await until(lambda: taken() == before)


async def test_a_port_in_use_is_named():
    async with running(build()) as (node,):
        port = node.own_record().door_port
        with pytest.raises(ConfigError, match=f"{port} is in use.*--listen"):
            await build(listen=("127.0.0.1", port)).open()


async def test_an_address_of_another_device_is_named():
    with pytest.raises(ConfigError, match="no address 192.0.2.77"):
        await build(listen=("192.0.2.77", 0)).open()


async def test_three_ports_in_a_row_are_taken_from_the_one_named():
    with pytest.raises(ConfigError, match="at most 65533"):
        await build(listen=("127.0.0.1", 65534)).open()
    host, port = free_door()
    async with running(build(listen=(host, port))) as (node,):
        assert ports_of(node) == (port, port + 1, port + 2)


def ports_of(node):
    record = node.own_record()
    return record.door_port, record.control_port, record.bulk_port


async def test_a_node_on_any_ports_has_those_of_before_when_it_is_started_again(tmp_path):
    async with running(build(home=tmp_path, listen=free_door())) as (node,):
        before = ports_of(node)
    async with running(build(home=tmp_path)) as (again,):
        assert ports_of(again) == before
    async with running(build(home=tmp_path / "other")) as (node,):
        assert read_ports(tmp_path / "other") == ports_of(node)


async def test_a_port_of_before_that_is_taken_is_replaced_and_the_new_one_remembered(tmp_path):
    async with running(build(home=tmp_path, listen=free_door())) as (node,):
        door, control, bulk = ports_of(node)
    with socket.socket() as other:
        other.bind(("127.0.0.1", control))
        other.listen()
        async with running(build(home=tmp_path)) as (again,):
            moved = ports_of(again)
    assert (moved[0], moved[2]) == (door, bulk)
    assert moved[1] != control
    assert read_ports(tmp_path) == moved


async def test_two_nodes_that_restart_find_each_other_by_what_they_remember(tmp_path):
    async with (
        running(build(home=tmp_path / "left", listen=free_door())) as (left,),
        running(build(home=tmp_path / "right", listen=free_door(), seeds=[door_of(left)])) as (right,),
    ):
        await met(right, left)
        await met(left, right)
        identities = left._identity, right._identity
    async with (
        running(build(home=tmp_path / "left", identity=identities[0])) as (left,),
        running(build(home=tmp_path / "right", identity=identities[1])) as (right,),
    ):
        await met(right, left)
        await met(left, right)


async def test_nodes_meet_at_the_door_by_a_seed():
    async with running(build()) as (left,), running(build(seeds=[door_of(left)])) as (right,):
        await met(left, right)
        await met(right, left)
        await exchange(left, right)


async def test_a_seed_that_starts_later_is_found():
    place = free_door()
    async with running(build(seeds=[place])) as (joiner,), running(build(listen=place)) as (late,):
        await met(joiner, late)


async def test_a_name_as_seed_is_resolved():
    async with (
        running(build()) as (left,),
        running(build(seeds=[("localhost", left.own_record().door_port)])) as (right,),
    ):
        await met(right, left)


async def test_known_doors_are_remembered_on_disk(tmp_path):
    async with running(build()) as (left,):
        async with running(build(seeds=[door_of(left)], home=tmp_path)) as (right,):
            await met(right, left)
        async with running(build(home=tmp_path)) as (again,):
            await met(again, left)


async def test_a_node_that_both_seed_and_memory_name_is_met_once_known():
    async with (
        running(build()) as (left,),
        running(build(seeds=[door_of(left), ("localhost", left.own_record().door_port)])) as (right,),
    ):
        assert (await next_of(right, PeerMet)).record == left.own_record()


async def test_its_own_address_as_a_seed_is_harmless():
    async with running(build()) as (node,):
        node._entrance.search.add(door_of(node))
        await until(lambda: not node._entrance.search._tasks)
        assert not node._peers
