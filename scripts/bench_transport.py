"""Throughput of edged's transport against plain pyzmq, on loopback, between two processes.

Both move the same amount of data in frames of 1 MiB from a DEALER to a ROUTER, both encrypted with CURVE. Plain pyzmq
sends each frame without a copy, reads it without a copy, and copies it once into a buffer made beforehand; edged does
what it does for a training job: parcels, checked headers, credits, aligned buffers. The two alternate (A B A B ...), so
that whatever else the machine does meets both, and the figure is the median of the ratios of neighbouring runs.

    python scripts/bench_transport.py [--json] [--rounds N] [--mebibytes N]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import statistics
import time
from multiprocessing.connection import Connection

import zmq

from edged.core.ids import JobId, Stamp
from edged.core.job import Phase, Work
from edged.core.messages import Activation, MemberRecord, TensorSpec
from edged.transport.identity import Identity, new_identity
from edged.transport.interface import ReceivedParcel
from edged.transport.network import ZmqTransport
from edged.transport.security import new_cluster_key

FRAME_BYTES = 1 << 20
STAMP = Stamp(JobId("0123456789ab"), 1, 1)
GOAL = 0.80


def header(number: int) -> Activation:
    """An activation of one tensor of 1 MiB."""
    tensor = TensorSpec("x", "uint8", (FRAME_BYTES,), (1,), FRAME_BYTES)
    return Activation(STAMP, 0, 1, Work(0, Phase.TRAIN, number), (tensor,), ())


def plain_receiver(pipe: Connection, frames: int, secret: str, public: str) -> None:
    """Bind, say where, take everything, say how long it took from the first frame."""
    context = zmq.Context()
    socket = context.socket(zmq.ROUTER)
    socket.curve_server = True
    socket.curve_publickey, socket.curve_secretkey = public.encode(), secret.encode()
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    pipe.send(port)
    buffer = bytearray(FRAME_BYTES)
    started = 0.0
    for number in range(frames + 1):
        parts = socket.recv_multipart(copy=False)
        buffer[:] = parts[-1].buffer
        if number == 0:
            started = time.perf_counter()
    pipe.send(time.perf_counter() - started)
    context.destroy(linger=0)


def plain(frames: int) -> float:
    """Bytes per second of plain pyzmq."""
    server, client = new_identity(), new_identity()
    here, there = multiprocessing.Pipe()
    receiver = multiprocessing.Process(
        target=plain_receiver, args=(there, frames, server.secret_key, server.public_key)
    )
    receiver.start()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.sndhwm = 64
    socket.curve_serverkey = server.public_key.encode()
    socket.curve_publickey, socket.curve_secretkey = client.public_key.encode(), client.secret_key.encode()
    socket.connect(f"tcp://127.0.0.1:{here.recv()}")
    data = bytes(FRAME_BYTES)
    for _ in range(frames + 1):
        socket.send(data, copy=False)
    seconds: float = here.recv()
    receiver.join()
    context.destroy(linger=0)
    return frames * FRAME_BYTES / seconds


def transport(identity: Identity, key: str) -> ZmqTransport:
    """A node on loopback that looks for nobody."""
    return ZmqTransport(identity, name="bench", cluster="bench", key=key, listen=("127.0.0.1", 0), discovery=False)


def edged_receiver(pipe: Connection, frames: int, key: str, sender: MemberRecord) -> None:
    """The same with edged's transport."""

    async def take() -> None:
        node = transport(new_identity(), key)
        await node.open()
        node.admit(sender)
        node.expect(lambda _sender, _header: True)
        pipe.send(node.own_record())
        started, taken = 0.0, 0
        while taken < frames + 1:
            if isinstance(await node.receive(), ReceivedParcel):
                taken += 1
                started = started or time.perf_counter()
        pipe.send(time.perf_counter() - started)
        await node.close()

    asyncio.run(take())


async def edged(frames: int) -> float:
    """Bytes per second of edged's transport."""
    key = new_cluster_key()
    here, there = multiprocessing.Pipe()
    node = transport(new_identity(), key)
    await node.open()
    receiver = multiprocessing.Process(target=edged_receiver, args=(there, frames, key, node.own_record()))
    receiver.start()
    loop = asyncio.get_running_loop()
    record: MemberRecord = await loop.run_in_executor(None, here.recv)
    node.admit(record)
    data = memoryview(bytes(FRAME_BYTES))
    for number in range(frames + 1):
        node.send_parcel(record.node, header(number), [data])
    seconds: float = await loop.run_in_executor(None, here.recv)
    receiver.join()
    await node.close()
    return frames * FRAME_BYTES / seconds


def main() -> None:
    """Run, print a table or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--mebibytes", type=int, default=1024, help="per run")
    options = parser.parse_args()
    multiprocessing.set_start_method("spawn")
    runs = [(plain(options.mebibytes), asyncio.run(edged(options.mebibytes))) for _ in range(options.rounds)]
    ratios = sorted(ours / theirs for theirs, ours in runs)
    result = {
        "frame_bytes": FRAME_BYTES,
        "mebibytes_per_run": options.mebibytes,
        "rounds": options.rounds,
        "plain_bytes_per_second": statistics.median(theirs for theirs, _ in runs),
        "edged_bytes_per_second": statistics.median(ours for _, ours in runs),
        "ratio": statistics.median(ratios),
        "ratio_lowest": ratios[0],
        "ratio_highest": ratios[-1],
        "goal": GOAL,
    }
    if options.json:
        print(json.dumps(result))
        return
    print(f"plain pyzmq  {result['plain_bytes_per_second'] / 1e6:8.0f} MB/s (median of {options.rounds} runs)")
    print(f"edged        {result['edged_bytes_per_second'] / 1e6:8.0f} MB/s")
    print(f"ratio        {result['ratio']:8.2f} (from {ratios[0]:.2f} to {ratios[-1]:.2f}; goal {GOAL:.2f})")


if __name__ == "__main__":
    main()
