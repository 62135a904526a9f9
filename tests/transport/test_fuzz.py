"""A member that sends whatever it likes, and a node that goes on serving the others."""

import asyncio
import contextlib
import random
from collections import deque

import psutil
import pytest
import zmq

from edged.core.events import LinkLost, ParcelLost
from edged.transport import pieces
from edged.transport.codec import encode
from edged.transport.identity import new_identity
from edged.transport.inbox import MOST_BYTES
from edged.transport.interface import Received, ReceivedParcel
from edged.transport.kinds import FRAME_BYTES
from edged.transport.network import STRIKES
from edged.transport.pieces import ACK, DROP, OPEN, PIECE, Prefix
from edged.transport.sockets import BULK_KIND, CONTROL_KIND, new_context, new_dealer
from tests.transport.hostile import hostile
from tests.transport.nodes import (
    PATIENCE_SECONDS,
    activation,
    admit_stranger,
    message,
    pair,
    replica,
    samples,
    until,
)
from tests.transport.values import ALL, frames_of

FRAMES = 10_000
ACCEPTED_BYTES = 4 << 20
"""The node takes memory for parcels up to this size, as one that expects certain tensors does."""

GROWTH_BYTES = 256 << 20


class Member:
    """An admitted member with sockets of its own making, to one node."""

    def __init__(self, node):
        self.identity = new_identity()
        self.node = node
        self.context = new_context()
        self.sockets = {}
        self.losses = {}

    def dial(self, kind):
        """Connect anew with one of the two sockets."""
        if kind in self.sockets:
            self.sockets[kind].disable_monitor()
            self.sockets[kind].close(linger=0)
            self.losses[kind].close()
        record = self.node.own_record()
        port = record.control_port if kind is CONTROL_KIND else record.bulk_port
        self.sockets[kind] = new_dealer(self.context, kind, self.identity, record.public_key, "127.0.0.1")
        self.losses[kind] = self.sockets[kind].get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self.sockets[kind].connect(f"tcp://127.0.0.1:{port}")

    async def send(self, kind, frames, given_up):
        """Whether it went out before the node hung up."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not given_up():
                with contextlib.suppress(zmq.Again):
                    self.sockets[kind].send_multipart(frames, zmq.DONTWAIT)
                    return True
                await asyncio.sleep(0)
        return False

    async def send_all(self, kind, messages, given_up):
        """Send until there is no more use in it; begin anew whenever a broken parcel has cost the connection."""
        while not given_up():
            self.dial(kind)
            stream = messages()
            while await self.send(kind, next(stream), lambda: given_up() or self.losses[kind].poll(0)):
                pass

    async def send_until_hung_up(self, kind):
        """Whatever has passed the handshake already is cut with the next frame."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await self.send(kind, [b""], lambda: self.hung_up(kind)):  # noqa: ASYNC110
                await asyncio.sleep(0)

    def hung_up(self, kind):
        return self.sockets[kind].getsockopt(zmq.EVENTS) & zmq.POLLOUT == 0

    def close(self):
        self.context.destroy(linger=0)


def parcel_of(rng, number, kind):
    """A sound parcel in some pieces, small ones mostly; now and then one that the node does not want."""
    piece = rng.choice([1000] * 30 + [1 << 20])
    size = rng.choice([0, 3, 3000, 3 * piece, 64 << 20])
    opened = [Prefix(OPEN, number).pack(), encode(kind(size))]
    offsets = range(0, min(size, 4 * piece), piece)
    return opened, [[Prefix(PIECE, number, at).pack(), bytes(min(piece, size - at))] for at in offsets]


def bulk_messages(rng, good):
    """Messages of parcels, for ever: sound ones, bad headers, and lost, doubled, exchanged, out-of-order pieces.

    Between the pieces of some parcels that travel behind come whole others, sound and not.
    """
    number, behind = 0, deque()
    while True:
        number += 1
        if not behind and rng.randrange(3) == 0:
            opened, rest = parcel_of(rng, number, rng.choice([replica, samples]))
            behind.extend(rest)
            yield opened
            continue
        opened, rest = parcel_of(rng, number, activation)
        choice = rng.randrange(22)
        if choice < 2:
            opened = [opened[0], next(hostile(rng, good, FRAME_BYTES))]
        elif choice == 2:
            rng.shuffle(rest)
        elif choice == 3 and rest:
            rest.insert(rng.randrange(len(rest)), rng.choice(rest))
        elif choice == 4:
            rest = [[Prefix(PIECE, number, rng.choice([1, 1 << 60])).pack(), b"x" * rng.randrange(9000)]]
        elif choice == 5 and number > 1:
            opened = [rng.randbytes(rng.randrange(40)), *opened[1:]]
        elif choice == 6:
            rest = [[Prefix(rng.choice([0, DROP, ACK, 9]), rng.randrange(number + 1)).pack()], *rest]
        elif choice == 7:
            rest = [[Prefix(PIECE, number).pack(), *[b"x"] * rng.choice([2, 65, 200])], opened]
        elif choice == 8:
            rest = rest[:-1]
        elif choice == 9:
            opened = [opened[0], encode(replica(3 << 20))]
        elif choice == 10:
            rng.shuffle(behind)
        for parts in (opened, *rest):
            yield parts
            if behind and rng.randrange(2):
                yield behind.popleft()


class Served:
    """The node's own consumer: counts what the member got through, sorts what the honest one sends."""

    def __init__(self, node, honest):
        self.node = node
        self.honest = honest
        self.lost = 0
        self.broken = 0
        self.through = 0
        self.heard = asyncio.Queue()
        self.most_held = 0
        self.task = asyncio.create_task(self._consume())

    async def _consume(self):
        while True:
            item = await self.node.receive()
            self.most_held = max(self.most_held, self.node._inbox._bytes)
            if isinstance(item, LinkLost):
                assert item.node != self.honest, "the honest member's link broke"
                self.lost += 1
            elif isinstance(item, ParcelLost):
                assert item.node != self.honest, "the honest member's parcel was lost"
                self.broken += 1
            elif item.sender == self.honest:
                self.heard.put_nowait(item)
            else:
                self.through += 1


def count_looked_at(node, member):
    """How many of the member's messages the node has looked at while it was admitted."""
    seen = {CONTROL_KIND: 0, BULK_KIND: 0}
    for kind, inbound in ((CONTROL_KIND, node._control), (BULK_KIND, node._bulk)):

        def counting(frames, kind=kind, received=inbound.pump._on_message):
            sender = frames[-1].get("User-Id")
            seen[kind] += sender == member.identity.node and node._gate.admits(sender)
            received(frames)

        inbound.pump._on_message = counting
    return seen


async def works_for(left, right, served, number):
    """The honest member's message and parcel arrive, and are answered."""
    data = number.to_bytes(4) * 500
    left.send(right.own_record().node, message(number))
    left.send_parcel(right.own_record().node, activation(len(data)), [memoryview(data)])
    async with asyncio.timeout(PATIENCE_SECONDS):
        got = [await served.heard.get(), await served.heard.get()]
        for item in got:
            if isinstance(item, Received):
                assert item.message == message(number)
            else:
                assert bytes(item.buffers[0]) == data
        assert {type(item) for item in got} == {Received, ReceivedParcel}
        right.send(left.own_record().node, message(number))
        assert (await left.receive()).message == message(number)


@pytest.mark.slow
async def test_ten_thousand_frames_of_an_admitted_member_leave_a_node_serving():
    rng = random.Random(10_000)
    good = [frame for kind in ALL for frame in frames_of(kind)]
    control = ([frame] for frame in hostile(rng, good, FRAME_BYTES))
    async with pair() as (left, right):
        right.expect(lambda _sender, header: sum(pieces.sizes_of(header)) <= ACCEPTED_BYTES)
        member = Member(right)
        record = await admit_stranger(right, member.identity)
        served = Served(right, left.own_record().node)
        seen = count_looked_at(right, member)
        before = psutil.Process().memory_info().rss
        rounds = bad = 0
        while sum(seen.values()) < FRAMES:
            rounds += 1
            right.admit(record)
            lost, bad_before = served.lost, right.malformed
            kind = min(seen, key=seen.get)
            messages = {CONTROL_KIND: lambda: control, BULK_KIND: lambda: bulk_messages(rng, good)}
            await member.send_all(kind, messages[kind], lambda lost=lost: served.lost > lost)
            bad += right.malformed - bad_before
            assert right.malformed == bad_before + STRIKES, f"round {rounds}: not cut off after {STRIKES} bad frames"
            assert not right._gate.admits(member.identity.node)
            await member.send_until_hung_up(kind)
            if rounds % 5 == 0:
                await works_for(left, right, served, rounds)
            assert psutil.Process().memory_info().rss - before < GROWTH_BYTES
        assert min(seen.values()) > FRAMES // 3, seen
        assert bad > FRAMES // 5
        assert served.broken > FRAMES // 1000, "a parcel that breaks off is told"
        assert served.through > FRAMES // 20, "replayed sound frames are ordinary frames"
        assert served.most_held <= MOST_BYTES + ACCEPTED_BYTES
        assert len(right._bulk._connections) <= 1
        await works_for(left, right, served, 0)
        served.task.cancel()
        member.close()


@pytest.mark.parametrize("kind", [CONTROL_KIND, BULK_KIND], ids=["control", "bulk"])
async def test_a_frame_above_the_limit_costs_the_connection_and_nobody_else_notices(kind):
    async with pair() as (left, right):
        member = Member(right)
        await admit_stranger(right, member.identity)
        served = Served(right, left.own_record().node)
        for number in range(20):
            member.dial(kind)
            await member.send(kind, [Prefix(OPEN, 1).pack(), bytes(kind.frame_bytes + 1)], lambda: False)
            await until(lambda: member.hung_up(kind))
            await works_for(left, right, served, number)
        assert served.through == 0
        served.task.cancel()
        member.close()


@pytest.mark.parametrize("kind", [CONTROL_KIND, BULK_KIND], ids=["control", "bulk"])
async def test_a_member_dismissed_before_its_first_frame_loses_the_connection_with_it(kind):
    async with pair() as (left, right):
        member = Member(right)
        await admit_stranger(right, member.identity)
        member.dial(kind)
        await until(lambda: not member.hung_up(kind))
        right.dismiss(member.identity.node)
        await member.send_until_hung_up(kind)
        served = Served(right, left.own_record().node)
        await works_for(left, right, served, 0)
        assert served.through == 0
        served.task.cancel()
        member.close()
