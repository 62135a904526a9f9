"""Facts that reach a core machine: past tense, frozen, a closed set."""

from __future__ import annotations

from dataclasses import dataclass, field

from edged.core.ids import JobId, NodeId, Stamp
from edged.core.job import JobSpec
from edged.core.messages import Holding, MemberRecord, MemberState, Message, Parcel
from edged.core.plan import Plan
from edged.core.work_events import (
    BackwardDone,
    ComputeFailed,
    FeederFailed,
    ForwardDone,
    NormsTaken,
    SampleDrawn,
    UpdateDone,
    WeightsWritten,
)

__all__ = [
    "BackwardDone",
    "ComputeFailed",
    "DataCopied",
    "DataLost",
    "DataNotCopied",
    "Event",
    "ExpelAsked",
    "ExportAsked",
    "FeederFailed",
    "ForwardDone",
    "HeldFound",
    "HeldLost",
    "HeldStored",
    "JobSubmitted",
    "KeyRotateAsked",
    "LeaderChanged",
    "LeaveAsked",
    "LeaveNodeAsked",
    "LineageChanged",
    "LinkLost",
    "LoopWasLate",
    "MemberChanged",
    "MembersCame",
    "MemoryRanOut",
    "MessageReceived",
    "NormsTaken",
    "ParcelArrived",
    "ParcelLost",
    "ParcelRefused",
    "PauseAsked",
    "PeerMet",
    "PlanMade",
    "PortProbed",
    "ProgramLoaded",
    "ReachChanged",
    "ResumeAsked",
    "SampleDrawn",
    "SelfMeasured",
    "SnapshotTaken",
    "StagesBuilt",
    "StopAsked",
    "TimerFired",
    "UpdateDone",
    "WeightsWritten",
]


@dataclass(frozen=True, slots=True)
class TimerFired:
    """The moment that ``deadline()`` named has come (or the node was woken anyway)."""


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """A peer, authenticated by its key, sent a control message."""

    sender: NodeId
    message: Message


@dataclass(frozen=True, slots=True)
class ParcelArrived:
    """A peer's parcel is complete; its buffers lie with the worker, under the header's names."""

    sender: NodeId
    parcel: Parcel


@dataclass(frozen=True, slots=True)
class ParcelRefused:
    """A peer's parcel was not taken: its header does not fit what this node can receive."""

    sender: NodeId
    parcel: Parcel


@dataclass(frozen=True, slots=True)
class ParcelLost:
    """The connection to ``node`` broke, or could not be made, before it had acknowledged this parcel.

    Or the parcel was ``node``'s, had been accepted and half received, and its end will not come.
    """

    node: NodeId
    parcel: Parcel


# -- membership and election


@dataclass(frozen=True, slots=True)
class PeerMet:
    """The door has admitted a node (either side): it is alive now."""

    record: MemberRecord


@dataclass(frozen=True, slots=True)
class LinkLost:
    """The session to a peer ended."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class PortProbed:
    """A fresh connect to a peer's control port was made for ``ProbePort``."""

    node: NodeId
    refused: bool


@dataclass(frozen=True, slots=True)
class LoopWasLate:
    """This node's own loop (or the whole process) was not running for ``seconds``."""

    seconds: float


@dataclass(frozen=True, slots=True)
class SelfMeasured:
    """Calibration is done, or the budget changed, or the ``addresses`` (empty: they are what they were)."""

    slowness: float
    memory_bytes: int
    device: str
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MemoryRanOut:
    """This node was refused memory, and has let go of whatever it ran. ``memory_bytes``: its budget from now on."""

    memory_bytes: int
    reason: str


@dataclass(frozen=True, slots=True)
class LeaveAsked:
    """The user wants this node to leave."""


@dataclass(frozen=True, slots=True)
class MemberChanged:
    """From membership to the other machines: a member is now believed to be in ``record.state``."""

    record: MemberRecord
    before: MemberState | None
    reason: str

    @property
    def records(self) -> tuple[MemberRecord, ...]:
        """As ``MembersCame`` has them."""
        return (self.record,)


@dataclass(frozen=True, slots=True)
class MembersCame:
    """As if each were a ``MemberChanged``: these were not known before. In a large cluster, they are many at once."""

    records: tuple[MemberRecord, ...]


@dataclass(frozen=True, slots=True)
class LeaderChanged:
    """From election to the other machines: who leads (``None``: nobody that this node knows), in which term."""

    leader: NodeId | None
    term: int


@dataclass(frozen=True, slots=True)
class LineageChanged:
    """From election to the other machines: see ``TellLineage``."""

    lineage: str
    tentative: str
    discarded: str


@dataclass(frozen=True, slots=True)
class ReachChanged:
    """From membership to the other machines: see ``TellReach``."""

    nodes: tuple[NodeId, ...]


# -- jobs


@dataclass(frozen=True, slots=True)
class JobSubmitted:
    """The user of this node handed in a job; program and first weights lie in the spool."""

    spec: JobSpec


@dataclass(frozen=True, slots=True)
class StopAsked:
    """The user of this node wants a job to end."""

    job: JobId
    reason: str


@dataclass(frozen=True, slots=True)
class ExportAsked:
    """The user of the source wants the newest complete weights. ``token`` comes back in ``WriteWeights``."""

    job: JobId
    token: int


@dataclass(frozen=True, slots=True)
class PlanMade:
    """Answers the ``MakePlan`` of this stamp: ``plan`` is ``None`` where ``problem`` says why none exists.

    ``verdict`` is a sentence for people where a plan is in force: why that is kept (``plan`` is ``None`` then, and
    ``problem`` empty), or what the change gains. ``step_seconds``: what a step of that one should take now.
    """

    stamp: Stamp
    plan: Plan | None
    problem: str
    verdict: str = ""
    step_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class StagesBuilt:
    """Answers ``BuildStages``; ``problem`` is empty on success."""

    stamp: Stamp
    problem: str


@dataclass(frozen=True, slots=True)
class SnapshotTaken:
    """Answers ``TakeSnapshot`` and ``KeepArrived``; ``problem`` is empty on success.

    ``seconds``: how long the compute thread was kept.
    """

    stamp: Stamp
    first_layer: int
    last_layer: int
    version: int
    seconds: float
    size_bytes: int
    problem: str


@dataclass(frozen=True, slots=True)
class HeldStored:
    """Answers ``StoreHeld``; ``problem`` is empty on success."""

    job: JobId
    version: int
    problem: str


@dataclass(frozen=True, slots=True)
class HeldFound:
    """At the start: these parts of a job that is not over lie on this device's disk; ``spec``: so does the job."""

    job: JobId
    holdings: tuple[Holding, ...]
    program: bool
    data: bool
    spec: JobSpec | None = None


@dataclass(frozen=True, slots=True)
class ProgramLoaded:
    """The program that was found is loaded and checked: layers of it can be built at once."""

    job: JobId


@dataclass(frozen=True, slots=True)
class HeldLost:
    """These layers cannot be read from disk any more (kind DISK, or FIRST); ``reason`` in a sentence."""

    job: JobId
    layers: Holding
    reason: str


@dataclass(frozen=True, slots=True)
class DataCopied:
    """All samples of a job have been copied to this node."""

    job: JobId


@dataclass(frozen=True, slots=True)
class DataNotCopied:
    """Source only: no other node could draw this job's samples alike; ``reason`` in a sentence."""

    job: JobId
    reason: str


@dataclass(frozen=True, slots=True)
class DataLost:
    """The copy of a job's samples that was to be drawn from here is damaged, and gone; ``reason`` in a sentence."""

    job: JobId
    reason: str


@dataclass(frozen=True, slots=True)
class PauseAsked:
    """The user of this node wants a job to stand."""

    job: JobId


@dataclass(frozen=True, slots=True)
class ResumeAsked:
    """The user of this node wants a job to go on."""

    job: JobId


@dataclass(frozen=True, slots=True)
class LeaveNodeAsked:
    """The user of this node wants another node to leave gracefully."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class ExpelAsked:
    """The user of this node wants another node to be shut out for good."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class KeyRotateAsked:
    """The user of this node wants this cluster key (a token in ASCII) instead of the present one."""

    key: bytes = field(repr=False)


# -- computing; every one answers the effect of the same name


Event = (
    TimerFired
    | MessageReceived
    | ParcelArrived
    | ParcelRefused
    | ParcelLost
    | PeerMet
    | LinkLost
    | PortProbed
    | LoopWasLate
    | SelfMeasured
    | MemoryRanOut
    | LeaveAsked
    | MemberChanged
    | MembersCame
    | LeaderChanged
    | LineageChanged
    | ReachChanged
    | JobSubmitted
    | StopAsked
    | ExportAsked
    | PlanMade
    | StagesBuilt
    | SnapshotTaken
    | HeldStored
    | HeldFound
    | ProgramLoaded
    | HeldLost
    | DataCopied
    | DataNotCopied
    | DataLost
    | PauseAsked
    | ResumeAsked
    | LeaveNodeAsked
    | ExpelAsked
    | KeyRotateAsked
    | ForwardDone
    | BackwardDone
    | NormsTaken
    | UpdateDone
    | ComputeFailed
    | SampleDrawn
    | FeederFailed
    | WeightsWritten
)
"""Any fact."""
