"""What a leader knows besides its jobs, and what it tells a planner of it."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from edged.core.figures import Figures
from edged.core.ids import NodeId
from edged.core.job import JobSpec
from edged.core.links import Links
from edged.core.messages import MemberRecord
from edged.core.protection import Interval
from edged.core.situation import Situation


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Members, leavers, links and figures are live, owned by the board of jobs.

    ``replicas``: how many ring successors keep copies of a node's layers. ``interval``: see ``protection.py``.
    """

    node: NodeId
    term: int
    members: Mapping[NodeId, MemberRecord]
    leavers: AbstractSet[NodeId]
    links: Links
    figures: Figures
    replicas: int
    interval: Interval

    def situation(self, spec: JobSpec, members: tuple[MemberRecord, ...], sure: tuple[NodeId, ...]) -> Situation:
        """What a planner is told for a plan over these members; ``sure``: see there."""
        return Situation(
            spec,
            members,
            tuple(sorted(self.links.pairs)),
            slowness=self.figures.slowness(spec.job),
            links=self.figures.links(),
            leader=self.node,
            replicas=self.replicas,
            sure=sure,
        )
