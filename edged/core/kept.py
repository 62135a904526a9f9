"""What a node remembers of one job's snapshots and replicas, besides the pieces themselves."""

from __future__ import annotations

from dataclasses import dataclass, field

from edged.core.holdings import Holdings
from edged.core.ids import NodeId, Stamp
from edged.core.job import JobSpec
from edged.core.messages import Held
from edged.core.plan import Plan
from edged.core.sending import Sending


@dataclass(slots=True)
class Kept:
    """One job on this node. ``stamp``: the newest plan heard of; all from ``sending`` on is forgotten with it.

    ``home``: the job was handed in here. ``halted_by``: who waits for an ``Inventory``. ``taking``: pieces that are
    being copied for it. ``committed``: by the present leader; ``counted``: layers that it knows to lie here at that.
    """

    holdings: Holdings = field(default_factory=Holdings)
    spec: JobSpec | None = None
    home: bool = False
    stamp: Stamp | None = None
    halted_by: NodeId | None = None
    taking: set[tuple[int, int, int]] = field(default_factory=set)
    sending: Sending | None = None
    committed: int = -1
    counted: frozenset[tuple[int, int]] = frozenset()

    def untold(self, plan: Plan) -> list[Held]:
        """Return what is held for the plan in force and not committed: taken or come under it, or where it began."""
        told: list[Held] = []
        start = None if self.sending is None else self.sending.start.version
        for layers in dict.fromkeys((hop.first_layer, hop.last_layer) for r in plan.routes for hop in r.hops):
            for version, held in self.holdings.covering(*layers).items():
                ours = held.stamp == plan.stamp
                counted = version < self.committed or (version == self.committed and layers in self.counted)
                if not counted and (ours or version == start):
                    told.append(Held(plan.stamp, *layers, version, held.seconds if ours else 0.0, held.size_bytes))
        return told
