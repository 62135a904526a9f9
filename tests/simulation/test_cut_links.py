"""Two nodes that cannot reach each other though others reach both: the job goes on, and nobody is called faulty.

``EDGED_GOLDEN=write`` takes over a wanted change of the transcript, as in ``test_transcripts.py``.
"""

import os
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest

from edged.core.messages import JobState
from tests.core.job_sample import JOB, spec
from tests.proofs import first_of
from tests.simulation.recovery_cluster import Cluster

GOLDEN = Path(__file__).parents[1] / "golden"
NODES = tuple(letter * 16 for letter in "abcd")


def at_work(seed, names="abcd", *, clips=False):
    """A cluster at work on a job of node a that lasts for about half a minute."""
    cluster = Cluster(names, seed, layer_seconds=0.03)
    cluster.sim.run_for(4.0)
    job = spec(layers=6, steps=120, clips=clips)
    cluster.submit(replace(job, samples=120 * 4, epochs=1, batch_size=4, micro_batches=2, replicate_every=4))
    until(cluster, lambda: step_of(cluster) >= 8, 60.0)
    return cluster


def until(cluster, condition, seconds):
    limit = cluster.sim.now + seconds
    while not condition() and cluster.sim.now < limit:
        cluster.sim.run_for(0.25)
    cluster.expect(condition(), "what was waited for has not come")


def step_of(cluster):
    return max((record.step for record in cluster.records_of(JOB).values() if record is not None), default=0)


def procedure(cluster):
    return cluster.nodes[cluster.leader()].board.procedure


def ends_well(cluster):
    """Whoever cannot reach the leader learns of the end once it does."""
    until(cluster, lambda: cluster.nodes[cluster.leader()].board.jobs.ended(JOB), 300.0)
    cluster.heal()
    until(cluster, lambda: cluster.ended(JOB), 60.0)
    assert {record.state for record in cluster.records_of(JOB).values()} == {JobState.FINISHED}
    for machine in cluster.nodes.values():
        assert len(machine.membership.alive()) == len(cluster.alive), "somebody was called dead"


@pytest.mark.long
@pytest.mark.parametrize("seed", first_of(range(2), 1))
@pytest.mark.parametrize("pair", list(combinations(NODES, 2)), ids=lambda pair: pair[0][0] + pair[1][0])
def test_a_pair_that_stays_cut_ends_with_the_right_weights_and_no_blame(pair, seed):
    cluster = at_work(seed)
    for one, other in (pair, pair[::-1]):
        cluster.cut(one, other)
    step = step_of(cluster)
    until(cluster, lambda: cluster.ended(JOB) or step_of(cluster) > step + 20, 60.0)
    known = procedure(cluster)
    assert known is None or not known._conduct.excluded
    ends_well(cluster)


def test_two_who_cannot_reach_each_other_are_no_neighbours_and_both_work():
    cluster = at_work(1)
    one, other = procedure(cluster).plan.nodes()[1:3]
    for link in ((one, other), (other, one)):
        cluster.cut(*link)
    until(cluster, lambda: cluster.counts["plans"] > 1 and step_of(cluster) > 20, 60.0)
    nodes = procedure(cluster).plan.nodes()
    assert {one, other} <= set(nodes)
    assert abs(nodes.index(one) - nodes.index(other)) > 1
    ends_well(cluster)


def test_the_transcript_of_a_cut_pair_names_the_link_and_no_node():
    cluster = at_work(1)
    cluster.tale.clear()
    began = cluster.sim.now
    one, other = procedure(cluster).plan.nodes()[1:3]
    for link in ((one, other), (other, one)):
        cluster.cut(*link)
    step = step_of(cluster)
    until(cluster, lambda: step_of(cluster) > step + 20 and cluster.counts["plans"] > 1, 60.0)
    for link in ((one, other), (other, one)):
        cluster.mend(*link)
    until(cluster, lambda: any("may work together again" in text for _, _, text in cluster.tale), 60.0)
    told = [f"{at - began:6.2f} {node[0]} {text}" for at, node, text in cluster.tale if "fence: " not in text]
    text = "\n".join(told) + "\n"
    path = GOLDEN / "cut_pair.txt"
    if os.environ.get("EDGED_GOLDEN") == "write":
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), text
    assert any("cannot reach each other: they are kept apart" in line for line in told)
    ends_well(cluster)


@pytest.mark.long
def test_who_was_left_out_for_a_link_is_used_again_when_it_is_mended():
    cluster = at_work(2, clips=True)
    one, other = procedure(cluster).plan.nodes()[1:3]
    links = ((one, other), (other, one))
    for link in links:
        cluster.cut(*link)
    until(cluster, lambda: procedure(cluster).plan and len(procedure(cluster).plan.nodes()) == 3, 60.0)
    for link in links:
        cluster.mend(*link)
    until(cluster, lambda: procedure(cluster).plan and len(procedure(cluster).plan.nodes()) == 4, 60.0)
    ends_well(cluster)
