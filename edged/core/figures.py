"""The newest that nodes have said of their speed and of their links. Every node keeps it: any of them may come to lead.

What one process has said is void for the next on the same device.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from edged.core.ids import JobId, NodeId
from edged.core.job import JobSpec
from edged.core.messages import LinkReport, MemberRecord, NodeReport
from edged.core.situation import LinkSpeed
from edged.core.watch import GONE

Subject = tuple[str, NodeId, NodeId]
"""What a figure is of: ``("speed", node, node)``, ``("memory", node, node)``, ``("link", sender, receiver)``."""

Levels = Mapping[Subject, float]
"""Figures that can be compared with earlier ones: slowness, bytes, seconds."""

SMALL = 0.05
"""A link that carries a crossing in this share of a stage's time, or faster, is as good as any."""


@dataclass(frozen=True, slots=True)
class _Told:
    """The newest report of one process. Its slowness stays known while it computes nothing."""

    boot: int
    job: JobId
    slowness: float
    links: tuple[LinkReport, ...]


class Figures:
    """Remembers the newest report of each process that is there. ``members`` is the live list."""

    def __init__(self, members: Mapping[NodeId, MemberRecord]) -> None:
        """Nobody has said anything."""
        self._members = members
        self._told: dict[NodeId, _Told] = {}

    def hear(self, node: NodeId, report: NodeReport) -> None:
        """A node has said how it fares; what no device can be is not believed."""
        member = self._members.get(node)
        if member is None or member.state in GONE:
            return
        before = self._told.get(node)
        slowness = max(report.slowness, 0.0)
        if slowness == 0.0 and before is not None and (before.boot, before.job) == (member.boot, report.job):
            slowness = before.slowness
        links = tuple(each for each in report.links if each.startup_seconds >= 0.0 and each.bytes_per_second > 0.0)
        self._told[node] = _Told(member.boot, report.job, slowness, links)

    def slowness(self, job: JobId) -> tuple[tuple[NodeId, float], ...]:
        """How many times longer than the job's profile says nodes take for its layers; of those who have measured."""
        known = ((node, told) for node, told in sorted(self._valid()) if told.job == job and told.slowness > 0.0)
        return tuple((node, told.slowness) for node, told in known)

    def links(self) -> tuple[LinkSpeed, ...]:
        """What is known of links, each direction by its sender."""
        return tuple(
            LinkSpeed(node, link.peer, link.startup_seconds, link.bytes_per_second)
            for node, told in sorted(self._valid())
            for link in told.links
            if link.peer in self._members
        )

    def levels(self, spec: JobSpec, members: Iterable[MemberRecord]) -> Levels:
        """Figures of ``members`` and the links between them, as far as they matter to this job.

        Who has not worked for it counts as it was calibrated. A link counts by the seconds of a usual crossing.
        """
        levels: dict[Subject, float] = {}
        slowness = dict(self.slowness(spec.job))
        for member in members:
            node, calibrated = member.node, member.slowness / (spec.source_slowness or 1.0)
            levels["speed", node, node] = slowness.get(node, calibrated)
            levels["memory", node, node] = float(member.memory_bytes)
        there = {node for _, node, _ in levels}
        crossings = [layer.crossing_bytes for layer in spec.layers if layer.crossing_bytes]
        crossing = sum(crossings) / len(crossings) if crossings else 0.0
        stage = sum(layer.forward_seconds + layer.backward_seconds for layer in spec.layers) / max(len(there), 1)
        for link in self.links():
            if link.sender in there and link.receiver in there:
                seconds = link.startup_seconds + crossing / link.bytes_per_second
                levels["link", link.sender, link.receiver] = max(seconds, SMALL * stage)
        return levels

    def forget(self) -> None:
        """Let go of what is void."""
        self._told = dict(self._valid())

    def _valid(self) -> Iterable[tuple[NodeId, _Told]]:
        for node, told in self._told.items():
            member = self._members.get(node)
            if member is not None and member.boot == told.boot and member.state not in GONE:
                yield node, told
