"""What nodes say so that nothing is lost: who holds which layers at which version, and the pauses in between."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from edged.core.ids import JobId, NodeId, Stamp
from edged.core.job import Phase


class HoldingKind(IntEnum):
    """What a node has of some layers, the quickest to go on from first."""

    SNAPSHOT = 0
    """Its own layers, copied between two steps."""

    REPLICA = 1
    """Another node's snapshot."""

    DISK = 2
    """Either of these, read back after a restart."""

    FIRST = 3
    """The weights that the job began with, in the spool of the node it was handed to (version 0)."""


@dataclass(frozen=True, slots=True)
class Holding:
    """A node holds these layers (inclusive) at weight version ``version``, whole. ``origin``: see ``origins.py``."""

    first_layer: int
    last_layer: int
    version: int
    kind: HoldingKind
    origin: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Halt:
    """Leader to every member: all older plans of this job are over; stop, and say what you hold.

    Whoever stands between two steps snapshots what is live first. Answered by ``Inventory``, repeated until it is.
    """

    stamp: Stamp


@dataclass(frozen=True, slots=True)
class Inventory:
    """Answers ``Halt``. ``program``: its bytes are here; ``data``: this node can draw the job's samples."""

    stamp: Stamp
    holdings: tuple[Holding, ...]
    program: bool
    data: bool


@dataclass(frozen=True, slots=True)
class Learn:
    """Leader to a member without layers: load this job's program, which ``holder`` has. Repeated until ``Learned``.

    So it is there, and the device warm, before a plan counts on this node.
    """

    job: JobId
    holder: NodeId


@dataclass(frozen=True, slots=True)
class Learned:
    """Answers ``Learn``: the program is loaded here."""

    job: JobId


@dataclass(frozen=True, slots=True)
class WantSnapshot:
    """Asks for layers that an ``Inventory`` named, as a ``StateParcel`` that moves. Answered by that or ``Refused``."""

    stamp: Stamp
    first_layer: int
    last_layer: int
    version: int


@dataclass(frozen=True, slots=True)
class Drain:
    """Leader to the source: feed nothing of later versions, so that all nodes come to stand at one. Repeated."""

    stamp: Stamp


@dataclass(frozen=True, slots=True)
class Drained:
    """Source to leader: every hop stands at ``version``, and nothing is on its way."""

    stamp: Stamp
    version: int


@dataclass(frozen=True, slots=True)
class Held:
    """A node to the leader: a snapshot or replica of these layers is whole here. Repeated until ``Committed``.

    ``seconds``: how long the copy kept the compute thread (0.0 for a replica); ``size_bytes``: its size; ``committed``:
    what the node has heard from this leader to be committed (-1: nothing yet). ``boot``: which process of the node says
    so; what an earlier one has said counts no more.
    """

    stamp: Stamp
    first_layer: int
    last_layer: int
    version: int
    seconds: float
    size_bytes: int
    committed: int = -1
    boot: int = 0


@dataclass(frozen=True, slots=True)
class Stored:
    """A node to the leader: all that it holds of ``version`` is on its disk, or will not be (``problem``).

    Told of the version that ``Committed`` names as being written, repeated as long as it does.
    """

    stamp: Stamp
    version: int
    problem: str


@dataclass(frozen=True, slots=True)
class Lying:
    """One entry of ``Committed``: these layers at the committed version lie on these nodes."""

    first_layer: int
    last_layer: int
    holders: tuple[NodeId, ...]


@dataclass(frozen=True, slots=True)
class Committed:
    """Leader to all: ``version`` is held by everyone who should; what is older may go. -1: none yet (unprotected).

    ``data_holder`` is another node that can draw the samples if the source dies; empty if there is none.
    ``storing`` is to be written to disk now by whoever has any of it; ``stored`` is on the disks of all who should have
    it, and stays there until a newer one is. -1: none, or none that this plan's leader knows of.
    """

    stamp: Stamp
    version: int
    every: int
    layers: tuple[Lying, ...]
    data_holder: str
    storing: int = -1
    stored: int = -1


@dataclass(frozen=True, slots=True)
class DataHeld:
    """A node to the leader: all samples of this job are copied here."""

    job: JobId


@dataclass(frozen=True, slots=True)
class DataWanted:
    """Who copies the samples to their source: ``first_row`` is the first that is not here. Repeated.

    ``problem``: why no copy is kept here, in a sentence; empty if one is.
    """

    job: JobId
    phase: Phase
    first_row: int
    problem: str


@dataclass(frozen=True, slots=True)
class Stuck:
    """The source to the leader: this node of the plan has not answered for longer than it should."""

    stamp: Stamp
    node: NodeId


@dataclass(frozen=True, slots=True)
class PauseRequest:
    """Anyone to the leader: let this job stand after the step it is in."""

    job: JobId


@dataclass(frozen=True, slots=True)
class ResumeRequest:
    """Anyone to the leader: put this job back into the queue."""

    job: JobId


@dataclass(frozen=True, slots=True)
class LeaveRequest:
    """A node to the leader, repeated: I want to leave; take my layers first."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class LeaveGranted:
    """Leader to a node: nothing of any job hangs on you."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class LeaveOrder:
    """A user of another node wants this one to leave gracefully."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    """Leader to all: a new plan runs after ``cause``.

    That is one of died, expelled, left, joined, slow, leader, paused, link, restarted.
    ``rolled_back_to`` is the step from which the job went on; ``lost_steps`` how many are done again.
    ``pause_seconds``: from the evidence to the first progress. ``moved_bytes``: state that went to another node.
    ``text``: what happened, in a sentence.
    """

    stamp: Stamp
    cause: str
    nodes: tuple[NodeId, ...]
    rolled_back_to: int
    lost_steps: int
    pause_seconds: float
    moved_bytes: int
    text: str


@dataclass(frozen=True, slots=True)
class Decided:
    """Leader to all: what came of thinking about another plan than that of ``stamp``, in a sentence.

    ``asked``: the stamp of the question, by which later ones are told from earlier ones. ``changes``: another plan
    follows. ``step_seconds``: what a step of the plan should take by what was known then; 0.0 where that was not found.
    """

    stamp: Stamp
    asked: Stamp
    changes: bool
    text: str
    step_seconds: float = 0.0
