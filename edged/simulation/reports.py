"""What described devices say of themselves and of their links: the figures that real ones measure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from edged.core.ids import JobId, NodeId
from edged.core.messages import LinkReport, NodeReport
from edged.core.situation import LinkSpeed
from edged.simulation.description import ClusterDescription

MOST_LINKED = 300
"""Devices; of more, only those links are told of that differ from the others or lead to the source."""


def link_speeds(cluster: ClusterDescription) -> tuple[LinkSpeed, ...]:
    """Each direction of the links, as far as planners are told of them."""
    few = len(cluster.devices) <= MOST_LINKED
    source = cluster.source.name
    pairs = [
        (one, other)
        for one in cluster.devices
        for other in cluster.devices
        if one is not other and (few or source in {one.name, other.name} or (one.name, other.name) in cluster.links)
    ]
    return tuple(
        LinkSpeed(one.node, other.node, link.latency_seconds, link.bytes_per_second)
        for one, other in pairs
        for link in (cluster.link_between(one.name, other.name),)
    )


def links_by_sender(cluster: ClusterDescription) -> Mapping[NodeId, tuple[LinkReport, ...]]:
    """The same, as each sender reports it."""
    found: dict[NodeId, list[LinkReport]] = defaultdict(list)
    for link in link_speeds(cluster):
        trip = 2 * link.startup_seconds
        found[link.sender].append(LinkReport(link.receiver, trip, 0.0, link.startup_seconds, link.bytes_per_second))
    return {sender: tuple(links) for sender, links in found.items()}


def report(sequence: int, links: tuple[LinkReport, ...], job: JobId, slowness: float) -> NodeReport:
    """What a device says each second; only what a leader plans with."""
    return NodeReport(sequence, -1, -1, 0, 0.0, 0.0, 0, links, job, slowness)
