"""Everything that one node tells another: a closed set of frozen dataclasses.

*Control messages* are small and travel on the control sockets. *Parcel headers* travel on the bulk sockets, each
followed by raw buffers (one per ``TensorSpec``, or exactly one where ``size_bytes`` says so). Field types are limited
to what ``transport/codec.py`` can check: int, float, str, bytes, bool, enums, optional values, tuples of these, and
nested dataclasses of these.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from edged.core.ids import JobId, NodeId, Stamp
from edged.core.job import JobSpec, Work
from edged.core.plan import Plan

# --------------------------------------------------------------------------------------------- membership


class MemberState(IntEnum):
    """What is believed of a member. At one incarnation, the higher number overrides the lower."""

    ALIVE = 0
    SUSPECT = 1
    LEFT = 2
    DEAD = 3


@dataclass(frozen=True, slots=True)
class MemberRecord:
    """One member as everyone knows it.

    ``public_key`` is the CURVE key in Z85 (40 characters). ``addresses`` are hosts without port, best first;
    ``control_port`` and ``bulk_port`` are the ports there. ``boot`` counts the starts of this home: (node, boot) is a
    process. ``slowness`` is calibration seconds relative to a fixed reference (higher is slower; 0.0: not yet measured). ``memory_bytes`` is
    the budget for training. ``accusers`` (at most 4) are those who accuse a ``SUSPECT`` of their own knowledge; ``proven``
    marks a ``DEAD`` whose process is known to be gone, not only silent.
    """

    node: NodeId
    name: str
    public_key: str
    addresses: tuple[str, ...]
    control_port: int
    bulk_port: int
    door_port: int
    protocol: int
    boot: int
    incarnation: int
    state: MemberState
    slowness: float
    memory_bytes: int
    device: str
    accusers: tuple[NodeId, ...] = ()
    proven: bool = False


@dataclass(frozen=True, slots=True)
class Ping:
    """Asks ``target`` (its own id, to catch a wrong address) for an ``Ack`` with the same number."""

    sequence: int
    target: NodeId
    gossip: tuple[MemberRecord, ...]


@dataclass(frozen=True, slots=True)
class PingRequest:
    """Asks the receiver to ping ``target`` for the sender and to pass the ``Ack`` on."""

    sequence: int
    target: NodeId
    gossip: tuple[MemberRecord, ...]


@dataclass(frozen=True, slots=True)
class Ack:
    """Answers a ``Ping`` or ``PingRequest``. ``target`` is the node that is alive."""

    sequence: int
    target: NodeId
    gossip: tuple[MemberRecord, ...]


@dataclass(frozen=True, slots=True)
class Nack:
    """Answers a ``PingRequest`` at once: the helper is there and has pinged; whether ``target`` answers is open."""

    sequence: int
    target: NodeId
    gossip: tuple[MemberRecord, ...]


@dataclass(frozen=True, slots=True)
class Accusation:
    """The sender's link to ``target`` is gone and its port refuses; the receiver is asked to try the port itself."""

    target: NodeId
    boot: int


@dataclass(frozen=True, slots=True)
class Testimony:
    """Answers an ``Accusation``: whether every fresh connect to the target's port was refused."""

    target: NodeId
    boot: int
    refused: bool


@dataclass(frozen=True, slots=True)
class Gossip:
    """News of members between pings."""

    gossip: tuple[MemberRecord, ...]


@dataclass(frozen=True, slots=True)
class Exchange:
    """The whole member list; the receiver answers with its own unless ``reply``."""

    members: tuple[MemberRecord, ...]
    reply: bool


# ----------------------------------------------------------------------------------------------- election


@dataclass(frozen=True, slots=True)
class Electorate:
    """The voters, as a numbered record: committed one change at a time.

    ``lineage`` names the cluster's history (drawn at the first bootstrap). Records of one lineage are ordered by
    (``term``, ``number``).
    """

    lineage: str
    term: int
    number: int
    voters: tuple[NodeId, ...]


@dataclass(frozen=True, slots=True)
class VoteRequest:
    """Asks for a vote in ``term``; ``trial`` marks a pre-vote, which binds nobody."""

    term: int
    trial: bool
    electorate: Electorate


@dataclass(frozen=True, slots=True)
class VoteReply:
    """Answers a ``VoteRequest`` of the same ``term`` and ``trial``.

    ``lineage`` and ``voter_term`` are the voter's own. ``restored``: the voter started from disk and has heard no
    leader since.
    """

    term: int
    trial: bool
    granted: bool
    reason: str
    lineage: str = ""
    voter_term: int = 0
    restored: bool = False


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The leader of ``term`` renews its lease; ``sequence`` is answered. ``committed`` is the electorate's committed number."""

    term: int
    sequence: int
    electorate: Electorate
    committed: int


@dataclass(frozen=True, slots=True)
class HeartbeatReply:
    """Answers a ``Heartbeat``. ``accepted`` is false where the sender knows a higher ``term``."""

    term: int
    sequence: int
    accepted: bool
    electorate_number: int
    lineage: str = ""


# ------------------------------------------------------------------------------------------------- jobs


class JobState(IntEnum):
    """The life of a job."""

    QUEUED = 0
    PREPARING = 1
    RUNNING = 2
    FINISHED = 3
    FAILED = 4
    STOPPED = 5


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
    """Source to leader: please run this job. Repeated until a ``Jobs`` message lists it."""

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
    """Leader to every node of a plan: stop older plans of this job, get what ``transfers`` lists, build, answer ``Prepared``.

    The program is to be had from ``spec.source``.
    """

    plan: Plan
    spec: JobSpec
    transfers: tuple[Transfer, ...]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A node of the plan is ready, or ``problem`` says why it cannot be."""

    stamp: Stamp
    problem: str


@dataclass(frozen=True, slots=True)
class Start:
    """Leader to every node of the plan and the source: go on from weight version ``version``. Repeated until seen."""

    stamp: Stamp
    version: int


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
    """Answers a ``WantProgram`` or ``WantState`` that can never be met."""

    job: JobId
    reason: str


# --------------------------------------------------------------------------------------------- training


@dataclass(frozen=True, slots=True)
class Taken:
    """First hop of a route to the source: this micro-batch's forward has been done; send more."""

    stamp: Stamp
    work: Work


@dataclass(frozen=True, slots=True)
class Result:
    """Last hop to the source: loss and metrics of one micro-batch."""

    stamp: Stamp
    work: Work
    loss: float
    metrics: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Updated:
    """A hop to the source: its parameters are now at ``version``.

    ``compute_seconds``: computed since the last one. ``learning_rate``: what this update used.
    """

    stamp: Stamp
    route: int
    hop: int
    version: int
    compute_seconds: float
    learning_rate: float


@dataclass(frozen=True, slots=True)
class WantProgress:
    """Source to every node of the plan, twice a second: say again what I may have missed.

    Answered by the newest ``Taken``, by every ``Updated`` above ``version`` and by every ``Result`` from
    ``first_missing`` on; what is older has arrived and may be forgotten.
    """

    stamp: Stamp
    version: int
    first_missing: Work


@dataclass(frozen=True, slots=True)
class GradientNorms:
    """Every node of the plan to every other, before the update to ``version``: 2-norms of its parameters' gradients.

    ``norms`` holds (index of the parameter in the program's order, norm); parameters without gradient are absent.
    ``again``: the sender still waits for the receiver's norms and asks for them.
    """

    stamp: Stamp
    version: int
    norms: tuple[tuple[int, float], ...]
    again: bool


@dataclass(frozen=True, slots=True)
class WorkFailed:
    """A node of the plan to the source and the leader: it cannot go on; the job ends with ``reason``."""

    stamp: Stamp
    reason: str


@dataclass(frozen=True, slots=True)
class JobDone:
    """Source to leader: the result is written (``problem`` empty), or the job cannot go on."""

    stamp: Stamp
    step: int
    problem: str


# ---------------------------------------------------------------------------------------------- reports


@dataclass(frozen=True, slots=True)
class StepReport:
    """Source to all: step ``step`` is done on every hop."""

    stamp: Stamp
    step: int
    epoch: int
    loss: float
    samples_per_second: float
    learning_rate: float


@dataclass(frozen=True, slots=True)
class EvalReport:
    """Source to all: the evaluation at the end of ``epoch``."""

    stamp: Stamp
    step: int
    epoch: int
    loss: float
    metrics: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class FinishedReport:
    """Source to all: the job is done and its weights are written at ``output`` on the source."""

    stamp: Stamp
    steps: int
    loss: float
    seconds: float
    output: str
    state_sha256: str


@dataclass(frozen=True, slots=True)
class NodeReport:
    """Every node to all, about once a second, for status and the live view.

    ``busy`` is the share of the last second that it computed (0..1). ``micro_batch_seconds`` is the median forward
    plus backward time. ``links`` holds (peer, round trip seconds, bytes per second sent lately).
    """

    sequence: int
    first_layer: int
    last_layer: int
    weight_version: int
    busy: float
    micro_batch_seconds: float
    resident_bytes: int
    links: tuple[tuple[NodeId, float, float], ...]


# ------------------------------------------------------------------------------------------ parcel headers


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor of a parcel: the buffer holds exactly the elements, laid out by ``shape`` and ``strides`` (elements).

    ``dtype`` is a name such as ``float32``. ``name`` is the value's name in the program or the state entry's name.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Inputs:
    """Source to a hop: the program's inputs that the hop's own operations use."""

    stamp: Stamp
    route: int
    hop: int
    work: Work
    tensors: tuple[TensorSpec, ...]


@dataclass(frozen=True, slots=True)
class Activation:
    """A hop to the next (``hop`` is the receiver's index): the values that cross the cut, forward.

    ``scalars`` are integers that cross too (a batch size).
    """

    stamp: Stamp
    route: int
    hop: int
    work: Work
    tensors: tuple[TensorSpec, ...]
    scalars: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Gradient:
    """A hop to the one before it (``hop`` is the receiver's index): gradients of the values that crossed.

    A value that got no gradient is absent.
    """

    stamp: Stamp
    route: int
    hop: int
    work: Work
    tensors: tuple[TensorSpec, ...]


@dataclass(frozen=True, slots=True)
class StateParcel:
    """Layers' state at one version. Names: ``parameter/NAME``, ``buffer/NAME``, ``optimizer/NAME/KEY``.

    ``extra`` is a JSON document (optimizer numbers, scheduler state), at most 1 MiB.
    """

    stamp: Stamp
    first_layer: int
    last_layer: int
    version: int
    tensors: tuple[TensorSpec, ...]
    extra: bytes


@dataclass(frozen=True, slots=True)
class ProgramParcel:
    """A program in its msgpack form: one buffer of ``size_bytes``."""

    job: JobId
    size_bytes: int


Message = (
    Ping
    | PingRequest
    | Ack
    | Nack
    | Accusation
    | Testimony
    | Gossip
    | Exchange
    | VoteRequest
    | VoteReply
    | Heartbeat
    | HeartbeatReply
    | Submit
    | Jobs
    | StopRequest
    | Prepare
    | Prepared
    | Start
    | End
    | PlanChosen
    | WantProgram
    | WantState
    | Refused
    | Taken
    | Result
    | Updated
    | WantProgress
    | GradientNorms
    | WorkFailed
    | JobDone
    | StepReport
    | EvalReport
    | FinishedReport
    | NodeReport
)
"""Any control message."""

Parcel = Inputs | Activation | Gradient | StateParcel | ProgramParcel
"""Any parcel header."""
