"""What strangers, holders of a wrong key, and members that break the protocol can do to a node: nothing that lasts."""

import asyncio
import random
import socket
from contextlib import suppress

import pytest
import zmq

from edged.core.events import LinkLost, ParcelLost, PeerMet
from edged.transport.codec import encode
from edged.transport.identity import new_identity
from edged.transport.interface import Received
from edged.transport.network import STRIKES
from edged.transport.pieces import OPEN, PIECE, Prefix
from edged.transport.security import new_cluster_key
from edged.transport.sockets import BULK_KIND, CONTROL_KIND, DOOR_KIND, new_context, new_dealer
from tests.transport.nodes import (
    PATIENCE_SECONDS,
    activation,
    admit_stranger,
    build,
    door_of,
    exchange,
    message,
    met,
    next_of,
    pair,
    replica,
    running,
    until,
)


def ports(node):
    record = node.own_record()
    return (record.door_port, record.control_port, record.bulk_port)


def garbage(rng):
    """Bytes of a stranger without a key: noise, truncated greetings, a whole greeting and then nonsense."""
    greeting = b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x01CURVE" + bytes(15) + b"\x00" + bytes(31)
    kind = rng.randrange(4)
    if kind == 0:
        return rng.randbytes(rng.randrange(1, 300))
    if kind == 1:
        return greeting[: rng.randrange(1, 64)]
    if kind == 2:
        return greeting + b"\x04" + bytes([rng.randrange(256)]) + rng.randbytes(rng.randrange(200))
    return greeting + b"\x06\xff\xff\xff\xff\xff\xff\xff\xff" + rng.randbytes(64)  # announces 2**64 bytes


async def shout(port, frames):
    """Send frames over as many connections as the node cuts."""
    rest = list(frames)
    while rest:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                for _ in range(min(len(rest), 20)):
                    writer.write(rest.pop())
                await writer.drain()
            finally:
                writer.transport.abort()  # what the node does not read must not keep the connection
                await writer.wait_closed()


async def test_ten_thousand_frames_of_a_stranger_leave_a_node_serving():
    rng = random.Random(7)
    async with pair() as (left, right):
        await exchange(left, right)
        shouts = [shout(port, [garbage(rng) for _ in range(3400)]) for port in ports(right)]
        await asyncio.gather(*shouts)
        await exchange(left, right, 2)
        async with running(build(seeds=[door_of(right)])) as (joiner,):
            await met(joiner, right)
        assert right.malformed == 0


async def test_connections_that_say_nothing_do_not_keep_others_out():
    async with pair() as (left, right):
        silent = [socket.create_connection(("127.0.0.1", port)) for port in ports(right) for _ in range(50)]
        await exchange(left, right)
        async with running(build(seeds=[door_of(right)])) as (joiner,):
            await met(joiner, right)
        for connection in silent:
            connection.close()


@pytest.mark.usefixtures("slow_machine")
async def test_a_wrong_cluster_key_opens_no_door_and_its_holder_is_told():
    notices = []
    async with running(build()) as (node,):
        async with running(build(key=new_cluster_key(), seeds=[door_of(node)], on_notice=notices.append)) as (joiner,):
            await until(lambda: notices)
            assert [notice.kind for notice in notices] == ["key"]
            assert "edged key show" in notices[0].text
            assert not joiner._peers
        assert not node._peers


class Raw:
    """A DEALER of one's own making, as a member or a stranger might build it."""

    def __init__(self, kind, identity, server_key, port):
        self.context = new_context()
        self.socket = new_dealer(self.context, kind, identity, server_key, "127.0.0.1")
        self.socket.connect(f"tcp://127.0.0.1:{port}")

    async def send(self, *frames):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    return self.socket.send_multipart(frames, zmq.DONTWAIT)
                except zmq.Again:
                    await asyncio.sleep(0)

    def close(self):
        self.context.destroy(linger=0)


async def test_an_unknown_key_is_not_let_in_at_control_and_bulk():
    async with pair() as (left, right):
        record = right.own_record()
        raws = [
            Raw(kind, new_identity(), record.public_key, port)
            for kind, port in ((CONTROL_KIND, record.control_port), (BULK_KIND, record.bulk_port))
        ]
        await until(lambda: right._gate.refused == 2)
        await exchange(left, right)
        for raw in raws:
            raw.close()


async def test_a_member_that_breaks_the_protocol_is_cut_off_and_others_are_not():
    member, notices = new_identity(), []
    async with pair(on_notice=notices.append) as (left, right):
        record = right.own_record()
        await admit_stranger(right, member)
        raw = Raw(CONTROL_KIND, member, record.public_key, record.control_port)
        await raw.send(encode(message(5)))
        assert (await next_of(right, Received)).message == message(5)
        for number in range(STRIKES):
            await raw.send(b"\x01nonsense" if number % 2 else encode(activation(1)))
        assert await next_of(right, LinkLost) == LinkLost(member.node)
        assert right.malformed == STRIKES
        assert [notice.kind for notice in notices] == ["peer"]
        assert f"'node' ({member.node}) was cut off" in notices[0].text
        assert f"edged expel {member.node}" in notices[0].text
        assert not right._gate.admits(member.node)
        await until(lambda: raw.socket.getsockopt(zmq.EVENTS) & zmq.POLLOUT == 0)
        await exchange(left, right)
        raw.close()


async def test_broken_parcels_of_a_member_cost_the_connection_and_then_the_admission():
    member = new_identity()
    async with pair() as (left, right):
        record = right.own_record()
        await admit_stranger(right, member)
        for number in range(1, STRIKES + 1):
            raw = Raw(BULK_KIND, member, record.public_key, record.bulk_port)
            await raw.send(Prefix(OPEN, 1).pack(), encode(activation(3 << 20)))
            await raw.send(Prefix(PIECE, 1, 5).pack(), b"not the beginning")
            await until(lambda raw=raw: raw.socket.getsockopt(zmq.EVENTS) & zmq.POLLOUT == 0)
            assert right.malformed == number
            assert right._gate.admits(member.node) == (number < STRIKES)
            raw.close()
        assert await next_of(right, LinkLost) == LinkLost(member.node)
        await exchange(left, right)


@pytest.mark.parametrize(
    ("first", "broken"),
    [
        (replica(3 << 20), [Prefix(OPEN, 2).pack(), encode(replica(3 << 20, version=1))]),
        (activation(3 << 20), [Prefix(OPEN, 2).pack(), encode(activation(1)), b"x"]),
        (activation(3 << 20), [Prefix(OPEN, 2).pack(), encode(replica(1)), b"too long"]),
        (replica(3 << 20), [Prefix(PIECE, 2).pack(), b"x"]),
        (replica(3 << 20), [b"\x01nonsense"]),
    ],
)
async def test_a_broken_message_while_a_parcel_is_half_received_ends_the_connection_and_tells_the_core(first, broken):
    member = new_identity()
    async with pair() as (left, right):
        record = right.own_record()
        fake = build(identity=member)
        await fake.open()
        right.admit(fake.own_record())
        await fake.close()
        raw = Raw(BULK_KIND, member, record.public_key, record.bulk_port)
        await raw.send(Prefix(OPEN, 1).pack(), encode(first))
        await raw.send(Prefix(PIECE, 1).pack(), b"the beginning")
        await raw.send(*broken)
        assert await next_of(right, ParcelLost) == ParcelLost(member.node, first)
        await until(lambda: raw.socket.getsockopt(zmq.EVENTS) & zmq.POLLOUT == 0)
        assert right.malformed == 1
        await exchange(left, right)
        raw.close()


async def test_broken_messages_between_parcels_cost_no_connection_before_the_last_strike():
    member = new_identity()
    async with pair() as (left, right):
        record = right.own_record()
        await admit_stranger(right, member)
        raw = Raw(BULK_KIND, member, record.public_key, record.bulk_port)
        await raw.send(Prefix(OPEN, 1).pack(), encode(activation(1)), b"x")
        for number in range(2, STRIKES + 2):
            await raw.send(Prefix(OPEN, number).pack(), encode(activation(1)), b"too long")
        assert await next_of(right, LinkLost) == LinkLost(member.node)
        assert right.malformed == STRIKES
        await exchange(left, right)
        raw.close()


async def test_ten_thousand_frames_of_holders_of_the_cluster_key_leave_the_door_open():
    rng = random.Random(3)
    async with running(build()) as (node,):
        raw = Raw(DOOR_KIND, new_identity(), node._entrance._key.door_public, node.own_record().door_port)
        for _ in range(10_000):
            await raw.send(b"edged-door\x00\x01" + rng.randbytes(rng.randrange(60)))
        await until(lambda: node._entrance._door.dropped == 10_000)
        async with running(build(seeds=[door_of(node)])) as (joiner,):
            assert (await next_of(joiner, PeerMet)).record == node.own_record()
        raw.close()
