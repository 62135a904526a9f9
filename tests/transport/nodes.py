"""Real nodes on loopback for the tests of this folder."""

import asyncio
import random
from contextlib import asynccontextmanager

from edged.core.events import PeerMet
from edged.core.ids import JobId, Stamp
from edged.core.job import Phase, Work
from edged.core.messages import Activation, DataParcel, ProgramParcel, StateParcel, TensorSpec, WantProgram
from edged.transport.assembly import Assembly
from edged.transport.buffers import Rooms
from edged.transport.identity import new_identity
from edged.transport.interface import Received
from edged.transport.network import ZmqTransport
from edged.transport.security import new_cluster_key

KEY = new_cluster_key()
STAMP = Stamp(JobId("0123456789ab"), 1, 1)
PATIENCE_SECONDS = 120.0


def message(number=0):
    return WantProgram(JobId(f"{number:012x}"))


def tensors_of(sizes):
    return tuple(TensorSpec(f"t{i}", "uint8", (size,), (1,), size) for i, size in enumerate(sizes))


def activation(*sizes, micro_batch=0):
    return Activation(STAMP, 0, 1, Work(0, Phase.TRAIN, micro_batch), tensors_of(sizes), (("batch", 8),))


def replica(*sizes, version=0, replica=True):
    return StateParcel(STAMP, 0, 1, version, tensors_of(sizes), b"{}", replica)


def samples(*sizes):
    return DataParcel(STAMP.job, Phase.TRAIN, 0, 4, tensors_of(sizes), ())


def program(size):
    return ProgramParcel(JobId("0123456789ab"), size)


def data(*sizes):
    """Bytes for each size, always the same ones."""
    return [memoryview(random.Random(size).randbytes(size)) for size in sizes]


def assembly(accept=lambda _header: True):
    return Assembly(accept, Rooms())


def build(name="node", *, key=KEY, identity=None, listen=("127.0.0.1", 0), discovery=False, **options):
    options.setdefault("cluster", "test")
    return ZmqTransport(identity or new_identity(), name=name, key=key, listen=listen, discovery=discovery, **options)


@asynccontextmanager
async def running(*nodes):
    for node in nodes:
        await node.open()
    try:
        yield nodes
    finally:
        for node in nodes:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await node.close()


@asynccontextmanager
async def pair(**options):
    """Two nodes that have admitted each other."""
    async with running(build("left", **options), build("right", **options)) as (left, right):
        left.admit(right.own_record())
        right.admit(left.own_record())
        for node in (left, right):
            node.expect(lambda _sender, _header: True)
        yield left, right


async def admit_stranger(node, identity):
    """Have ``node`` admit a member that runs nowhere: the test speaks for it with sockets of its own."""
    fake = build(identity=identity)
    await fake.open()
    record = fake.own_record()
    await fake.close()
    node.admit(record)
    return record


def door_of(node):
    return ("127.0.0.1", node.own_record().door_port)


async def next_of(node, kind, seconds=PATIENCE_SECONDS):
    """The next incoming thing of a kind; others before it are passed over."""
    async with asyncio.timeout(seconds):
        while True:
            item = await node.receive()
            if isinstance(item, kind):
                return item


async def met(node, other):
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await next_of(node, PeerMet)).record.node != other.own_record().node:
            pass


async def exchange(left, right, number=1):
    """A message each way."""
    for sender, receiver in ((left, right), (right, left)):
        sender.send(receiver.own_record().node, message(number))
        got = await next_of(receiver, Received)
        assert got == Received(sender.own_record().node, message(number))


async def until(condition):
    """Let the loop run until a condition holds."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110  # the condition lies inside a node; nothing announces it
            await asyncio.sleep(0)
