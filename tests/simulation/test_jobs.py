"""Jobs on whole nodes: whatever happens, every job ends, everywhere alike, and nothing of it is left."""

from random import Random

import pytest

from edged.core.events import LeaveAsked, StopAsked
from edged.core.messages import JobState
from tests.core.job_sample import JOB, OTHER_JOB, spec
from tests.simulation.job_cluster import Cluster

A, B, C, D, E = (letter * 16 for letter in "abcde")


def begin(seed, names="abcd", loss=0.0, **job):
    """A cluster with a leader and one job of node A's handed in."""
    cluster = Cluster(names, seed, loss, duplication=loss / 2)
    cluster.elect()
    cluster.submit(spec(**job))
    return cluster


def running(cluster, job=JOB):
    record = cluster.record(job, cluster.leader())
    return record is not None and record.state is JobState.RUNNING


def run_to(cluster, step, job=JOB):
    """Go on until the leader knows that ``step`` steps are done."""

    def there():
        record = cluster.record(job, cluster.leader())
        return record is not None and record.step >= step and running(cluster, job)

    cluster.wait(there, 60.0, f"step {step}")


@pytest.mark.parametrize("seed", range(20))
def test_a_job_is_finished(seed):
    cluster = begin(seed, "abcde"[: 1 + seed % 5], clips=seed % 2 == 1)
    record = cluster.finish(JOB)
    assert (record.state, record.step, record.reason) == (JobState.FINISHED, 3, "")
    assert cluster.written[JOB] == 1
    assert all(cluster.dropped[node, JOB] <= 1 for node in cluster.names)
    assert cluster.dropped[A, JOB] == 1


@pytest.mark.parametrize("seed", range(20))
def test_lost_and_doubled_messages_cost_only_time(seed):
    cluster = begin(seed, loss=0.02 + 0.08 * (seed % 3) / 2, clips=seed % 2 == 1)
    record = cluster.finish(JOB, 240.0)
    assert (record.state, record.step) == (JobState.FINISHED, 3), cluster.picture()


@pytest.mark.parametrize("seed", range(10))
def test_queued_jobs_run_one_after_another(seed):
    cluster = begin(seed, loss=0.02)
    cluster.submit(spec(OTHER_JOB, source=C))
    first, second = cluster.finish(JOB), cluster.finish(OTHER_JOB)
    assert first.state is second.state is JobState.FINISHED


@pytest.mark.parametrize("seed", range(10))
def test_a_stopped_job_ends_and_the_next_one_runs(seed):
    cluster = begin(seed, loss=0.02, steps=200)
    cluster.submit(spec(OTHER_JOB, source=B))
    cluster.sim.run_for(Random(seed).uniform(0.0, 5.0))
    cluster.wait(lambda: cluster.record(JOB, C) is not None, 20.0, "the job on the list")
    cluster.sim.post(C, StopAsked(JOB, "the user has stopped it"))
    record = cluster.finish(JOB)
    assert (record.state, record.reason) == (JobState.STOPPED, "the user has stopped it")
    assert cluster.finish(OTHER_JOB).state is JobState.FINISHED


@pytest.mark.parametrize("seed", range(20))
def test_a_killed_node_of_the_plan_ends_the_job_by_name(seed):
    cluster = begin(seed, "abcde", loss=0.01, steps=200)
    run_to(cluster, 2)
    inside = [n for n in cluster.plan(JOB).nodes() if n not in {A, cluster.leader()}]
    victim = Random(seed).choice(inside)
    (cluster.kill if seed % 2 else cluster.silence)(victim)
    record = cluster.finish(JOB, 40.0)
    assert record.state is JobState.FAILED
    assert record.reason.startswith(f"node pi-{victim[0]} died; it ran layer")


@pytest.mark.parametrize("seed", range(10))
def test_a_node_that_leaves_ends_the_job_by_name(seed):
    cluster = begin(seed, "abcde", steps=200)
    run_to(cluster, 1)
    victim = next(n for n in cluster.plan(JOB).nodes() if n not in {A, cluster.leader()})
    cluster.sim.post(victim, LeaveAsked())
    record = cluster.finish(JOB, 40.0)
    assert record.reason.startswith(f"node pi-{victim[0]} left; it ran layer")


@pytest.mark.parametrize("seed", range(10))
def test_a_killed_source_ends_its_job_and_the_next_one_runs(seed):
    cluster = begin(seed, "abcde", steps=200)
    cluster.submit(spec(OTHER_JOB, source=E))
    run_to(cluster, 1)
    cluster.kill(A)
    record = cluster.finish(JOB, 40.0)
    assert record.state is JobState.FAILED
    assert "node pi-a died" in record.reason
    assert "source of the job's data" in record.reason
    assert cluster.finish(OTHER_JOB).state is JobState.FINISHED


@pytest.mark.parametrize("seed", range(20))
def test_a_new_leader_goes_on_or_ends_the_job_of_the_dead_one(seed):
    cluster = begin(seed, "abcde", loss=0.01, layers=3, steps=60)
    run_to(cluster, 2)
    leader = cluster.leader()
    inside = leader in {A, *cluster.plan(JOB).nodes()}
    (cluster.kill if seed % 2 else cluster.silence)(leader)
    record = cluster.finish(JOB, 200.0)
    if inside:
        assert record.state is JobState.FAILED
        assert record.reason.startswith(f"node pi-{leader[0]} died")
    else:
        assert (record.state, record.step) == (JobState.FINISHED, 60)


@pytest.mark.parametrize("seed", range(10))
def test_a_leader_that_dies_while_nodes_prepare_costs_a_new_plan_or_the_job(seed):
    cluster = begin(seed, "abcde", loss=0.01, layers=3)

    def preparing():
        record = cluster.record(JOB, cluster.leader())
        return record is not None and record.state is JobState.PREPARING

    cluster.wait(preparing, 20.0, "the job in preparation")
    leader = cluster.leader()
    cluster.kill(leader)
    record = cluster.finish(JOB, 60.0)
    if leader == A:
        assert record.reason.startswith("node pi-a died")
    else:
        assert (record.state, record.step) == (JobState.FINISHED, 3)


@pytest.mark.parametrize("seed", range(100))
def test_a_death_at_any_moment_never_hangs_a_job(seed):
    random = Random(seed)
    cluster = begin(seed, "abcde"[: random.randint(3, 5)], loss=random.choice([0.0, 0.02]), steps=8)
    cluster.submit(spec(OTHER_JOB, source=B))
    cluster.sim.run_for(random.uniform(0.0, 3.0))
    victim = random.choice(cluster.names)
    random.choice([cluster.kill, cluster.silence])(victim)
    for job, source in ((JOB, A), (OTHER_JOB, B)):
        if source == victim and not any(cluster.record(job, node) for node in cluster.alive):
            continue
        record = cluster.finish(job, 120.0)
        if record.state is JobState.FAILED:
            assert record.reason.startswith(f"node pi-{victim[0]} died"), cluster.picture()


@pytest.mark.parametrize("seed", range(10))
def test_a_restarted_node_of_the_plan_ends_the_job(seed):
    cluster = begin(seed, "abcde", steps=200)
    run_to(cluster, 1)
    victim = next(n for n in cluster.plan(JOB).nodes() if n not in {A, cluster.leader()})
    cluster.restart(victim)
    record = cluster.finish(JOB, 60.0)
    assert record.state is JobState.FAILED
    assert f"node pi-{victim[0]} " in record.reason


@pytest.mark.parametrize("seed", range(10))
def test_a_stopped_process_that_continues_finds_its_job_over(seed):
    cluster = begin(seed, "abcde", loss=0.01, steps=200)
    run_to(cluster, 1)
    victim = Random(seed).choice(cluster.plan(JOB).nodes())
    cluster.sim.pause(victim)
    cluster.alive.discard(victim)
    record = cluster.finish(JOB, 60.0)
    assert record.state is JobState.FAILED
    cluster.alive.add(victim)
    cluster.sim.go_on(victim)
    assert cluster.finish(JOB, 60.0) == record


@pytest.mark.parametrize("seed", range(10))
def test_a_node_that_was_cut_off_finds_its_job_over(seed):
    cluster = begin(seed, "abcde", loss=0.01, steps=200)
    run_to(cluster, 1)
    victim = next(n for n in cluster.plan(JOB).nodes() if n != A)
    cluster.sim.partition([victim], [n for n in cluster.names if n != victim])
    cluster.alive.discard(victim)
    record = cluster.finish(JOB, 60.0)
    assert record.reason.startswith(f"node pi-{victim[0]} died")
    cluster.alive.add(victim)
    cluster.sim.heal()
    cluster.wait(lambda: len({cluster.record(JOB, n) for n in cluster.alive}) == 1, 60.0, "one list for all")
    assert cluster.finish(JOB).state is JobState.FAILED


SEEDS, SHARE = 200, 50
SHORT_SECONDS = 1.0
"""A cut of at most this length is over before anybody is suspected."""


def disturb(cluster, random):
    """Break a link between two living nodes, or cut it one way for a moment."""
    one, other = random.sample(cluster.names, 2)
    if random.random() < 0.4:
        cluster.sim.cut(one, other)
        cluster.sim.run_for(random.uniform(0.05, SHORT_SECONDS))
        cluster.heal()
    else:
        busy = [entry[:2] for entry in cluster.under_way]
        cluster.break_link(*(random.choice(busy) if busy else (one, other)))


def live_through(seed):
    """How a job ended whose nodes all lived, while links between them broke; and how many parcels were lost."""
    random = Random(seed)
    cluster = begin(seed, "abcde"[: random.randint(2, 5)], loss=random.choice([0.0, 0.02]), steps=20, clips=seed % 2)
    cluster.submit(spec(OTHER_JOB, source=B))
    for _ in range(random.randint(1, 4)):
        cluster.sim.run_for(random.uniform(0.0, 2.0))
        disturb(cluster, random)
    record = cluster.finish(JOB, 120.0)
    assert record.state in {JobState.FINISHED, JobState.FAILED}, cluster.picture()
    if record.state is JobState.FAILED:
        assert cluster.lost, f"seed {seed}: nothing was lost, and yet: {record.reason}"
        assert "link" in record.reason or "connection" in record.reason, f"seed {seed}: {record.reason}"
    else:
        assert (record.step, record.reason, cluster.written[JOB]) == (20, "", 1)
    assert cluster.finish(OTHER_JOB, 120.0).state in {JobState.FINISHED, JobState.FAILED}
    assert all(len(cluster.nodes[n].membership.alive()) == len(cluster.names) for n in cluster.names), "a false death"
    return record.state, cluster.lost


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, SEEDS, SHARE))
def test_links_that_break_between_the_living_end_a_job_by_name_or_cost_only_time(first):
    ends = [live_through(seed) for seed in range(first, first + SHARE)]
    assert any(lost and state is JobState.FAILED for state, lost in ends)
    assert any(state is JobState.FINISHED for state, _ in ends)
