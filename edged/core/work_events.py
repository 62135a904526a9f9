"""What computing and reading of samples have come to; see ``events.py``, which has all events."""

from __future__ import annotations

from dataclasses import dataclass

from edged.core.ids import JobId, Stamp
from edged.core.job import Work


@dataclass(frozen=True, slots=True)
class ForwardDone:
    """Answers ``RunForward``. On the last hop ``loss`` is the micro-batch's mean loss, else ``None``."""

    stamp: Stamp
    route: int
    hop: int
    work: Work
    seconds: float
    loss: float | None
    metrics: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class BackwardDone:
    """Answers ``RunBackward``."""

    stamp: Stamp
    route: int
    hop: int
    work: Work
    seconds: float


@dataclass(frozen=True, slots=True)
class NormsTaken:
    """Answers ``TakeNorms``."""

    stamp: Stamp
    version: int
    norms: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class UpdateDone:
    """Answers ``RunUpdate``: this node's parameters are at ``version``. ``learning_rate``: used for this update."""

    stamp: Stamp
    version: int
    seconds: float
    learning_rate: float


@dataclass(frozen=True, slots=True)
class ComputeFailed:
    """Answers any computing effect instead of its own event."""

    stamp: Stamp
    reason: str


@dataclass(frozen=True, slots=True)
class SampleDrawn:
    """Answers ``DrawSample``: the feeder has delivered this micro-batch; its tensors lie with the source."""

    job: JobId
    work: Work


@dataclass(frozen=True, slots=True)
class FeederFailed:
    """The feeder ended or the user's code raised; ``reason`` holds the traceback's last line, ``detail`` all of it."""

    job: JobId
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class WeightsWritten:
    """Answers ``WriteWeights``; ``problem`` is empty on success."""

    stamp: Stamp
    token: int
    output: str
    state_sha256: str
    problem: str
