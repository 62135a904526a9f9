"""Throughput of edged's transport against plain pyzmq, on loopback, between two processes.

Both move the same amount of data in frames of 1 MiB from a DEALER to a ROUTER, both encrypted with CURVE. Plain pyzmq
sends each frame without a copy, reads it without a copy, and copies it once into a buffer made beforehand; edged does
what it does for a training job: parcels, checked headers, credits, aligned buffers. The two alternate (A B A B ...), so
that whatever else the machine does meets both, and the figure is the median of the ratios of neighbouring runs.

With ``--background`` something else: how long an activation of 64 KiB takes from ``send_parcel`` in one process to the
consumer in the other, one every 5 ms, on an idle connection and while replicas of 256 MB follow each other on the same.

    python scripts/bench_transport.py [--json] [--rounds N] [--mebibytes N] [--background]
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
from edged.core.messages import Activation, MemberRecord, StateParcel, TensorSpec
from edged.transport.identity import Identity, new_identity
from edged.transport.interface import ReceivedParcel
from edged.transport.network import ZmqTransport
from edged.transport.security import new_cluster_key

FRAME_BYTES = 1 << 20
STAMP = Stamp(JobId("0123456789ab"), 1, 1)
GOAL = 0.80
SMALL_BYTES = 64 << 10
REPLICA_BYTES = 256_000_000
PROBES = 400
PROBE_SECONDS = 0.005


def header(number: int, size: int = FRAME_BYTES) -> Activation:
    """An activation of one tensor."""
    tensor = TensorSpec("x", "uint8", (size,), (1,), size)
    return Activation(STAMP, 0, 1, Work(0, Phase.TRAIN, number), (tensor,), ())


def replica(version: int) -> StateParcel:
    """A replica of one tensor of 256 MB."""
    tensor = TensorSpec("x", "uint8", (REPLICA_BYTES,), (1,), REPLICA_BYTES)
    return StateParcel(STAMP, 0, 0, version, (tensor,), b"{}", replica=True)


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


def clocking_receiver(pipe: Connection, key: str, sender: MemberRecord) -> None:
    """Take parcels until the last probe is there; say when each probe and each replica came. Replicas are held."""

    async def take() -> None:
        node = transport(new_identity(), key)
        await node.open()
        node.admit(sender)
        node.expect(lambda _sender, _header: True)
        pipe.send(node.own_record())
        arrived: dict[int, float] = {}
        held: list[tuple[float, ReceivedParcel]] = []
        while len(arrived) < PROBES + 1:
            match await node.receive():
                case ReceivedParcel(header=Activation(work=work)):
                    arrived[work.micro_batch] = time.monotonic()
                case ReceivedParcel(header=StateParcel()) as parcel:
                    held.append((time.monotonic(), parcel))
        pipe.send((arrived, [came for came, _ in held]))
        await node.close()

    asyncio.run(take())


async def probes(*, loaded: bool) -> tuple[list[float], float]:
    """Seconds that each small activation took, and the bytes of replicas per second beside them."""
    key = new_cluster_key()
    here, there = multiprocessing.Pipe()
    node = transport(new_identity(), key)
    await node.open()
    receiver = multiprocessing.Process(target=clocking_receiver, args=(there, key, node.own_record()))
    receiver.start()
    loop = asyncio.get_running_loop()
    to: MemberRecord = await loop.run_in_executor(None, here.recv)
    node.admit(to)
    small, large = memoryview(bytes(SMALL_BYTES)), memoryview(bytearray(REPLICA_BYTES))
    node.send_parcel(to.node, header(0, SMALL_BYTES), [small])  # makes the connection
    await asyncio.sleep(1.0)
    left: dict[int, float] = {}
    version = 0
    for number in range(1, PROBES + 1):
        while loaded and waiting_bytes(node) < REPLICA_BYTES:
            version += 1
            node.send_parcel(to.node, replica(version), [large])
        await asyncio.sleep(PROBE_SECONDS)
        left[number] = time.monotonic()
        node.send_parcel(to.node, header(number, SMALL_BYTES), [small])
    arrived, replicas = await loop.run_in_executor(None, here.recv)
    receiver.join()
    await node.close()
    span = replicas[-1] - left[1] if replicas else 1.0
    return [arrived[number] - left[number] for number in left], len(replicas) * REPLICA_BYTES / span


def waiting_bytes(node: ZmqTransport) -> int:
    """What waits for its turn, to all peers."""
    return sum(link.queued_bytes for link in node.statistics())


def compare_latencies(rounds: int) -> dict[str, float]:
    """Milliseconds of small activations beside replicas and alone, in turns; medians over the rounds."""
    alone, beside, rates = [], [], []
    for _ in range(rounds):
        alone.append(asyncio.run(probes(loaded=False))[0])
        latencies, rate = asyncio.run(probes(loaded=True))
        beside.append(latencies)
        rates.append(rate)
    result = {"rounds": float(rounds), "probes_per_round": float(PROBES), "probe_bytes": float(SMALL_BYTES)}
    for name, runs in (("idle", alone), ("beside_replica", beside)):
        for percent in (50, 99):
            figures = [1e3 * statistics.quantiles(run, n=100)[percent - 1] for run in runs]
            result[f"{name}_p{percent}_ms"] = statistics.median(figures)
    return result | {"replica_bytes_per_second": statistics.median(rates)}


def main_background(rounds: int, *, as_json: bool) -> None:
    """Run, print a table or one JSON object."""
    result = compare_latencies(rounds)
    if as_json:
        print(json.dumps(result))
        return
    print(f"activations of 64 KiB, one every 5 ms (medians of {rounds} rounds of {PROBES})")
    for name, key in (("idle", "idle"), ("beside a replica", "beside_replica")):
        print(f"{name:18} p50 {result[key + '_p50_ms']:7.2f} ms    p99 {result[key + '_p99_ms']:7.2f} ms")
    print(f"the replica meanwhile {result['replica_bytes_per_second'] / 1e6:8.0f} MB/s")


def main() -> None:
    """Run, print a table or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--mebibytes", type=int, default=1024, help="per run")
    parser.add_argument("--background", action="store_true", help="latency of activations beside a replica")
    options = parser.parse_args()
    multiprocessing.set_start_method("spawn")
    if options.background:
        main_background(options.rounds, as_json=options.json)
        return
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
