"""The source's side of running a plan (signatures first; the body follows)."""

from __future__ import annotations

from collections.abc import Callable

from edged.core.effects import Effect
from edged.core.events import Event
from edged.core.ids import NodeId
from edged.core.job import JobSpec
from edged.core.plan import Plan


class Feeding:
    """Feeds ``plan`` from weight version ``version`` on, reports progress, collects the result.

    Build it on ``Start`` on the source (``spec.source == node``); its ``deadline()`` is 0.0 until the first ``handle``, so
    wake it at once. ``members()`` gives the nodes to report to (alive ones; this node itself is added). Drop it on
    ``End`` or a newer plan. It reads (all others are ignored): ``SampleDrawn``, ``FeederFailed`` (``detail`` empty: the
    process merely died and is started again; else the user's code raised and the job ends), ``ExportAsked``;
    ``MessageReceived`` with ``Taken``, ``Result``, ``Updated``, ``WorkFailed``, ``Refused``; ``StateCollected`` (or
    ``ParcelArrived`` with a ``StateParcel``), ``WeightsWritten``, ``LeaderChanged``, ``TimerFired``.
    """

    def __init__(
        self,
        plan: Plan,
        spec: JobSpec,
        node: NodeId,
        version: int,
        leader: NodeId | None,
        members: Callable[[], tuple[NodeId, ...]],
    ) -> None:
        raise NotImplementedError

    step: int
    """Steps that are done on every hop."""

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take one fact in, give the decisions out."""
        raise NotImplementedError

    def deadline(self) -> float | None:
        """When to send a ``TimerFired``; 0.0 before the first ``handle``."""
        raise NotImplementedError

    def check(self) -> None:
        """Raise ``BrokenInvariantError`` if an invariant does not hold."""
        raise NotImplementedError
