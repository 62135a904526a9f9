"""A socket's signal is used up by whatever looks at the socket: no message may be overlooked for it."""

import asyncio
import select

import pytest
import zmq

from edged.transport.pump import Pump
from tests.transport.nodes import PATIENCE_SECONDS

MOMENT_SECONDS = 5.0
"""More than a message needs on loopback. That it has come shows in the descriptor, unless a turn was cut short."""


@pytest.fixture
def sockets():
    with zmq.Context() as context:
        router, dealer = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
        router.setsockopt(zmq.ROUTER_MANDATORY, 1)
        dealer.connect(f"tcp://127.0.0.1:{router.bind_to_random_port('tcp://127.0.0.1')}")
        yield router, dealer
        dealer.close(linger=0)
        router.close(linger=0)


async def taken(queue):
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await queue.get()


async def test_a_message_that_comes_before_a_send_to_nobody_is_received(sockets):
    router, dealer = sockets
    queue = asyncio.Queue()
    pump = Pump(router, lambda frames: queue.put_nowait(frames[1].bytes))
    dealer.send(b"first")
    assert await taken(queue) == b"first"
    await asyncio.sleep(0)
    dealer.send(b"second")
    select.select([router.getsockopt(zmq.FD)], [], [], MOMENT_SECONDS)  # it is here, and the loop has not seen it
    assert not pump.send([b"nobody", b"x"])
    assert await taken(queue) == b"second"
    pump.close()


async def test_a_message_that_comes_during_a_turn_is_received(sockets):
    router, dealer = sockets
    queue = asyncio.Queue()

    def at_the_end_of_a_turn():
        if queue.qsize() == 1:
            dealer.send(b"second")
            select.select([router.getsockopt(zmq.FD)], [], [], MOMENT_SECONDS)
            router.getsockopt(zmq.EVENTS)

    pump = Pump(router, lambda frames: queue.put_nowait(frames[1].bytes), on_turn=at_the_end_of_a_turn)
    dealer.send(b"first")
    assert [await taken(queue), await taken(queue)] == [b"first", b"second"]
    pump.close()
