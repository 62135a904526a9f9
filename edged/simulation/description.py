"""A cluster as a file describes it: devices, links, faults, a job. Plain values; ``reading.py`` makes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from edged.core.ids import PROTOCOL_VERSION, NodeId
from edged.core.job import LayerProfile
from edged.core.messages import MemberRecord, MemberState

KINDS = ("kill", "unplug", "stop", "cut", "slow", "join")
"""What may happen: the process ends, the power goes, the process stands still, a link is cut, a device becomes slower,
a device comes (back)."""


@dataclass(frozen=True, slots=True)
class DeviceDescription:
    """One device. ``slowness``: how many times slower than the reference; ``group``: the name it has in the file."""

    name: str
    group: str
    slowness: float
    memory_bytes: int

    @property
    def node(self) -> NodeId:
        """The id of its node, which only depends on the name."""
        return NodeId(sha256(self.name.encode()).hexdigest()[:16])

    def record(self, boot: int = 1) -> MemberRecord:
        """Its node as a member, measured already."""
        return MemberRecord(
            node=self.node,
            name=self.name,
            public_key="",
            addresses=(self.name,),
            control_port=1,
            bulk_port=2,
            door_port=3,
            protocol=PROTOCOL_VERSION,
            boot=boot,
            incarnation=0,
            state=MemberState.ALIVE,
            slowness=self.slowness,
            memory_bytes=self.memory_bytes,
            device="cpu",
        )


@dataclass(frozen=True, slots=True)
class LinkDescription:
    """One direction of a link: seconds one way, bytes per second."""

    latency_seconds: float
    bytes_per_second: float


@dataclass(frozen=True, slots=True)
class Fault:
    """At second ``at``, ``kind`` happens to ``devices`` (two or more groups for a cut); ``lasts`` 0.0: for good.

    ``factor``: how many times slower a device becomes.
    """

    at: float
    kind: str
    devices: tuple[str, ...]
    lasts: float = 0.0
    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class RandomFaults:
    """How many faults of each kind a minute brings, to devices drawn by chance, between two moments.

    ``back_after``: seconds after which a device that was killed or unplugged comes back; 0.0: never. ``lasts`` and
    ``factor`` as for ``Fault``. ``spares``: the source is left alone.
    """

    per_minute: Mapping[str, float]
    begins: float
    ends: float
    back_after: float
    lasts: float
    factor: float
    spares: bool


@dataclass(frozen=True, slots=True)
class JobFigures:
    """A job in numbers. The layers' seconds are those of the reference device, for one micro-batch."""

    layers: tuple[LayerProfile, ...]
    micro_batches: int
    micro_batch_size: int
    steps: int
    optimizer_copies: int
    strategy: str
    data_bytes: int


@dataclass(frozen=True, slots=True)
class ClusterDescription:
    """A whole file. ``links``: what is set for two devices, by their names; all others are as ``link`` says.

    ``source``: the device whose user hands in the job. ``absent``: devices that are switched off at the start.
    """

    path: str
    devices: tuple[DeviceDescription, ...]
    source: DeviceDescription
    link: LinkDescription
    links: Mapping[tuple[str, str], LinkDescription]
    seconds: float
    seed: int
    replicas: int
    faults: tuple[Fault, ...] = ()
    random_faults: RandomFaults | None = None
    job: JobFigures | None = None
    absent: frozenset[str] = field(default_factory=frozenset)

    def link_between(self, sender: str, receiver: str) -> LinkDescription:
        """The link from one device to another, by their names."""
        return self.links.get((sender, receiver), self.link) if self.links else self.link
