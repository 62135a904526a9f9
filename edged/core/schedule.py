"""One node's side of running a plan (signatures first; the body follows)."""

from __future__ import annotations

from edged.core.effects import Effect
from edged.core.events import Event
from edged.core.ids import NodeId
from edged.core.job import JobSpec
from edged.core.plan import Plan


class Schedule:
    """Runs all hops that ``node`` has in ``plan``, from weight version ``version`` on.

    Build it when ``StagesBuilt`` came without problem, *before* this node's own ``Start``: work may arrive earlier than
    ``Start``, and nothing happens before the source feeds. Drop it on ``End`` or a newer plan. It reads (all others are
    ignored): ``ParcelArrived`` with ``Inputs``, ``Activation``, ``Gradient``; ``MessageReceived`` with ``WantProgress``,
    ``WantState`` (from ``Start`` on; before that, ``WantState`` belongs to migration), ``GradientNorms``;
    ``ForwardDone``, ``BackwardDone``, ``NormsTaken``, ``UpdateDone``, ``ComputeFailed``; ``LeaderChanged``; ``TimerFired``.
    """

    def __init__(self, plan: Plan, spec: JobSpec, node: NodeId, version: int, leader: NodeId | None) -> None:
        raise NotImplementedError

    version: int
    """Steps applied on this node."""

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take one fact in, give the decisions out."""
        raise NotImplementedError

    def deadline(self) -> float | None:
        """When to send a ``TimerFired``; ``None``: nothing is waited for."""
        raise NotImplementedError

    def check(self) -> None:
        """Raise ``BrokenInvariantError`` if an invariant does not hold."""
        raise NotImplementedError
