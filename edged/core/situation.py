"""What a planner is told: the job, who is there, and what has been measured of devices and links. A value."""

from __future__ import annotations

from dataclasses import dataclass

from edged.core.ids import NodeId
from edged.core.job import JobSpec
from edged.core.messages import MemberRecord
from edged.core.plan import Plan

LEAST_GAIN, SURE_GAIN = 0.10, 0.04
"""Of the step time: what another plan than the one in force is to gain; and what is enough where speeds are sure."""


@dataclass(frozen=True, slots=True)
class LinkSpeed:
    """One direction of a link: a parcel of n bytes takes ``startup_seconds + n / bytes_per_second`` while it is alone.

    ``startup_seconds`` is what a parcel of no bytes takes; both are fitted to real transfers (intercept and slope).
    """

    sender: NodeId
    receiver: NodeId
    startup_seconds: float
    bytes_per_second: float


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known when a plan is made.

    ``members``: those that may run layers. ``apart``: pairs of nodes that cannot reach each other. ``slowness``: how
    many times longer than the source's profile says a node takes for layers, as measured while it worked; a node that
    is not named counts as it was calibrated. ``links``: what has been measured; others count as the planner assumes.

    ``leader`` and ``replicas`` say who keeps copies of layers (the leader, and so many ring successors).

    ``plan`` is the one in force, if any; then ``steps_left`` steps are still to be done, and ``holders`` are those who
    have a copy of layers: (node, first layer, last layer), so that what they hold need not be moved. Another one is to
    gain ``least_gain`` of its step time, one with members that have no layers now ``LEAST_GAIN``. ``sure``: nodes whose
    ``slowness`` is of many seconds of work, so that small differences between them are no noise.
    """

    spec: JobSpec
    members: tuple[MemberRecord, ...]
    apart: tuple[tuple[NodeId, NodeId], ...] = ()
    slowness: tuple[tuple[NodeId, float], ...] = ()
    links: tuple[LinkSpeed, ...] = ()
    leader: NodeId | None = None
    replicas: int = 0
    plan: Plan | None = None
    steps_left: int = 0
    holders: tuple[tuple[NodeId, int, int], ...] = ()
    least_gain: float = LEAST_GAIN
    sure: tuple[NodeId, ...] = ()
