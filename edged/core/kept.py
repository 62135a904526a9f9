"""What a node remembers of one job's snapshots and replicas, besides the pieces themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from edged.core.effects import StoreHeld
from edged.core.holdings import Holdings
from edged.core.ids import NodeId, Stamp
from edged.core.job import JobSpec
from edged.core.messages import Held, Holding, HoldingKind, Stored
from edged.core.plan import Plan
from edged.core.sending import Sending

AGAIN_SECONDS: Final = 30.0
"""What could not be put down is tried again this often: somebody may have made room."""


@dataclass(slots=True)
class Kept:
    """One job on this node. ``stamp``: the newest plan heard of; all from ``sending`` on is forgotten with it.

    ``home``: the job was handed in here. ``halted_by``: who waits for an ``Inventory``. ``taking``: pieces that are
    being copied for it. ``committed``: by the present leader; ``counted``: layers that it knows to lie here at that;
    ``storing``: the version that it wants to be on disk. ``down``: the version that was put down last, and ``again_at``
    when that is to be tried again.
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
    storing: int = -1
    down: int = -1
    again_at: float | None = None

    def unheard(self) -> None:
        """Whoever leads, or plans, now has not been told anything, and has not said anything."""
        self.committed, self.counted, self.storing = -1, frozenset(), -1

    def listed(self) -> tuple[Holding, ...]:
        """Return what is held, the first weights included."""
        first: tuple[Holding, ...] = ()
        if self.home and self.spec is not None:
            first = (Holding(0, len(self.spec.layers) - 1, 0, HoldingKind.FIRST),)
        return self.holdings.listed() + first

    def newest(self, plan: Plan, node: NodeId) -> dict[tuple[int, int], int]:
        """Return the newest version that this node has copied under this plan of each of its own ranges of layers."""
        newest: dict[tuple[int, int], int] = {}
        for first, last in dict.fromkeys((hop.first_layer, hop.last_layer) for *_, hop in plan.hops_of(node)):
            taken = [v for v, held in self.holdings.covering(first, last).items() if held.stamp == self.stamp]
            newest |= {(first, last): max(taken)} if taken else {}
        return newest

    def store(self, version: int) -> list[StoreHeld]:
        """Write what is in memory of a version to disk, once."""
        return self._write(version) if self.spec is not None and self.holdings.store(version) else []

    def written(self, version: int, problem: str, now: float) -> list[StoreHeld]:
        """The disk is through with a version; write what has come of it meanwhile."""
        if problem and version == self.down:
            self.again_at = now + AGAIN_SECONDS
        return self._write(version) if self.holdings.disk.written(version, problem) else []

    def lose(self, layers: Holding) -> None:
        """These layers cannot be read from disk any more: they are not held."""
        if layers.kind is HoldingKind.FIRST:
            self.home = False
        else:
            self.holdings.disk.lost(layers.first_layer, layers.last_layer, layers.version)

    def try_again(self, now: float) -> None:
        """What could not be put down may be once it has waited long enough."""
        if self.again_at is not None and now >= self.again_at:
            self.again_at = None
            self.holdings.disk.forgive(self.down)

    def part(self) -> list[StoreHeld]:
        """Put the newest version down, whatever came of that before: there is no other time."""
        version = max(self.holdings.versions(), default=0)
        self.holdings.disk.forgive(version)
        return self.put_down(version)

    def put_down(self, version: int) -> list[StoreHeld]:
        """Write a version, which stays: all do, and may be switched off."""
        self.down = version
        effects = self.store(version)
        if self.holdings.disk.under_way(version):
            self.holdings.disk.stay(version)
        return effects

    def _write(self, version: int) -> list[StoreHeld]:
        if self.spec is None:
            return []
        staying, origin = self.holdings.disk.staying, self.holdings.origin(version)
        return [StoreHeld(self.spec, version, staying, down=version == self.down, origin=origin)]

    def untold(self, plan: Plan, boot: int) -> list[Held | Stored]:
        """Return what is held for the plan in force and not committed: taken or come under it, or where it began.

        ``boot``: which process of this node this is.
        """
        told: list[Held | Stored] = []
        start = None if self.sending is None else self.sending.start.version
        for layers in dict.fromkeys((hop.first_layer, hop.last_layer) for r in plan.routes for hop in r.hops):
            for version, held in self.holdings.covering(*layers).items():
                ours = held.stamp == plan.stamp
                counted = version < self.committed or (version == self.committed and layers in self.counted)
                if not counted and (ours or version == start):
                    seconds = held.seconds if ours else 0.0
                    told.append(Held(plan.stamp, *layers, version, seconds, held.size_bytes, self.committed, boot))
        if self.storing >= 0 and (problem := self.holdings.disk.outcome(self.storing)) is not None:
            told.append(Stored(plan.stamp, self.storing, problem))
        return told
