"""What nodes say while they train: progress between hops and source, and reports to all, on the control sockets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edged.core.ids import JobId, NodeId, Stamp
from edged.core.job import Work


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
class Boundary:
    """Source to every node of the plan of an asynchronous job: nothing is fed from weight version ``version`` on.

    Sent when the plan is drained, again twice a second. No hop is to wait for later micro-batches.
    """

    stamp: Stamp
    version: int


@dataclass(frozen=True, slots=True)
class GradientNorms:
    """Every node of the plan to every other, before the update to ``version``: 2-norms of its parameters' gradients.

    ``norms`` holds (index of the parameter in the program's order, norm); parameters without gradient are absent.
    ``again``: the sender still waits for the receiver's norms and asks for them. ``skip``: the sender has seen a loss
    that is not finite, and nobody is to apply this update.
    """

    stamp: Stamp
    version: int
    norms: tuple[tuple[int, float], ...]
    again: bool
    skip: bool


@dataclass(frozen=True, slots=True)
class WorkFailed:
    """A node of the plan cannot go on. Repeated.

    ``final``, to the source: nor could any other node, and the job ends with ``reason``. Else to the leader: another
    plan may do (``peer``: the node that it lost, or itself).
    """

    stamp: Stamp
    reason: str
    final: bool
    peer: NodeId


@dataclass(frozen=True, slots=True)
class JobDone:
    """Source to leader: the result is written (``problem`` empty), or the job cannot go on."""

    stamp: Stamp
    step: int
    problem: str


TRIED_AGAIN = "cannot be written, which is tried again"
"""Part of every sentence in ``Unwritten``: whoever shows a job tells it from other reasons."""


@dataclass(frozen=True, slots=True)
class Unwritten:
    """Source to leader: nothing is left to do, but weights cannot be written now; ``problem`` says it in a sentence.

    Said after each attempt.
    """

    stamp: Stamp
    step: int
    problem: str


@dataclass(frozen=True, slots=True)
class StepReport:
    """Source to all: step ``step`` is done on every hop."""

    stamp: Stamp
    step: int
    epoch: int
    loss: float
    samples_per_second: float
    learning_rate: float


CURVE_POINTS: Final = 500
"""Most points of one curve."""


@dataclass(frozen=True, slots=True)
class WantCurve:
    """Who was not there from a job's first step, to another: the losses before ``before_step``.

    Answered by ``Curve`` where any are known.
    """

    job: JobId
    before_step: int


@dataclass(frozen=True, slots=True)
class Curve:
    """Answers ``WantCurve``, for people: ``points`` are (step, loss), the sparser the longer ago."""

    job: JobId
    points: tuple[tuple[int, float], ...]


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
class LinkReport:
    """One entry of ``NodeReport``: the way from the sender to ``peer``.

    ``sent_bytes_per_second`` were sent lately. A parcel of n bytes takes ``startup_seconds + n / bytes_per_second``
    while it is alone (0.0 and 0.0: not measured, or its parcels are too small to tell).
    """

    peer: NodeId
    round_trip_seconds: float
    sent_bytes_per_second: float
    startup_seconds: float
    bytes_per_second: float


@dataclass(frozen=True, slots=True)
class NodeReport:
    """Every node to all, about once a second: for status and the live view, and for whoever leads, to plan with.

    ``busy`` is the share of the last second that it computed (0..1). ``micro_batch_seconds`` is the median forward
    plus backward time. ``slowness``: how many times longer than the profile of ``job`` says its layers take here (0.0:
    not measured for that job).
    """

    sequence: int
    first_layer: int
    last_layer: int
    weight_version: int
    busy: float
    micro_batch_seconds: float
    resident_bytes: int
    links: tuple[LinkReport, ...]
    job: JobId
    slowness: float
