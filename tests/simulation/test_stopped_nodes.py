"""SIGSTOP and SIGCONT of any node, for short and for long: what waited comes all at once, and one leader is agreed.

Whoever was stopped believes for a moment that it is as it was: a leader with a lease, a voter that has heard of nobody
else. Within seconds all follow one leader again, and nobody stays out.
"""

import math
import random

import pytest

from tests.simulation.cluster import Cluster

AGREED_SECONDS = 15.0
SEEDS = 20


def agreed(cluster):
    pairs = cluster.running()
    leaders = {pair.election.leader for pair in pairs}
    lineages = {pair.election.electorate.lineage for pair in pairs}
    alive = {len(pair.membership.alive()) for pair in pairs}
    return len(leaders) == 1 and None not in leaders and len(lineages) == 1 and alive == {len(pairs)}


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("shortest_longest", [(0.2, 3.0), (2.0, 6.0), (6.0, 40.0)])
def test_whoever_is_stopped_and_continued_agrees_with_the_others(size, shortest_longest, figure):
    slowest = 0.0
    for seed in range(SEEDS):
        chance = random.Random(seed)
        cluster = Cluster(seed, size)
        simulation = cluster.simulation
        simulation.run_for(8.0)
        for _ in range(3):
            (leader,) = cluster.leading()
            victim = leader if chance.random() < 0.5 else chance.choice(sorted(cluster.nodes))
            cluster.cut_at = math.inf  # as in a cut: the others may found a fork, and who is stopped holds its lease
            simulation.pause(victim)
            simulation.run_for(chance.uniform(*shortest_longest))
            cluster.cut_at = simulation.now
            simulation.go_on(victim)
            began = simulation.now
            while not agreed(cluster):
                assert simulation.now < began + AGREED_SECONDS, f"seed {seed}: no agreed leader"
                simulation.run_for(0.1)
            slowest = max(slowest, simulation.now - began)
            simulation.run_for(chance.uniform(0.0, 12.0))
            while not (agreed(cluster) and len(cluster.leading()) == 1):
                assert simulation.now < began + 60.0, f"seed {seed}: no leader"
                simulation.run_for(0.1)
    figure.append(f"{size} nodes, stopped {shortest_longest}: agreed at the latest {slowest:.1f} s after")
