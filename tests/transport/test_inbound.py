"""The receiver's side of bulk connections, message by message, in orders that a socket seldom shows."""

from types import SimpleNamespace

import pytest
import zmq

from edged.core.ids import NodeId
from edged.transport.bulk import BulkInbound
from edged.transport.codec import encode
from edged.transport.pieces import OPEN, PIECE, Prefix
from tests.transport.nodes import activation, replica

SENDER = NodeId("a" * 16)
OLD, NEW = b"old", b"new"


class Frame:
    """As libzmq gives it, without a descriptor."""

    def __init__(self, data):
        self.bytes = self.buffer = data

    def get(self, name):
        if name == "User-Id":
            return SENDER
        raise zmq.ZMQError(zmq.EINVAL)


@pytest.fixture
async def inbound():
    got, lost = [], []
    context = zmq.Context()
    made = BulkInbound(
        context.socket(zmq.ROUTER),
        admits=lambda _node: True,
        accept=lambda _node, _header: True,
        deliver=lambda _node, header, _buffers: got.append(header),
        lost=lambda _node, header: lost.append(header),
        complain=lambda _node, text: pytest.fail(text),
        received=lambda _node, _size: None,
    )
    yield SimpleNamespace(
        take=lambda via, prefix, *rest: made._received([Frame(part) for part in (via, prefix.pack(), *rest)]),
        got=got,
        lost=lost,
    )
    made.pump.close()
    context.destroy(linger=0)


async def test_what_an_ended_connection_began_with_displaces_no_newer_one(inbound):
    wanted = activation(3)
    inbound.take(NEW, Prefix(OPEN, 1, 8), encode(wanted))
    inbound.take(OLD, Prefix(OPEN, 1, 7), encode(replica(2)))
    inbound.take(OLD, Prefix(PIECE, 1, 0), b"no")
    inbound.take(NEW, Prefix(PIECE, 1, 0), b"yes")
    assert (inbound.got, inbound.lost) == ([wanted], [])


async def test_a_new_connection_ends_the_one_before_and_what_still_comes_of_that_is_ignored(inbound):
    inbound.take(OLD, Prefix(OPEN, 1, 7), encode(replica(2)))
    inbound.take(NEW, Prefix(OPEN, 1, 8), encode(activation(3)), b"yes")
    inbound.take(OLD, Prefix(PIECE, 1, 0), b"no")
    inbound.take(OLD, Prefix(OPEN, 2, 0), encode(replica(0)))
    assert (inbound.got, inbound.lost) == ([activation(3)], [replica(2)])


async def test_a_sender_that_was_restarted_is_heard(inbound):
    inbound.take(OLD, Prefix(OPEN, 1, (1 << 32) + 900), encode(activation(1)), b"x")
    inbound.take(NEW, Prefix(OPEN, 1, 2 << 32), encode(activation(2)), b"xy")
    assert inbound.got == [activation(1), activation(2)]
