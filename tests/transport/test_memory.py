import random
from dataclasses import replace

import pytest

from edged.core.events import LinkLost, PeerMet, PortProbed
from edged.core.ids import NodeId
from edged.core.messages import MemberRecord, MemberState
from edged.errors import BrokenInvariantError
from edged.transport.interface import Received, ReceivedParcel, Transport
from edged.transport.memory import MemoryNetwork, Weather
from edged.transport.network import ZmqTransport
from tests.transport.nodes import activation, build, message, next_of, replica

A, B = NodeId("a" * 16), NodeId("b" * 16)
RECORD = MemberRecord(A, "a", "k" * 40, ("127.0.0.1",), 1, 2, 3, 1, 1, 0, MemberState.ALIVE, 0.0, 0, "cpu")


async def two(network):
    left, right = network.transport(RECORD), network.transport(replace(RECORD, node=B))
    for node in (left, right):
        await node.open()
        node.expect(lambda _sender, _header: True)
    return left, right


async def test_both_networks_have_the_same_interface():
    def methods(kind):
        return {name for name in vars(kind) if not name.startswith("_")}

    network: Transport = MemoryNetwork(Weather(random.Random(0))).transport(RECORD)
    real: Transport = build()
    assert methods(Transport) <= methods(type(network))
    assert methods(Transport) <= methods(type(real))
    assert isinstance(real, ZmqTransport)


async def test_nodes_meet_and_talk():
    left, right = await two(MemoryNetwork(Weather(random.Random(0), delay_seconds=0.001, jitter_seconds=0.001)))
    assert (await next_of(left, PeerMet)).record.node == B
    assert (await next_of(right, PeerMet)).record.node == A
    left.send(B, message(1))
    assert await next_of(right, Received) == Received(A, message(1))
    left.send(A, message(2))
    assert await next_of(left, Received) == Received(A, message(2))


async def test_parcels_arrive_in_order_despite_jitter_and_are_copies():
    left, right = await two(MemoryNetwork(Weather(random.Random(0), jitter_seconds=0.005)))
    data = memoryview(bytearray(b"abc"))
    for number in range(20):
        left.send_parcel(B, activation(3, 0, micro_batch=number), [data, memoryview(b"")])
    got = [await next_of(right, ReceivedParcel) for _ in range(20)]
    data[0] = 0
    assert [parcel.header.work.micro_batch for parcel in got] == list(range(20))
    assert all(bytes(parcel.buffers[0]) == b"abc" for parcel in got)
    assert {entry.node for entry in right.statistics()} == {A}


async def test_loss_and_duplication_follow_the_seed():
    def run(seed):
        weather = Weather(random.Random(seed), loss=0.3, duplication=0.2)
        return [len(weather.arrivals(A, B)) for _ in range(1000)]

    assert run(1) == run(1)
    assert run(1) != run(2)
    assert 250 < run(1).count(0) < 350
    assert 100 < run(1).count(2) < 180


async def test_a_partition_loses_messages_and_links_and_heals():
    network = MemoryNetwork(Weather(random.Random(0)))
    left, right = await two(network)
    network.weather.partition([[A]])
    left.send(B, message(1))
    left.send_parcel(B, activation(1), [memoryview(b"x")])
    assert await next_of(left, LinkLost) == LinkLost(B)
    left.probe(right.own_record())
    assert await next_of(left, PortProbed) == PortProbed(B, refused=False)
    network.weather.heal()
    network.weather.cut(B, A)
    left.send(B, message(2))
    assert (await next_of(right, Received)).message == message(2)
    assert not network.weather.passes(B, A)


async def test_a_vanished_node_is_lost_to_all_and_its_port_refuses():
    network = MemoryNetwork(Weather(random.Random(0)))
    left, right = await two(network)
    await right.close()
    assert await next_of(left, LinkLost) == LinkLost(B)
    left.probe(right.own_record())
    assert await next_of(left, PortProbed) == PortProbed(B, refused=True)
    left.send_parcel(B, activation(1), [memoryview(b"x")])
    assert await next_of(left, LinkLost) == LinkLost(B)


async def test_dismissed_nodes_and_dropped_parcels_are_not_heard():
    network = MemoryNetwork(Weather(random.Random(0), delay_seconds=0.001))
    left, right = await two(network)
    for number in range(2):
        left.send_parcel(B, activation(1, micro_batch=number), [memoryview(b"x")])
    left.drop_parcels(lambda header: header.work.micro_batch == 0)
    assert (await next_of(right, ReceivedParcel)).header.work.micro_batch == 1
    left.dismiss(B)
    left.send(B, message(1))
    assert left.dropped == 1
    right.expect(lambda _sender, _header: False)
    right.send_parcel(B, activation(1), [memoryview(b"x")])
    right.send(B, message(5))
    assert (await next_of(right, Received)).message == message(5)


async def test_replicas_travel_behind_and_can_be_given_up_for_one_peer():
    network = MemoryNetwork(Weather(random.Random(0), delay_seconds=0.001))
    left, right = await two(network)
    third = network.transport(replace(RECORD, node=NodeId("c" * 16)))
    await third.open()
    third.expect(lambda _sender, _header: True)
    for version in range(2):
        for node in (B, NodeId("c" * 16)):
            left.send_parcel(node, replica(1, version=version), [memoryview(b"x")])
    left.send_parcel(B, activation(1), [memoryview(b"x")])
    left.drop_parcels(lambda header: header in {replica(1), activation(9)}, to=B, begun=False)
    left.send_parcel(B, activation(1, micro_batch=1), [memoryview(b"x")])
    got = [(await next_of(right, ReceivedParcel)).header for _ in range(3)]
    assert got == [activation(1), activation(1, micro_batch=1), replica(1, version=1)]
    assert [(await next_of(third, ReceivedParcel)).header.version for _ in range(2)] == [0, 1]


async def test_buffers_of_the_wrong_size_are_the_senders_fault():
    left, _ = await two(MemoryNetwork(Weather(random.Random(0))))
    with pytest.raises(BrokenInvariantError, match="sizes"):
        left.send_parcel(B, activation(2), [memoryview(b"x")])
