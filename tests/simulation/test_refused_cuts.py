"""Cuts that refuse connects, as a firewall does: each side can prove the other dead, and both are wrong.

``Cluster.after`` judges after every event: no two leases of one lineage, no two leaders in a term, a leader is a voter.
"""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from edged.core.messages import JobState
from edged.core.simulate import Network
from tests.core.job_sample import JOB, spec
from tests.core.records import node_id
from tests.simulation.cluster import REFUSED_SECONDS, Cluster
from tests.simulation.recovery_cluster import Cluster as Workshop
from tests.simulation.waiting import finish, run_to, wait

SEEDS = 100
SHARE = 25


def agree(cluster: Cluster) -> bool:
    elections = [pair.election for pair in cluster.running()]
    lineages = {election.electorate.lineage for election in elections}
    return len(lineages) == 1 and {election.leader for election in elections} == {*cluster.leading()}


def seconds_until_all_agree(cluster: Cluster) -> float:
    healed = cluster.now
    while not agree(cluster):
        assert cluster.now < healed + REFUSED_SECONDS, f"seed {cluster.seed}: there is not one leader for all"
        cluster.simulation.run_for(0.5)
    return cluster.now - healed


def sides(size: int, count: int):
    return {node_id(i) for i in range(count)}, {node_id(i) for i in range(count, size)}


def heal_after(seed: int) -> float:
    """Cut a cluster in two or three, one after the other; perhaps with deaths; the seconds until all agree again."""
    rng = random.Random(seed)
    size = rng.randint(2, 7)
    waiting = frozenset(range(size)) if seed % 5 == 0 else frozenset()
    cluster = Cluster(seed, size, Network(loss=rng.choice([0.0, 0.02])), waiting=waiting)
    cluster.simulation.run_for(rng.uniform(4.0, 9.0))
    for _ in range(rng.randint(1, 2)):
        parts = [{node_id(i)} for i in rng.sample(range(size), rng.choice([2, 2, 3]) if size > 2 else 2)]
        for i in range(size):
            if node_id(i) not in set().union(*parts):
                rng.choice(parts).add(node_id(i))
        cluster.simulation.partition(*parts, resets=True)
        cluster.simulation.run_for(rng.choice([0.4, 1.0, 3.0, 30.0]))
    victim = rng.randrange(size)
    if rng.random() < 0.3:
        cluster.simulation.kill(node_id(victim))
        cluster.simulation.run_for(rng.uniform(0.1, 3.0))
    cluster.simulation.heal()
    if not cluster.runs(node_id(victim)):
        cluster.restart(victim)
    return seconds_until_all_agree(cluster)


@pytest.mark.parametrize("size", range(2, 8))
def test_both_sides_go_on_at_once_in_lineages_of_their_own_and_become_one_again(size: int) -> None:
    for count in range(1, size):
        cluster = Cluster(count, size, waiting=frozenset(range(size)))
        cluster.simulation.run_for(8.0)
        voters = {*cluster.running()[0].election.electorate.voters}
        if not all(side & voters for side in sides(size, count)):
            continue
        cluster.simulation.partition(*sides(size, count), resets=True)
        cluster.simulation.run_for(8.0)
        elections = [pair.election for pair in cluster.running()]
        for side in sides(size, count):
            here = [election for election in elections if election._node in side]
            assert len({election.leader for election in here}) == 1, f"{count} of {size}"
            assert here[0].leader in side, f"{count} of {size} have no leader"
        assert len({election.electorate.lineage for election in elections}) == 2
        cluster.simulation.run_for(60.0)
        assert len(cluster.leading()) == 2
        cluster.simulation.heal()
        seconds_until_all_agree(cluster)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, SEEDS, SHARE))
def test_no_two_leaders_of_one_lineage_and_one_leader_for_all_after_it_heals(first: int, figure) -> None:
    healed = [heal_after(seed) for seed in range(first, first + SHARE)]
    figure.append(f"seeds {first}..: one leader at most {max(healed):.0f} s after refused cuts heal")


@pytest.mark.parametrize("names", ["ab", "abc", "abcde"])
def test_a_job_goes_on_on_both_sides_and_ends_once_with_the_right_weights(names: str) -> None:
    for count in range(1, len(names)):
        cluster = Workshop(names, len(names), layer_seconds=0.03)
        cluster.sim.run_for(4.0)
        job = spec(layers=6, steps=60)
        cluster.submit(replace(job, samples=240, epochs=1, batch_size=4, micro_batches=2, replicate_every=4))
        run_to(cluster, 12, JOB)
        here, there = cluster.names[:count], cluster.names[count:]
        for one in here:
            for other in there:
                for link in ((one, other), (other, one)):
                    cluster.sim.cut(*link, resets=True)
                    cluster.break_link(*link)
        step = cluster.nodes["a" * 16].board.jobs.records[JOB].step

        def goes_on(cluster=cluster, step=step) -> bool:
            return cluster.nodes["a" * 16].board.jobs.records[JOB].step > step + 10

        wait(cluster, goes_on, 20.0, "the side of the source goes on")
        cluster.heal()
        assert finish(cluster, JOB, 300.0).state is JobState.FINISHED
        lineages = {cluster.nodes[node].election.electorate.lineage for node in cluster.alive}
        assert len(lineages) == 1, cluster.picture()
