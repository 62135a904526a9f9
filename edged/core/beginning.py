"""What a node's core begins with: from it, and every event since, every decision can be made again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from edged.core.electorate import SavedVote
from edged.core.events import Event
from edged.core.messages import JobRecord, MemberRecord
from edged.core.node import Node, NodeOptions
from edged.core.protection import Interval
from edged.core.voter import ElectionOptions


@dataclass(frozen=True, slots=True)
class Beginning:
    """The arguments of a ``Node``, as plain values.

    ``release`` and ``protocol`` are numbers of this package and of its wire. ``seed`` is that of the node's randomness.
    ``saved``, ``known`` and ``listed``: what was found on the disk, as ``Node`` takes it.
    """

    release: str
    protocol: int
    seed: int
    replicas: int
    forks: bool
    record: MemberRecord
    saved: SavedVote | None
    known: tuple[MemberRecord, ...]
    listed: tuple[JobRecord, ...]

    def node(self, interval: Interval, watch: Callable[[Event], None] | None = None) -> Node:
        """Make the node. ``interval`` and ``watch`` are functions, so they are not part of a beginning."""
        options = NodeOptions(election=ElectionOptions(forks=self.forks), interval=interval, replicas=self.replicas)
        return Node(self.record, options, Random(self.seed), self.saved, self.known, watch, self.listed)
