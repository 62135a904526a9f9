"""Decisions that leave a core machine: imperative, frozen, a closed set.

The shell performs a list of effects in its order; what ``SaveVote`` and ``SaveJobs`` write is on the disk before the
next effect begins. An effect whose docstring says "answered by" ends in exactly one such event, success or failure; the
others end in none.
"""

from __future__ import annotations

from dataclasses import dataclass

from edged.core.ids import JobId, NodeId, Stamp
from edged.core.job import JobSpec, Phase, Work
from edged.core.member_effects import (
    Admit,
    Depart,
    Dismiss,
    ExchangeKey,
    Expel,
    ProbePort,
    SaveJobs,
    SaveVote,
    TellLeader,
    TellLineage,
    TellMember,
    TellReach,
)
from edged.core.messages import Message
from edged.core.plan import Plan
from edged.core.situation import Situation

__all__ = [
    "Admit",
    "BuildStages",
    "CopyData",
    "Depart",
    "Dismiss",
    "DrawSample",
    "DropHeld",
    "DropJob",
    "DropSample",
    "DropStages",
    "Effect",
    "ExchangeKey",
    "Expel",
    "KeepArrived",
    "Log",
    "MakePlan",
    "ProbePort",
    "RunBackward",
    "RunForward",
    "RunUpdate",
    "SaveJobs",
    "SaveVote",
    "SendActivation",
    "SendFirstState",
    "SendGradient",
    "SendHeld",
    "SendInputs",
    "SendMessage",
    "SendProgram",
    "SendRows",
    "SendState",
    "StartFeeder",
    "StopFeeder",
    "StoreHeld",
    "TakeNorms",
    "TakeSnapshot",
    "TellLeader",
    "TellLineage",
    "TellMember",
    "TellReach",
    "WriteWeights",
]


@dataclass(frozen=True, slots=True)
class SendMessage:
    """Send a control message; it may be lost. A message to the node itself comes back as ``MessageReceived``."""

    to: NodeId
    message: Message


@dataclass(frozen=True, slots=True)
class Log:
    """Tell people, in one sentence. ``level``: "info", "warning" or "error". ``topic``: a machine's name."""

    level: str
    topic: str
    text: str


# -- jobs


@dataclass(frozen=True, slots=True)
class MakePlan:
    """Run the job's planner (``spec.strategy``). Answered by ``PlanMade``.

    Where a plan is in force, the question is whether another one is worth the change.
    """

    stamp: Stamp
    situation: Situation


@dataclass(frozen=True, slots=True)
class SendProgram:
    """Send the job's program to ``to`` as a ``ProgramParcel`` (or ``Refused`` if it is not here)."""

    to: NodeId
    job: JobId


@dataclass(frozen=True, slots=True)
class SendFirstState:
    """Source only: send layers at version 0 from the spool to ``to`` as a ``StateParcel``."""

    to: NodeId
    stamp: Stamp
    first_layer: int
    last_layer: int


@dataclass(frozen=True, slots=True)
class SendState:
    """Copy the live state of these layers between two computations, now, and send it as a ``StateParcel``."""

    to: NodeId
    stamp: Stamp
    first_layer: int
    last_layer: int
    version: int


@dataclass(frozen=True, slots=True)
class TakeSnapshot:
    """Copy the live state of these layers between two computations, and keep it. Answered by ``SnapshotTaken``."""

    stamp: Stamp
    first_layer: int
    last_layer: int
    version: int


@dataclass(frozen=True, slots=True)
class KeepArrived:
    """Keep what came of this plan and was not built: another plan will need it. Answered by ``SnapshotTaken``."""

    stamp: Stamp
    first_layer: int
    last_layer: int
    version: int


@dataclass(frozen=True, slots=True)
class SendHeld:
    """Send layers that are held (snapshot, replica, on disk) as a ``StateParcel``, or ``Refused`` if they are not.

    ``replica``: behind everything else; an older replica for ``to`` that has not begun to travel is given up.
    """

    to: NodeId
    stamp: Stamp
    first_layer: int
    last_layer: int
    version: int
    replica: bool


@dataclass(frozen=True, slots=True)
class DropHeld:
    """Let go what is held of these versions of a job in memory."""

    job: JobId
    versions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StoreHeld:
    """Write what is held of this version to disk, where only ``keep`` stays besides. Answered by ``HeldStored``.

    ``down``: the job stands at it, so nothing is written instead. ``origin``: which plan computed it (``origins.py``);
    what lies there of this version from another one goes.
    """

    spec: JobSpec
    version: int
    keep: tuple[int, ...] = ()
    down: bool = False
    origin: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class CopyData:
    """Source only: copy the job's samples to ``to`` in the background, if anyone could draw them."""

    spec: JobSpec
    to: NodeId


@dataclass(frozen=True, slots=True)
class SendRows:
    """Source only: send the samples from this row on that ``to`` lacks; as many as one parcel holds."""

    to: NodeId
    job: JobId
    phase: Phase
    first_row: int


@dataclass(frozen=True, slots=True)
class BuildStages:
    """Build this node's hops of the plan from program and state that have arrived. Answered by ``StagesBuilt``."""

    plan: Plan
    spec: JobSpec
    version: int


@dataclass(frozen=True, slots=True)
class DropStages:
    """Forget everything of this plan: stages, parcels, samples, edges."""

    stamp: Stamp


@dataclass(frozen=True, slots=True)
class DropJob:
    """The job is over: also forget the program; on the source, stop the feeder and clear the spool."""

    job: JobId


# -- computing


@dataclass(frozen=True, slots=True)
class RunForward:
    """Answered by ``ForwardDone`` or ``ComputeFailed``. ``weight`` is n_i / N of a training micro-batch."""

    stamp: Stamp
    route: int
    hop: int
    work: Work
    weight: float


@dataclass(frozen=True, slots=True)
class RunBackward:
    """Answered by ``BackwardDone`` or ``ComputeFailed``."""

    stamp: Stamp
    route: int
    hop: int
    work: Work


@dataclass(frozen=True, slots=True)
class SendActivation:
    """Send what the forward of ``work`` at (``route``, ``hop``) left for the next hop, on ``to``."""

    to: NodeId
    stamp: Stamp
    route: int
    hop: int
    work: Work


@dataclass(frozen=True, slots=True)
class SendGradient:
    """Send what the backward of ``work`` at (``route``, ``hop``) left for the hop before, on ``to``."""

    to: NodeId
    stamp: Stamp
    route: int
    hop: int
    work: Work


@dataclass(frozen=True, slots=True)
class TakeNorms:
    """Answered by ``NormsTaken`` or ``ComputeFailed``."""

    stamp: Stamp
    version: int


@dataclass(frozen=True, slots=True)
class RunUpdate:
    """Clip if ``norms`` is given (of all parameters, ascending), update, step the scheduler, clear gradients.

    ``skip``: only clear the gradients; the version counts up all the same. Answered by ``UpdateDone`` or
    ``ComputeFailed``.
    """

    stamp: Stamp
    version: int
    norms: tuple[tuple[int, float], ...] | None
    skip: bool = False


# -- the source


@dataclass(frozen=True, slots=True)
class StartFeeder:
    """Start (or start again) the child process that draws this job's samples."""

    spec: JobSpec


@dataclass(frozen=True, slots=True)
class StopFeeder:
    """Another node draws this job's samples now: no process is needed here."""

    job: JobId


@dataclass(frozen=True, slots=True)
class DrawSample:
    """Ask the feeder for one micro-batch. Answered by ``SampleDrawn`` or ``FeederFailed``."""

    job: JobId
    work: Work


@dataclass(frozen=True, slots=True)
class SendInputs:
    """Send those of a drawn micro-batch's inputs that a hop uses. ``inputs`` are indices of the program's inputs."""

    to: NodeId
    stamp: Stamp
    route: int
    hop: int
    work: Work
    inputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DropSample:
    """The drawn micro-batch is not needed any more."""

    job: JobId
    work: Work


@dataclass(frozen=True, slots=True)
class WriteWeights:
    """All layers at ``version`` have been collected: write them as one file. Answered by ``WeightsWritten``.

    ``token``: 0 is the job's result, -1 what is kept of a job that fails, any other an export.
    """

    stamp: Stamp
    version: int
    token: int


Effect = (
    SendMessage
    | Log
    | Admit
    | Dismiss
    | Expel
    | ExchangeKey
    | ProbePort
    | TellMember
    | TellLeader
    | TellLineage
    | TellReach
    | SaveVote
    | SaveJobs
    | Depart
    | MakePlan
    | SendProgram
    | SendFirstState
    | SendState
    | TakeSnapshot
    | KeepArrived
    | SendHeld
    | DropHeld
    | StoreHeld
    | CopyData
    | SendRows
    | BuildStages
    | DropStages
    | DropJob
    | RunForward
    | RunBackward
    | SendActivation
    | SendGradient
    | TakeNorms
    | RunUpdate
    | StartFeeder
    | StopFeeder
    | DrawSample
    | SendInputs
    | DropSample
    | WriteWeights
)
"""Any decision."""
