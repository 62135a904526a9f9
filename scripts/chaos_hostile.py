"""A member that has lost its mind: it joins a cluster properly, then sends frames that nobody honest sends.

Used by the scenarios ``flipped-bit`` (sound frames in which one bit is wrong) and ``malformed-storm`` (noise, truncated
and endless frames, unknown kinds, pieces of parcels that were never opened), on control and bulk connections alike.
With ``--stamp`` it speaks of a plan that is really at work, where it has no place. With ``--rounds`` it knocks again
when it has been cut off, as a process that was just started would, and goes on. It prints
``{"sent": n, "refused": n, "least_refused": n}`` when it is done: how many frames the nodes took in, how many not any
more, and how many the node that refused the fewest.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import zmq

from edged.core.events import PeerMet
from edged.core.ids import PROTOCOL_VERSION, JobId, NodeId, Stamp
from edged.core.job import Phase, Work
from edged.core.messages import (
    Activation,
    MemberRecord,
    StateParcel,
    StopRequest,
    TensorSpec,
    WantProgram,
    WantState,
    WorkFailed,
)
from edged.transport import kinds
from edged.transport.codec import encode
from edged.transport.identity import Identity, new_identity
from edged.transport.network import ZmqTransport
from edged.transport.pieces import OPEN, PIECE, Prefix
from edged.transport.sockets import BULK_KIND, CONTROL_KIND, Context, Kind, new_context, new_dealer

MEET_SECONDS = 20.0
SEND_SECONDS = 0.05
"""After so long a frame that cannot be handed over counts as refused: the connection has been cut."""

VAIN = 10

STALE = Stamp(JobId("0123456789ab"), 1, 1)
"""What frames speak of where no plan is at work."""

TENSOR = (TensorSpec("t", "float32", (4, 4), (4, 1), 64),)
NOBODY = NodeId("0" * 16)


def messages(stamp: Stamp) -> tuple[Any, ...]:
    """Sound control messages; they would stop a job that does not exist, since any member may stop one that does."""
    return (
        WantProgram(stamp.job),
        WantState(stamp, 0, 3, 12),
        WorkFailed(stamp, "no reason", final=False, peer=NOBODY),
        WorkFailed(stamp, "no reason", final=True, peer=NOBODY),
        StopRequest(JobId("ba9876543210"), "no such job"),
    )


def parcels(stamp: Stamp) -> tuple[Any, ...]:
    """Sound headers of bulk messages, from one who is not in the plan."""
    return (
        Activation(stamp, 0, 1, Work(0, Phase.TRAIN, 0), TENSOR, (("batch", 4),)),
        StateParcel(stamp, 0, 1, 3, TENSOR, b"{}", replica=True),
    )


ODD: tuple[Any, ...] = (None, -1, 1 << 63, 1.5, float("nan"), "", "x" * 70_000, b"x", [], [[]], {}, {"a": 1}, True)


def flipped(rng: random.Random, frame: bytes) -> bytes:
    """The frame with one bit changed."""
    changed = bytearray(frame)
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def flips(rng: random.Random, stamp: Stamp) -> Iterator[tuple[Kind, list[bytes]]]:
    """Sound messages and parcels with one wrong bit anywhere, for ever."""
    while True:
        if rng.randrange(2):
            yield CONTROL_KIND, [flipped(rng, encode(rng.choice(messages(stamp))))]
            continue
        whole = [Prefix(OPEN, rng.randrange(1 << 16)).pack(), encode(rng.choice(parcels(stamp))), rng.randbytes(64)]
        place = rng.randrange(len(whole))
        yield BULK_KIND, [flipped(rng, frame) if index == place else frame for index, frame in enumerate(whole)]


def storm(rng: random.Random, stamp: Stamp) -> Iterator[tuple[Kind, list[bytes]]]:
    """What was never a frame, or no longer is one, for ever."""
    version = bytes([PROTOCOL_VERSION])
    while True:
        kind = rng.choice((CONTROL_KIND, BULK_KIND))
        frame = encode(rng.choice((messages if kind is CONTROL_KIND else parcels)(stamp)))
        frames = [
            rng.randbytes(rng.randrange(1, 300)),
            frame[: rng.randrange(len(frame))],
            frame + rng.randbytes(rng.randrange(1, 50)),
            version + rng.choice([b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"]),
            version + rng.choice([b"\x91", b"\x81\x01"]) * 1200,
            version
            + msgpack.packb([rng.choice([-1, 0, 999, "1", *kinds.KINDS]), *rng.choices(ODD, k=rng.randrange(8))]),
        ]
        prefix = Prefix(rng.choice([OPEN, PIECE, 99]), rng.randrange(1 << 16), rng.randrange(1 << 40)).pack()
        body = rng.choice(frames)
        yield kind, rng.choice([[body], [prefix, body], [prefix, frame, body]]) if kind is BULK_KIND else [body]


ATTACKS = {"flipped-bit": flips, "malformed-storm": storm}


async def join(identity: Identity, cluster: str, key: str, seeds: list[tuple[str, int]]) -> list[MemberRecord]:
    """Be admitted by every seed; their records."""
    transport = ZmqTransport(
        identity, name="mallory", cluster=cluster, key=key, listen=("127.0.0.1", 0), seeds=seeds, discovery=False
    )
    await transport.open()
    met: dict[NodeId, MemberRecord] = {}
    try:
        async with asyncio.timeout(MEET_SECONDS):
            while len(met) < len(seeds):
                item = await transport.receive()
                if isinstance(item, PeerMet):
                    met[item.record.node] = item.record
                    transport.admit(item.record)
    finally:
        await transport.close()
    return list(met.values())


class Sender:
    """Raw connections to one node; a new one each time that the node has cut the last."""

    def __init__(self, context: Context, identity: Identity, record: MemberRecord) -> None:
        """Connect when first needed."""
        self._context, self._identity, self._record = context, identity, record
        self.node = record.node
        self._sockets: dict[Kind, zmq.Socket[bytes]] = {}
        self.sent = self.refused = self._in_vain = 0

    def send(self, kind: Kind, frames: list[bytes]) -> None:
        """Send one message, or count it as refused; who has refused many in a row is not asked again."""
        if self._in_vain >= VAIN:
            self.refused += 1
            return
        if kind not in self._sockets:
            self._sockets[kind] = self._connected(kind)
        deadline = time.monotonic() + SEND_SECONDS
        while True:
            try:
                self._sockets[kind].send_multipart(frames, zmq.DONTWAIT)
            except zmq.Again:
                if time.monotonic() < deadline:
                    time.sleep(0.002)
                    continue
                self.refused += 1
                self._in_vain += 1
                self._sockets.pop(kind).close(linger=0)
            else:
                self.sent += 1
                self._in_vain = 0
            return

    def close(self) -> None:
        """Hang up; what is on its way may still arrive."""
        for made in self._sockets.values():
            made.close(linger=200)

    def _connected(self, kind: Kind) -> zmq.Socket[bytes]:
        record = self._record
        port = record.control_port if kind is CONTROL_KIND else record.bulk_port
        host = record.addresses[0]
        made = new_dealer(self._context, kind, self._identity, record.public_key, host)
        made.connect(f"tcp://{host}:{port}")
        return made


def main() -> None:
    """Join, then attack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("attack", choices=ATTACKS)
    parser.add_argument("nodes", nargs="+", help="HOST:PORT of each node")
    parser.add_argument("--key-file", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--frames", type=int, default=400, help="for each node, in each round")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--cluster", default="testbed")
    parser.add_argument("--stamp", nargs=3, metavar=("JOB", "TERM", "VERSION"), help="the plan that frames speak of")
    options = parser.parse_args()
    seeds = [(host, int(port)) for host, _, port in (node.rpartition(":") for node in options.nodes)]
    key = options.key_file.read_text(encoding="utf-8").strip()
    identity, context, senders = new_identity(), new_context(), []
    stamp = STALE if options.stamp is None else Stamp(JobId(options.stamp[0]), *map(int, options.stamp[1:]))
    frames = ATTACKS[options.attack](random.Random(options.seed), stamp)
    for boot in range(1, options.rounds + 1):
        records = asyncio.run(join(replace(identity, boot=boot), options.cluster, key, seeds))
        fresh = [Sender(context, identity, record) for record in records]
        senders += fresh
        for _ in range(options.frames):
            kind, message = next(frames)
            for sender in fresh:
                sender.send(kind, message)
        for sender in fresh:
            sender.close()
    context.destroy(linger=200)
    by_node: Counter[NodeId] = Counter()
    for sender in senders:
        by_node[sender.node] += sender.refused
    refused = {"refused": by_node.total(), "least_refused": min(by_node.values())}
    print(json.dumps({"sent": sum(sender.sent for sender in senders), **refused}))


if __name__ == "__main__":
    main()
