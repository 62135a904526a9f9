"""The plan follows the devices as they change, and stands still while they only tremble; with whole nodes."""

from functools import cache

import pytest

from tests.proofs import first_of
from tests.simulation.measured import MeasuredCluster, job_of

SOON_SECONDS = 20.0
CALIBRATED_SECONDS = 30.0
"""Who has no layers calibrates itself every ten seconds."""

SEEDS = first_of(range(12), 1)


@cache
def optimum(slowed):
    """Seconds of a step where this device has been slow from the beginning."""
    cluster = MeasuredCluster("abc", 0, {slowed: 5.0})
    its = job_of()
    cluster.begin(its)
    now = cluster.sim.now
    cluster.sim.run_for(20.0)
    return cluster.pace_of_steps(now, cluster.sim.now)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("slowed", ["a", "c"])
def test_a_node_that_slows_down_five_times_gets_less_within_twenty_seconds(seed, slowed):
    cluster, its = MeasuredCluster("abc", seed, spread=0.05), job_of()
    cluster.begin(its)
    assert not cluster.changes, cluster.changes
    before = len(cluster.steps)
    cluster.paces[slowed * 16] = 5.0
    begun = cluster.sim.now
    cluster.sim.run_for(SOON_SECONDS)
    assert len(cluster.changes) == 1, (cluster.changes, cluster.picture())
    ((at, report),) = cluster.changes
    assert at < begun + SOON_SECONDS
    assert report.cause == "slow"
    assert report.lost_steps == 0
    assert report.text.startswith(f"pi-{slowed} is slower")
    cluster.sim.run_for(20.0)
    now = cluster.pace_of_steps(begun + SOON_SECONDS, cluster.sim.now)
    assert now <= optimum(slowed) / 0.9
    assert len(cluster.changes) == 1, cluster.changes
    assert sorted(cluster.steps) == list(range(1, len(cluster.steps) + 1)), "no step is left out"
    assert len(cluster.steps) > before


@pytest.mark.parametrize("seed", SEEDS)
def test_a_node_that_has_recovered_is_used_again(seed):
    cluster, its = MeasuredCluster("abc", seed), job_of()
    cluster.begin(its)
    cluster.paces["c" * 16] = 8.0
    cluster.sim.run_for(60.0)
    assert cluster.nodes_at_work(its.job) == {"a", "b"}, cluster.picture()
    cluster.paces["c" * 16] = 1.0
    cluster.sim.run_for(CALIBRATED_SECONDS)
    assert cluster.nodes_at_work(its.job) == {"a", "b", "c"}, cluster.picture()
    assert len(cluster.changes) == 2, cluster.changes


@pytest.mark.parametrize("seed", SEEDS)
def test_a_node_that_slows_down_for_a_moment_is_used_again(seed):
    cluster, its = MeasuredCluster("abc", seed), job_of()
    cluster.begin(its)
    cluster.paces["c" * 16] = 8.0
    cluster.sim.run_for(12.0)
    cluster.paces["c" * 16] = 1.0
    cluster.sim.run_for(60.0)
    assert cluster.nodes_at_work(its.job) == {"a", "b", "c"}, cluster.picture()
    assert len(cluster.changes) in {0, 2}, cluster.changes


@pytest.mark.parametrize("seed", SEEDS)
def test_a_joiner_is_used_within_twenty_seconds(seed):
    cluster, its = MeasuredCluster("ab", seed, spread=0.05), job_of()
    cluster.begin(its)
    node = "c" * 16
    cluster.names.append(node)
    cluster.prepare(node)
    cluster.start(node)
    cluster.sim.run_for(SOON_SECONDS)
    assert cluster.nodes_at_work(its.job) == {"a", "b", "c"}, cluster.picture()
    ((_, report),) = cluster.changes
    assert (report.cause, report.lost_steps) == ("joined", 0)


@pytest.mark.long
@pytest.mark.parametrize("seed", SEEDS)
def test_noise_of_single_computations_changes_no_plan(seed):
    cluster, its = MeasuredCluster("abc", seed, spread=0.2), job_of()
    cluster.begin(its)
    cluster.sim.run_for(300.0)
    assert len(cluster.changes) <= 1, cluster.changes


@pytest.mark.long
@pytest.mark.parametrize("seed", SEEDS)
def test_devices_that_drift_slowly_within_a_fifth_change_few_plans(seed):
    """Such drifts last, and a plan that follows them is faster; but it must not run after each."""
    cluster, its = MeasuredCluster("abc", seed, spread=0.1), job_of()
    cluster.begin(its)

    def walk():
        for node in cluster.names:
            cluster.paces[node] = min(max(cluster.pace(node) + cluster.random.uniform(-0.04, 0.04), 0.8), 1.2)
        cluster.sim.at(cluster.sim.now + 1.0, walk)

    walk()
    cluster.sim.run_for(300.0)
    assert len(cluster.changes) <= 3, cluster.changes
