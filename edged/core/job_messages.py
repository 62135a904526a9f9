"""What nodes say about jobs: the queue and the procedure that brings a plan to run, on the control sockets."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from edged.core.ids import JobId, NodeId, Stamp
from edged.core.job import JobSpec
from edged.core.plan import Plan


class JobState(IntEnum):
    """The life of a job."""

    QUEUED = 0
    PREPARING = 1
    RUNNING = 2
    FINISHED = 3
    FAILED = 4
    STOPPED = 5
    PAUSED = 6
    """Until somebody resumes it; its snapshots are kept."""

    WAITING = 7
    """For something that ``JobRecord.reason`` names (layers, samples, devices); it goes on by itself."""


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One job as everyone knows it. ``reason`` is one sentence, empty where nothing needs saying."""

    job: JobId
    name: str
    source: NodeId
    state: JobState
    step: int
    steps: int
    reason: str


@dataclass(frozen=True, slots=True)
class Submit:
    """To the leader: please run this job; from its source, repeated until it has its turn.

    Also from a node that has found copies of the job on its disk: heard if the source does not hand it in.
    """

    spec: JobSpec


@dataclass(frozen=True, slots=True)
class Jobs:
    """Leader to all: the job list, newest last; ``number`` grows with every change within a term."""

    term: int
    number: int
    jobs: tuple[JobRecord, ...]


@dataclass(frozen=True, slots=True)
class StopRequest:
    """Anyone to the leader: end this job."""

    job: JobId
    reason: str


@dataclass(frozen=True, slots=True)
class Transfer:
    """These layers (inclusive) at weight version ``version`` are to be had from ``holder``."""

    first_layer: int
    last_layer: int
    version: int
    holder: NodeId


@dataclass(frozen=True, slots=True)
class Prepare:
    """Leader to every node of a plan: stop older plans of this job, get what ``transfers`` lists, build.

    Answered by ``Prepared``. The plan goes on from weight version ``version``. ``program_holder`` has the program.
    """

    plan: Plan
    spec: JobSpec
    version: int
    program_holder: NodeId
    transfers: tuple[Transfer, ...]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A node of the plan is ready, or ``problem`` says why it cannot be."""

    stamp: Stamp
    problem: str


@dataclass(frozen=True, slots=True)
class Start:
    """Leader to every node of the plan and the source: go on from weight version ``version``. Repeated until seen.

    Every node snapshots at ``version`` and at each multiple of ``every`` (0: never), and sends a replica to each of
    ``holders``; ``data_holder`` is to get a copy of the samples (empty: nobody). The same stamp again, while the plan
    runs, changes these three.
    """

    stamp: Stamp
    version: int
    every: int
    holders: tuple[NodeId, ...]
    data_holder: str


@dataclass(frozen=True, slots=True)
class End:
    """Leader to all: this plan is over; drop it. ``state`` says how the job stands, ``reason`` why."""

    stamp: Stamp
    state: JobState
    reason: str


@dataclass(frozen=True, slots=True)
class PlanChosen:
    """Leader to all, for status and the live view: the plan that now runs."""

    plan: Plan
    spec: JobSpec


@dataclass(frozen=True, slots=True)
class WantProgram:
    """Asks the source for a job's program, as a ``ProgramParcel``."""

    job: JobId


@dataclass(frozen=True, slots=True)
class WantState:
    """Asks a holder for layers at exactly this version, as a ``StateParcel``; it waits until it reaches the version."""

    stamp: Stamp
    first_layer: int
    last_layer: int
    version: int


@dataclass(frozen=True, slots=True)
class Refused:
    """Answers a ``WantProgram``, ``WantState`` or ``WantSnapshot`` that can never be met.

    ``version`` is the one that was wanted; -1: a program.
    """

    job: JobId
    reason: str
    version: int = -1
