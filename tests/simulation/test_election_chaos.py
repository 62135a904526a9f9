"""A thousand small clusters under kills, pauses, cuts and restarts: never two leaders in a term, never two leases.

``Cluster.after`` checks the promises after every event of every node; a failure prints the seed.
"""

from __future__ import annotations

import random

import pytest

from edged.core.ids import NodeId
from edged.core.simulate import Network
from tests.core.records import node_id
from tests.simulation.cluster import Cluster

SEEDS = 1000
SHARE = 50
LIVENESS_SECONDS = 40
FORKING = 5
"""Every so many seeds the cluster is also cut for so long that its parts go on as forks."""

WAITING = 7
"""Every so many seeds half of the nodes never go on as a fork."""


def _do_harm(cluster: Cluster, rng: random.Random, size: int) -> None:
    simulation = cluster.simulation
    i, j = rng.sample(range(size), 2)
    one, other = node_id(i), node_id(j)
    harm = rng.choice(["kill", "kill", "kill two", "pause", "pause", "cut", "partition", "heal", "restart"])
    if harm.startswith("kill"):
        leading = cluster.leading()
        victims = [leading[0] if leading and rng.random() < 0.5 else one, *([other] if harm == "kill two" else [])]
        for victim in victims:
            if cluster.runs(victim):
                simulation.kill(victim)
    elif harm == "pause" and cluster.runs(one):
        simulation.pause(one)
        host = simulation.hosts[one]
        simulation.at(
            cluster.now + rng.uniform(0.3, 6.0), lambda: simulation.hosts[one] is host and simulation.go_on(one)
        )
    elif harm == "cut":
        leading = cluster.leading()
        simulation.cut(leading[0] if leading and leading[0] != other and rng.random() < 0.5 else one, other)
    elif harm == "partition":
        sides = ({node_id(k) for k in range(size) if k % 2}, {node_id(k) for k in range(size) if not k % 2})
        simulation.partition(*sides, resets=rng.random() < 0.5)
    elif harm == "heal":
        simulation.heal()
    elif harm == "restart":
        _restart_all(cluster, size)


def _part_for_long(cluster: Cluster, rng: random.Random, size: int) -> None:
    """Cut the cluster in two or three until every part has had the time to go on as a fork."""
    parts: list[set[NodeId]] = [set() for _ in range(rng.choice([2, 2, 3]))]
    for k in range(size):
        rng.choice(parts).add(node_id(k))
    cluster.simulation.partition(*parts)
    for part in parts:  # how far the parts come while they are parted decides which of them goes on
        steps = rng.choice([0, 3, 70])
        for node in part:
            cluster.pair(node).steps += steps
    cluster.simulation.run_for(rng.uniform(18.0, 30.0))


def _restart_all(cluster: Cluster, size: int) -> None:
    for k in range(size):
        if not cluster.runs(node_id(k)):
            cluster.restart(k)


def _agree(cluster: Cluster) -> bool:
    elections = [pair.election for pair in cluster.running()]
    leaders = {election.leader for election in elections}
    lineages = {election.electorate.lineage for election in elections if election.electorate}
    return len(cluster.leading()) == 1 and leaders == set(cluster.leading()) and len(lineages) == 1


def _live_through(seed: int) -> Cluster:
    rng = random.Random(seed)
    size = rng.choice([2, 3, 4, 5, 5, 6])
    waiting = frozenset(k for k in range(size) if k % 2) if seed % WAITING == 0 else frozenset()
    cluster = Cluster(seed, size, Network(loss=rng.choice([0.0, 0.02]), duplication=0.01), waiting=waiting)
    cluster.simulation.run_for(rng.uniform(2.0, 5.0))
    for _ in range(rng.randint(2, 5)):
        _do_harm(cluster, rng, size)
        cluster.simulation.run_for(rng.choice([0.05, 0.7, 1.5, 3.0]))
    if seed % FORKING == 0:
        _part_for_long(cluster, rng, size)
    cluster.simulation.heal()
    for node in cluster.nodes:
        cluster.simulation.go_on(node)
    _restart_all(cluster, size)
    for _ in range(LIVENESS_SECONDS):
        if _agree(cluster):
            return cluster
        cluster.simulation.run_for(1.0)
    raise AssertionError(f"seed {seed}: {LIVENESS_SECONDS} s after the last fault there is not one leader for all")


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, SEEDS, SHARE))
def test_no_two_leaders_and_no_two_leases_whatever_happens(first: int) -> None:
    parted = [_live_through(seed).forks_seen > 0 for seed in range(first, first + SHARE)]
    assert sum(parted) >= 2, "the cuts were too short for forks: nothing is proven of them"
