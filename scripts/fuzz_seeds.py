"""What the fuzzer begins with: frames, programs and jobs that edged itself has made.

Messages are those that the nodes of a simulated cluster say to each other while they train, while one of them dies and
another joins; kinds that none of them had reason for are made of their fields' types. Programs are captured models.
"""

from __future__ import annotations

import dataclasses
import functools
import tempfile
import types
import typing
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import Any

from edged.core.events import Event, MessageReceived, ParcelArrived, ParcelRefused
from edged.core.ids import JobId, NodeId, Stamp
from edged.core.job import JobSpec, Phase, Work
from edged.core.messages import Activation, MemberRecord, MemberState, Message, Parcel, StateParcel, Submit, TensorSpec
from edged.core.plan import Hop, Plan, Route
from edged.simulation.cluster import SimulatedCluster
from edged.simulation.description import ClusterDescription
from edged.simulation.reading import read_cluster
from edged.transport import kinds
from edged.transport.codec import encode
from edged.transport.identity import new_identity
from edged.transport.pieces import DROP, OPEN, PIECE, Prefix

JOB = JobId("0123456789ab")
NODE = NodeId("0123456789abcdef")
STAMP = Stamp(JOB, 1, 1)
SECONDS = 20.0
EACH = 3
"""So many messages of a kind are kept."""

CLUSTER = """
[devices.desk]
[devices.laptop]
[devices.spare]
[devices.pi]
slowness = 4
memory = "2GB"

[links]
latency_ms = 1
bandwidth = "100mbit"

[job]
layers = 6
micro_batch_ms = 40
micro_batches = 4
parameters = "1MB"
crossing = "4kB"

[[fault]]
at = 6
kill = "laptop"

[[fault]]
at = 9
join = "spare"
"""


class Overheard(SimulatedCluster):
    """A simulated cluster in which somebody listens."""

    def __init__(self, cluster: ClusterDescription, seed: int, seconds: float) -> None:
        """Nothing is heard yet."""
        self.heard: dict[type, list[Message | Parcel]] = {}
        super().__init__(cluster, seed, seconds)

    def _watch(self, event: Event) -> None:
        match event:
            case MessageReceived(_, said):
                self._keep(said)
            case ParcelArrived(_, header) | ParcelRefused(_, header):
                self._keep(header)
            case _:
                pass
        super()._watch(event)

    def _keep(self, said: Message | Parcel) -> None:
        kept = self.heard.setdefault(type(said), [])
        if len(kept) < EACH:
            kept.append(said)


@functools.cache
def overheard() -> dict[type, list[Message | Parcel]]:
    """What the nodes of a simulated cluster said, by kind, a few of each; the same in every run."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cluster.toml"
        path.write_text(CLUSTER, encoding="utf-8")
        cluster = Overheard(read_cluster(path), 1, SECONDS)
    cluster.run()
    return cluster.heard


def messages() -> Iterator[bytes]:
    """Frames of every kind of message and of every header of parcels."""
    heard = overheard()
    for kind in kinds.KINDS.values():
        yield from map(encode, heard.get(kind, [made_of(kind)]))


def conversations() -> Iterator[list[list[bytes]]]:
    """What comes over one bulk connection, each message as its frames: parcels whole and in pieces, one in another."""
    work = Activation(STAMP, 0, 1, Work(0, Phase.TRAIN, 0), _tensors(64), (("batch", 4),))
    state, replica = _state(900, replica=False), _state(900, replica=True)
    whole = [Prefix(OPEN, 1).pack(), encode(work), bytes(64)]
    yield [whole]
    yield [*_in_pieces(1, state), [Prefix(OPEN, 2).pack(), *whole[1:]]]
    first, *rest = _in_pieces(1, replica)
    yield [first, rest[0], [Prefix(OPEN, 2).pack(), *whole[1:]], *rest[1:]]
    yield [first, rest[0], [Prefix(DROP, 1).pack()], *_in_pieces(2, state)]


def _in_pieces(number: int, header: StateParcel) -> list[list[bytes]]:
    size = sum(spec.size_bytes for spec in header.tensors)
    pieces = [[Prefix(PIECE, number, at).pack(), bytes(min(300, size - at))] for at in range(0, size, 300)]
    return [[Prefix(OPEN, number).pack(), encode(header)], *pieces]


def _tensors(size: int) -> tuple[TensorSpec, ...]:
    return (TensorSpec("parameter/w", "uint8", (size,), (1,), size),)


def _state(size: int, *, replica: bool) -> StateParcel:
    return StateParcel(STAMP, 0, 0, 3, _tensors(size), b'{"layers": [[0]], "entries": {}}', replica=replica)


def record() -> MemberRecord:
    """A node as it tells of itself at a door."""
    own = new_identity()
    return MemberRecord(
        own.node, "pi-4", own.public_key, ("192.0.2.7",), 7002, 7003, 7001, 1, 3, 0, MemberState.ALIVE, 2.5, 1 << 31,
        "cpu",
    )  # fmt: skip


def spec() -> JobSpec:
    """A job as the source of a simulated cluster hands it in."""
    return next(said.spec for said in overheard()[Submit] if isinstance(said, Submit))


def made_of(hint: Any) -> Any:
    """A small value of a type hint of ``core/messages.py``, with one entry wherever there may be several."""
    plain: dict[Any, Any] = {
        NodeId: NODE, JobId: JOB, Stamp: STAMP, bool: True, int: 1, float: 1.0, str: "text", bytes: b"{}",
        Plan: Plan(STAMP, "auto", "alone", 1, 1, (Route((Hop(NODE, 0, 0, 1),), (0,)),), 1.0),
        TensorSpec: _tensors(8)[0],
    }  # fmt: skip
    if hint in plain:
        return plain[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return tuple(made_of(argument) for argument in arguments if argument is not Ellipsis)
    if origin in (types.UnionType, typing.Union):
        return made_of(next(argument for argument in arguments if argument is not types.NoneType))
    if isinstance(hint, type) and issubclass(hint, IntEnum):
        return next(iter(hint))
    hints = typing.get_type_hints(hint)
    fields = [field.name for field in dataclasses.fields(hint)]
    return hint(**{name: made_of(hints[name]) for name in fields})
